"""A trained detector for other classes: what both have in common is kept, class by class."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.layers.scale import Scale
from kerastransfer.models.parts import feed
from kerastransfer.models.rewrite import Config, everywhere, with_policy

# What the number of outputs of a layer is called in its config.
OUTPUTS = {"Conv2D": "filters", "Dense": "units"}


def with_classes(
    network: keras.Model, codec: Any, wanted: Any, before: Sequence[str], now: Sequence[str]
) -> keras.Model:
    """A detector for the classes `now` in place of `before`, computing in the current dtype policy. It may share layers
    with `network`.

    All weights are kept, except that in the last layers of the head the outputs of a class whose name is not in
    `before` start at random. Boxes, objectness and the classes of the same name are predicted as before.

    codec, wanted: those of the two detectors, with a method `class_places`.
    Raises UserError if the last layers of the head are neither convolutions nor dense.
    """
    parts = {layer.name: layer for layer in network.layers if isinstance(layer, keras.Model)}
    policy = keras.mixed_precision.global_policy().name
    encoder, head = with_policy(parts["encoder"], policy), parts["head"]
    if tuple(before) == tuple(now):
        head = with_policy(head, policy, but=last_layers(head))
    else:
        head = _renamed(head, codec, wanted, before, now, policy)
    image = keras.Input(network.input.shape[1:], name="image")
    maps = encoder(image)
    if "decoder" in parts:
        maps = feed(with_policy(parts["decoder"], policy), maps)
    return keras.Model(image, feed(head, maps), name=network.name)


def last_layers(head: keras.Model) -> list[str]:
    """Names of the layers whose outputs the predictions are, ignoring changes of their shape and scale."""
    names = []
    for output in keras.tree.flatten(head.output):
        operation = output._keras_history.operation
        while isinstance(operation, keras.layers.Reshape | Scale):
            operation = operation.input._keras_history.operation
        names.append(operation.name)
    return names


def _renamed(head, codec, wanted, before, now, policy):
    last = {name: head.get_layer(name) for name in last_layers(head)}
    for layer in last.values():
        if type(layer).__name__ not in OUTPUTS:
            raise UserError(f"the detector's head ends in {layer.name!r}, a {type(layer).__name__}, not a convolution")
    counts = {name: layer.bias.shape[0] for name, layer in last.items()}
    places = {name: codec.class_places(name, count) for name, count in counts.items()}
    more = len(now) - len(before)
    sizes = {name: count + len(places[name]) * more for name, count in counts.items()}

    def change(item: Config) -> Config:
        kind, config = item.get("class_name"), item.get("config")
        if kind in OUTPUTS and config["name"] in sizes:
            return item | {"config": config | {OUTPUTS[kind]: sizes[config["name"]]}}
        if kind == "Reshape" and math.prod(config["target_shape"]) in counts.values():
            *shape, outputs = config["target_shape"]
            return item | {"config": config | {"target_shape": (*shape, outputs + more)}}
        return item

    kept = with_policy(head, policy, but=list(last))
    copy = head.__class__.from_config(everywhere(change, kept.get_config()))
    for layer in copy.layers:
        if layer.name not in last:
            layer.set_weights(head.get_layer(layer.name).get_weights())
            continue
        source, target = places[layer.name], wanted.class_places(layer.name, sizes[layer.name])
        others = [np.setdiff1d(np.arange(size[layer.name]), own) for size, own in ((counts, source), (sizes, target))]
        pairs = [(others[0], others[1])]
        pairs += [(source[:, before.index(name)], target[:, n]) for n, name in enumerate(now) if name in before]
        values = [np.array(value) for value in layer.get_weights()]
        for value, old in zip(values, last[layer.name].get_weights(), strict=True):
            for theirs, ours in pairs:
                value[..., ours] = old[..., theirs]
        layer.set_weights(values)
    return copy
