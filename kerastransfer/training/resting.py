"""Optimizers that can temporarily leave some variables untouched, and that change some more slowly than others."""

from collections.abc import Callable, Iterable, Sequence

import keras
from keras import ops


class Rests:
    """A mixin for Keras optimizers: variables can have a learning rate of their own, and while a condition on the step
    holds, variables rest, as if they were not trained.

    While they rest, neither gradients nor weight decay change them, and the optimizer's own variables for them (such as
    the momentum) do not change either. The step is the optimizer's `iterations`.
    """

    _conditions = ()
    _factors = ()
    _resting_now = None

    def rest(self, conditions: Iterable[tuple[Callable, Sequence[keras.Variable]]]) -> None:
        """Let variables rest.

        conditions: pairs of a function of the step and the variables that rest while it is true. They must be among the
            variables that the optimizer is built with, because it trains them at all other times.
        """
        self._conditions = tuple((condition, tuple(map(self._var_key, found))) for condition, found in conditions)

    def scale(self, factors: Iterable[tuple[float, Sequence[keras.Variable]]]) -> None:
        """Change variables more slowly.

        factors: pairs of a factor of the learning rate, and of the weight decay, and the variables it applies to.
        """
        self._factors = tuple((factor, tuple(map(self._var_key, found))) for factor, found in factors)

    def update_step(self, gradient, variable, learning_rate):
        if not self._special(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        learning_rate = learning_rate * self._factor_of(variable)
        condition = self._condition_of(variable)
        self._resting_now = None if condition is None else condition(self.iterations)
        try:
            if self.weight_decay is not None and self._use_weight_decay(variable):
                decay = ops.cast(self.weight_decay * learning_rate, variable.dtype)
                self.assign_sub(variable, ops.convert_to_tensor(variable) * decay)
            super().update_step(gradient, variable, learning_rate)
        finally:
            self._resting_now = None

    def assign(self, variable, value):
        if self._resting_now is not None:
            value = ops.where(self._resting_now, ops.convert_to_tensor(variable), ops.cast(value, variable.dtype))
        super().assign(variable, value)

    def assign_add(self, variable, value):
        super().assign_add(variable, self._unless_resting(variable, value))

    def assign_sub(self, variable, value):
        super().assign_sub(variable, self._unless_resting(variable, value))

    def _apply_weight_decay(self, variables):
        super()._apply_weight_decay([variable for variable in variables if not self._special(variable)])

    def _unless_resting(self, variable, value):
        if self._resting_now is None:
            return value
        value = ops.cast(value, variable.dtype)
        return ops.where(self._resting_now, ops.zeros_like(value), value)

    def _special(self, variable):
        """Whether `update_step` takes care of the weight decay of a variable."""
        return self._condition_of(variable) is not None or self._factor_of(variable) != 1

    def _factor_of(self, variable):
        key = self._var_key(variable)
        return next((factor for factor, keys in self._factors if key in keys), 1.0)

    def _condition_of(self, variable):
        key = self._var_key(variable)
        return next((condition for condition, keys in self._conditions if key in keys), None)
