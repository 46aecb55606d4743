"""What a part computes apart from its weights: its layers, their settings, and how they are connected.

Weights alone do not show this: an encoder with leaky activations has the same names and shapes as one with ReLU6.
"""

import hashlib
import json
from collections.abc import Collection
from typing import Any

import keras

# Settings of layers that do not change what trained weights compute, or that belong to a single process.
_IGNORED = {"name", "trainable", "dtype", "autocast", "module", "registered_name", "build_config", "shared_object_id"}
_IGNORED |= {"momentum", "drift", "synchronized", "seed", "sparse", "ragged", "optional", "quantization_config"}
_IGNORED_ENDS = ("_initializer", "_regularizer", "_constraint")

Description = list[dict[str, Any]]


def description(part: keras.Model) -> Description:
    """The layers in the order in which they run, as plain JSON: {"name", "class", "config", "inputs", "layers"}.

    "inputs" says which layers a layer reads; "layers" is the description of a nested part, and empty otherwise.
    """
    config = part.get_config()
    wired = {layer["name"]: layer.get("inbound_nodes", []) for layer in config.get("layers", ()) if "name" in layer}
    layers = getattr(part, "operations", part.layers)
    order = {layer.name: number for number, layer in enumerate(layers)}
    found = []
    for layer in layers:
        nested = isinstance(layer, keras.Model)
        found.append(
            {
                "name": layer.name,
                "class": "Model" if nested else type(layer).__name__,
                "config": {} if nested else _settings(layer),
                "inputs": _plain(wired.get(layer.name, []), order),
                "layers": description(layer) if nested else [],
            }
        )
    return found


def difference(ours: Description, theirs: Description, but: Collection[str] = ()) -> str | None:
    """The first difference between two descriptions, in words, or None. Names of layers and parts may differ.

    but: settings of layers that may differ, such as "strides".
    """
    for own, other in zip(ours, theirs, strict=False):
        if found := _of_layers(own, other, but):
            return found
    if len(ours) != len(theirs):
        return f"it has {len(theirs)} layers where {len(ours)} are needed"
    return None


def difference_by_name(ours: Description, theirs: Description, names: Collection[str], but: Collection[str] = ()):
    """The first difference between layers with these names that both descriptions have, or None. How the layers are
    connected is not compared."""
    others = _by_name(theirs)
    pairs = ((own, others[name]) for name, own in _by_name(ours).items() if name in names and name in others)
    return next(filter(None, (_of_layers({**own, "inputs": []}, {**o, "inputs": []}, but) for own, o in pairs)), None)


def fingerprint(part: keras.Model) -> str:
    """SHA-256 of the description, with all names left out."""
    return hashlib.sha256(json.dumps(_nameless(description(part)), sort_keys=True).encode()).hexdigest()


def _of_layers(own, other, but):
    if own["class"] != other["class"]:
        return f"layer {other['name']} is a {other['class']} where {own['name']}, a {own['class']}, is needed"
    # A key that only one side has comes from another version of Keras.
    for key in own["config"].keys() & other["config"].keys() - set(but):
        if own["config"][key] != other["config"][key]:
            needed, there = own["config"][key], other["config"][key]
            return f"{key} of layer {other['name']} is {_word(there)} where {_word(needed)} is needed"
    if found := difference(own["layers"], other["layers"], but):
        return found
    if own["inputs"] != other["inputs"]:
        return f"layer {other['name']} reads other layers than {own['name']} should"
    return None


def _settings(layer):
    config = {key: _plain(value) for key, value in layer.get_config().items() if not _is_ignored(key)}
    for key in ("batch_shape", "shape", "batch_input_shape"):
        if isinstance(layer, keras.layers.InputLayer) and config.get(key):
            # The size and the number of images do not matter.
            config[key] = config[key][-1:]
    return config


def _is_ignored(key):
    return key in _IGNORED or key.endswith(_IGNORED_ENDS)


def _plain(value, order=None):
    """A setting as plain JSON; a tensor becomes the position of the layer that it comes from."""
    if isinstance(value, dict):
        if order is not None and "keras_history" in value.get("config", {}):
            name, node, tensor = value["config"]["keras_history"]
            return [order.get(name, name), node, tensor]
        return {key: _plain(inner, order) for key, inner in value.items() if not _is_ignored(key)}
    if isinstance(value, list | tuple):
        return [_plain(inner, order) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _by_name(layers):
    found = {}
    for layer in layers:
        found |= _by_name(layer["layers"]) if layer["layers"] else {layer["name"]: layer}
    return found


def _nameless(layers):
    bare = [{key: value for key, value in layer.items() if key != "name"} for layer in layers]
    return [{**layer, "layers": _nameless(layer["layers"])} for layer in bare]


def _word(value):
    if isinstance(value, dict) and "class_name" in value:
        return str(value["class_name"])
    return str(value)
