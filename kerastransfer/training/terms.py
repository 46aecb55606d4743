"""A network trained on named terms."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from keras import ops

from kerastransfer.training.resting import Rests

Weight = float | Callable


class _MeanOverImages(keras.losses.Loss):
    """Hands its (B,) input on, so that Keras averages it and divides by the number of replicas: the one place."""

    def call(self, y_true, y_pred):
        return y_pred


class TermModel(keras.Model):
    """`network` trained on a weighted sum of `terms(targets, predictions) -> {name: (B,)}`.

    Compile with an optimizer alone and call `fit`; each term is reported by its name beside the total `loss`. Weight
    decay belongs to the optimizer: losses that layers add are not counted. The thing to save is `network`.

    terms: a term may also be a pair (sums (B,), counts (B,)), for losses that are divided by the positives of the whole
        batch: its value is then the sum of `sums` over the sum of `counts`, over the images of all replicas, or the
        undivided sum where `counts` are all 0. No gradient flows through `counts`.
    weights: of each term, a number or a function of the step (a scalar integer tensor: how many steps were taken
        before), such as `lambda step: ops.where(step < 1000, 0.0, 1.0)`. A term without a weight is an error, and so is
        a weight without a term.
    resting: {name of a part of `network`: function of the step}. While the function is true, the part's weights and
        what the optimizer keeps of them stay as they are, weight decay included. Needs an optimizer of
        training/optimizers.py.

    Steps are the optimizer's own `iterations`, so a run that is killed and resumed goes on where it was.
    Batches (inputs, targets, weights (B,)) of a data set to evaluate may hold images of weight 0, which only fill them:
    the values reported are means over the others.
    """

    def __init__(
        self,
        network: keras.Model,
        terms: Callable,
        weights: Mapping[str, Weight],
        resting: Mapping[str, Callable] | None = None,
        **kwargs,
    ):
        # The layers of `network` cast for themselves. Cast here, boxes would arrive in bfloat16, with 8 bits.
        super().__init__(name=network.name, autocast=False, **kwargs)
        self.network = network
        self._terms = terms
        self._weights = dict(weights)
        self._resting = {name: (_part(network, name), condition) for name, condition in (resting or {}).items()}
        self._term_means = {name: keras.metrics.Mean(name=name) for name in weights}
        self._total_mean = keras.metrics.Mean(name="mean_of_the_total")
        self._mean_over_images = _MeanOverImages(name="mean_over_images")
        self._traced_step = None
        if _on_jax() and any(callable(weight) for weight in weights.values()):
            # What `compute_loss` sees of the optimizer's steps where Keras evaluates: see `compute_loss_and_updates`.
            self._steps_taken = self.add_weight(name="steps_taken", dtype="int32", initializer="zeros", trainable=False)
        self.build(network.input_shape)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        if not self._resting:
            return
        # In half precision Keras wraps the optimizer in one that scales the loss.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if not isinstance(optimizer, Rests):
            raise ValueError(f"{type(optimizer).__name__} cannot let a part rest: take one of training/optimizers.py")
        optimizer.rest((condition, part.trainable_variables) for part, condition in self._resting.values())

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values = self._terms(y, y_pred)
        if values.keys() != self._weights.keys():
            raise ValueError(f"terms {sorted(values)} came for the weights {sorted(self._weights)}: they must be equal")
        values = {name: _per_image(value, sample_weight) for name, value in values.items()}
        weights = self._weights_now(training)
        total = sum(weight * values[name] for name, weight in weights.items())
        for name, mean in self._term_means.items():
            mean.update_state(values[name], sample_weight)
        self._total_mean.update_state(total, sample_weight)
        return self._mean_over_images(ops.zeros_like(total), total, sample_weight=sample_weight)

    def get_metrics_result(self):
        """Keras's own mean of the total takes every image of a batch for one that counts; ours knows their weights."""
        results = super().get_metrics_result()
        results["loss"] = results.pop(self._total_mean.name)
        return results

    def compute_loss_and_updates(self, *args, optimizer_variables=None, **kwargs):
        """Keras on JAX calls `compute_loss` through this, as a function of the model's variables alone: that of the
        optimizer's steps would be a constant in the compiled step, and is given to a training step here."""
        if optimizer_variables is not None:
            with keras.StatelessScope(zip(self.optimizer.variables, optimizer_variables, strict=True)):
                self._traced_step = ops.convert_to_tensor(self.optimizer.iterations)
        try:
            return super().compute_loss_and_updates(*args, optimizer_variables=optimizer_variables, **kwargs)
        finally:
            self._traced_step = None

    def _weights_now(self, training):
        if not any(callable(weight) for weight in self._weights.values()):
            return self._weights
        if not _on_jax():
            step = ops.convert_to_tensor(self.optimizer.iterations)
        elif self._traced_step is not None:
            step = self._traced_step
            self._steps_taken.assign(step + 1)
        else:
            step = ops.convert_to_tensor(self._steps_taken)
        return {
            name: ops.cast(weight(step), "float32") if callable(weight) else weight
            for name, weight in self._weights.items()
        }


def _on_jax():
    return keras.backend.backend() == "jax"


def _part(network, name):
    found = [layer for layer in network._flatten_layers(include_self=False) if layer.name == name]
    if len(found) != 1:
        raise ValueError(f"{len(found)} parts of {network.name!r} are called {name!r}: one is needed to let it rest")
    return found[0]


def _per_image(value, sample_weight):
    """A term as (B,) whose mean over all images, of all replicas, is the term's value."""
    if not isinstance(value, tuple):
        return value
    sums, counts = value
    images = ops.ones_like(sums) if sample_weight is None else ops.cast(sample_weight, sums.dtype)
    counts = ops.stop_gradient(ops.cast(counts, sums.dtype))
    # On JAX the batch is that of all devices already.
    total, number = ops.unstack(_over_replicas(ops.stack([ops.sum(images * counts), ops.sum(images)])))
    return sums * number / ops.where(total > 0, total, ops.ones_like(total))


def _over_replicas(own):
    """The sum of every replica's own values."""
    replica = None if _on_jax() else tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return own
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
