"""A trained Faster R-CNN or Mask R-CNN for other classes: what both have in common is kept, class by class."""

from collections.abc import Sequence

import keras
import numpy as np

from kerastransfer.models.mask_rcnn import MASKS

# Layers that say something of each class: how many outputs they have for the background, which comes first, and for a
# class.
OF_CLASSES = {"box_classes": (1, 1), "box_boxes": (0, 4), "logits": (0, 1)}


def options(network: keras.Model) -> dict:
    """The options of `models.faster_rcnn.faster_rcnn` that a network has, but for the number of proposals."""
    head = network.get_layer("branch").get_layer("box_head")
    return {
        "channels": network.get_layer("decoder").get_layer("p5").filters,
        "hidden": head.get_layer("dense1").units,
    }


def mask_options(network: keras.Model) -> dict:
    """The options of `models.mask_rcnn.mask_rcnn` beside these."""
    head = network.get_layer(MASKS).get_layer("fcn")
    convolutions = [layer for layer in head.layers if type(layer) is keras.layers.Conv2D]
    return {
        "filters": head.get_layer("up").filters,
        # The last one gives the masks.
        "convs": len(convolutions) - 1,
        # Whether a single mask is of the only class or of all cannot be told.
        "class_agnostic": head.get_layer("logits").filters == 1,
    }


def class_layers(network: keras.Model) -> list[str]:
    """Names of its layers that say something of each class."""
    classes = _layers(network)["box_classes"].units - 1
    return [name for name, layer in _layers(network).items() if _is_of_classes(name, layer.get_weights(), classes)]


def copy(source: keras.Model, target: keras.Model, before: Sequence[str], now: Sequence[str]) -> None:
    """Give `target`, a new network for the classes `now`, all weights of `source`, which knows the classes `before`;
    but in layers that say something of each class, the outputs of a class that is not in `before` stay as they are.
    Both have the same parts."""
    for part in source.layers:
        if not isinstance(part, keras.Model):
            continue
        theirs = _layers(part)
        for name, layer in _layers(target.get_layer(part.name)).items():
            old = theirs[name].get_weights()
            if _is_of_classes(name, old, len(before)):
                layer.set_weights(_by_class(layer.get_weights(), old, *OF_CLASSES[name], before, now))
            else:
                layer.set_weights(old)


def _layers(part):
    """{name: layer} of those with weights, at any depth."""
    every = part._flatten_layers(include_self=False)
    return {layer.name: layer for layer in every if layer.weights and not isinstance(layer, keras.Model)}


def _is_of_classes(name, values, classes):
    """Not of a single mask, which is one of all classes."""
    background, each = OF_CLASSES.get(name, (0, 0))
    outputs = len(values[-1])
    return outputs > 1 and each > 0 and outputs == background + each * classes


def _by_class(values, old, background, each, before, now):
    pairs = [(slice(0, background), slice(0, background))]
    for n, name in enumerate(now):
        if name in before:
            starts = (background + each * before.index(name), background + each * n)
            pairs.append(tuple(slice(start, start + each) for start in starts))
    values = [np.array(value) for value in values]
    for value, given in zip(values, old, strict=True):
        for theirs, ours in pairs:
            value[..., ours] = given[..., theirs]
    return values
