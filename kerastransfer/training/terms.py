"""A network trained on named terms."""

import contextlib
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from keras import ops

from kerastransfer.errors import UserError
from kerastransfer.training.resting import Rests

Weight = float | Callable


class _MeanOverImages(keras.losses.Loss):
    """Returns its (B,) input: Keras then averages it and divides by the number of replicas, which happens only here."""

    def call(self, y_true, y_pred):
        return y_pred


class TermModel(keras.Model):
    """`network` trained on a weighted sum of `terms(targets, predictions) -> {name: (B,)}`.

    Compile it with only an optimizer and call `fit`; each term is reported by its name beside the total `loss`. Weight
    decay is the optimizer's task, and losses that layers add are ignored. `save` and `export` write `kept()`.

    terms: a term may also be a pair (sums (B,), counts (B,)), for losses that are divided by the positives of the whole
        batch. Its value is then the sum of `sums` divided by the sum of `counts`, both over the images of all replicas;
        if all `counts` are 0, the sum is not divided. No gradient flows through `counts`.
    weights: the weight of each term, a number or a function of the step (a scalar integer tensor, the number of steps
        taken so far), such as `lambda step: ops.where(step < 1000, 0.0, 1.0)`. A term without a weight is an error, and
        so is a weight without a term.
    resting: {name of a part of `network`: function of the step}. While the function is true, neither gradients nor
        weight decay change the part's weights, nor the optimizer's own variables for them. Needs an optimizer of
        training/optimizers.py.
    rates: {name of a part of `network`: factor of its learning rate}. Needs such an optimizer too.
    kept: gives what is saved and scored, where it is another graph over the parts of `network`.

    The step is the optimizer's own `iterations`, so a resumed run continues at the right step.
    Evaluation batches (inputs, targets, weights (B,)) may be padded with images of weight 0: the reported values are
    means over the other images.
    """

    def __init__(
        self,
        network: keras.Model,
        terms: Callable,
        weights: Mapping[str, Weight],
        resting: Mapping[str, Callable] | None = None,
        rates: Mapping[str, float] | None = None,
        kept: Callable[[], keras.Model] | None = None,
        **kwargs,
    ):
        # The layers of `network` cast their inputs themselves. Cast here, boxes would have the 8 bits of bfloat16.
        super().__init__(name=network.name, autocast=False, **kwargs)
        self.network = network
        # A function, because Keras would track the weights of a model a second time.
        self.kept = kept or (lambda: network)
        self._terms = terms
        self._weights = dict(weights)
        self._resting = {name: (_part(network, name), condition) for name, condition in (resting or {}).items()}
        self._rates = {name: (_part(network, name), factor) for name, factor in (rates or {}).items()}
        self._term_means = {name: keras.metrics.Mean(name=name) for name in weights}
        self._total_mean = keras.metrics.Mean(name="mean_of_the_total")
        self._mean_over_images = _MeanOverImages(name="mean_over_images")
        self._traced_step = None
        if _on_jax() and any(callable(weight) for weight in weights.values()):
            # The number of steps taken, for `compute_loss` while Keras evaluates; see `compute_loss_and_updates`.
            self._steps_taken = self.add_weight(name="steps_taken", dtype="int32", initializer="zeros", trainable=False)
        self.build(network.input_shape)

    def save(self, filepath, *args, **kwargs):
        return self.kept().save(filepath, *args, **kwargs)

    def export(self, filepath, *args, **kwargs):
        return self.kept().export(filepath, *args, **kwargs)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def compile(self, *args, **kwargs):
        if kwargs.get("loss") is not None or len(args) > 1:
            raise UserError(f"{self.name} has a loss of its own, made of terms; compile it with only an optimizer")
        super().compile(*args, **kwargs)
        if not (self._resting or self._rates):
            return
        # In float16 Keras wraps the optimizer in one that scales the loss.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if not isinstance(optimizer, Rests):
            raise ValueError(
                f"{type(optimizer).__name__} cannot let a part rest or learn more slowly; use one of "
                "training/optimizers.py"
            )
        optimizer.rest((condition, part.trainable_variables) for part, condition in self._resting.values())
        optimizer.scale((factor, part.trainable_variables) for part, factor in self._rates.values())

    def make_train_function(self, force=False):
        """Builds the optimizer first: if its variables were made in the first step, TensorFlow would trace it twice."""
        if not self.optimizer.built:
            with contextlib.nullcontext() if _on_jax() else self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values = self._terms(y, y_pred)
        if values.keys() != self._weights.keys():
            raise ValueError(f"the terms are {sorted(values)} but the weights {sorted(self._weights)}; they must agree")
        values = {name: _per_image(value, sample_weight) for name, value in values.items()}
        weights = self._weights_now(training)
        total = sum(weight * values[name] for name, weight in weights.items())
        for name, mean in self._term_means.items():
            mean.update_state(values[name], sample_weight)
        self._total_mean.update_state(total, sample_weight)
        return self._mean_over_images(ops.zeros_like(total), total, sample_weight=sample_weight)

    def get_metrics_result(self):
        """Replaces Keras's mean of the total, which includes images of weight 0, with ours."""
        results = super().get_metrics_result()
        results["loss"] = results.pop(self._total_mean.name)
        return results

    def compute_loss_and_updates(self, *args, optimizer_variables=None, **kwargs):
        """Gives `compute_loss` the current step on JAX. There Keras calls it through this method as a function of the
        model's variables only, so that the optimizer's `iterations` would be a constant in the compiled step."""
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
    # The network's own part, before one of a network inside, such as a teacher, that has the same name.
    found = [layer for layer in network.layers if layer.name == name]
    found = found or [layer for layer in network._flatten_layers(include_self=False) if layer.name == name]
    if len(found) != 1:
        raise ValueError(f"{network.name!r} has {len(found)} parts called {name!r}; its name must be unique")
    return found[0]


def _per_image(value, sample_weight):
    """A term as (B,) values whose mean, over all images of all replicas, is the value of the term."""
    if not isinstance(value, tuple):
        return value
    sums, counts = value
    images = ops.ones_like(sums) if sample_weight is None else ops.cast(sample_weight, sums.dtype)
    counts = ops.stop_gradient(ops.cast(counts, sums.dtype))
    # On JAX the batch is already that of all devices.
    total, number = ops.unstack(_over_replicas(ops.stack([ops.sum(images * counts), ops.sum(images)])))
    return sums * number / ops.where(total > 0, total, ops.ones_like(total))


def _over_replicas(own):
    """The sum of every replica's own values."""
    replica = None if _on_jax() else tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return own
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
