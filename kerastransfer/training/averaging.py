"""Optimizers whose running average of the weights forgets the first weights in short trainings too."""

from keras import ops

# So that the first step counts whole, and after nine steps each new one for a half.
HALF = 9


class Averages:
    """A mixin for Keras optimizers with `use_ema`: after t steps the momentum of the average is t / (t + 9), up to
    `ema_momentum`.

    With a constant momentum of 0.99, as Keras has it, the first weights are still 8 % of the average after 250 steps.
    """

    def _update_model_variables_moving_average(self, trainable_variables):
        constant = self.ema_momentum
        step = ops.cast(self.iterations, "float32")
        self.ema_momentum = ops.minimum(constant, step / (step + HALF))
        try:
            super()._update_model_variables_moving_average(trainable_variables)
        finally:
            self.ema_momentum = constant
