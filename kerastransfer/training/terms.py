"""A network trained on named terms."""

from collections.abc import Callable, Mapping

import keras
from keras import ops


class _MeanOverImages(keras.losses.Loss):
    """Hands its (B,) input on, so that Keras averages it and divides by the number of replicas: the one place."""

    def call(self, y_true, y_pred):
        return y_pred


class TermModel(keras.Model):
    """`network` trained on a weighted sum of `terms(targets, predictions) -> {name: (B,)}`.

    Compile with an optimizer alone and call `fit`; each term is reported by its name beside the total `loss`. Weight
    decay belongs to the optimizer: losses that layers add are not counted. The thing to save is `network`.

    weights: of each term; a term without one is an error, and so is a weight without a term.
    """

    def __init__(self, network: keras.Model, terms: Callable, weights: Mapping[str, float], **kwargs):
        # The layers of `network` cast for themselves. Cast here, boxes would arrive in bfloat16: 8 bits for a coordinate.
        super().__init__(name=network.name, autocast=False, **kwargs)
        self.network = network
        self._terms = terms
        self._weights = dict(weights)
        self._term_means = {name: keras.metrics.Mean(name=name) for name in weights}
        self._mean_over_images = _MeanOverImages(name="mean_over_images")
        self.build(network.input_shape)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values = self._terms(y, y_pred)
        if values.keys() != self._weights.keys():
            raise ValueError(f"terms {sorted(values)} came for the weights {sorted(self._weights)}: they must be equal")
        for name, mean in self._term_means.items():
            mean.update_state(values[name])
        total = sum(weight * values[name] for name, weight in self._weights.items())
        return self._mean_over_images(ops.zeros_like(total), total, sample_weight=sample_weight)
