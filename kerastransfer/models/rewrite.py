"""Copies of a model with some of its layers replaced: the config is rewritten, and the weights are copied."""

import re
from collections.abc import Callable, Collection
from typing import Any

import keras

from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.layers.multiple_of import MultipleOf

Config = dict[str, Any]
OURS, KERAS = keras.saving.get_registered_name(BatchNorm), "BatchNormalization"
GUARD = keras.saving.get_registered_name(MultipleOf)
PLAIN = {"center": True, "scale": True, "renorm": False, "synchronized": False}


def changed(model: keras.Model, change: Callable[[Config], Config]) -> keras.Model:
    """A copy of `model`, weights included, with `change` applied to the config of every object in it, at any depth; or
    `model` itself if nothing changes."""
    config = model.get_config()
    wanted = everywhere(change, config)
    if wanted == config:
        return model
    copy = model.__class__.from_config(wanted)
    copy.set_weights(model.get_weights())
    return copy


def everywhere(change: Callable[[Config], Config], config: Any) -> Any:
    """`config` with `change` applied to every dict in it, the innermost first."""
    if isinstance(config, list | tuple):
        return type(config)(everywhere(change, value) for value in config)
    if isinstance(config, dict):
        return change({key: everywhere(change, value) for key, value in config.items()})
    return config


def with_policy(model: keras.Model, policy: str, *, but: Collection[str] = ()) -> keras.Model:
    """A copy of `model` whose layers have this dtype policy, except for the layers named in `but`; or `model` itself if
    they already have it."""

    def change(item: Config) -> Config:
        config = item.get("config")
        if item.get("class_name") == "DTypePolicy":
            return item | {"config": {"name": policy}}
        if isinstance(config, dict) and config.get("name") in but and "dtype" in config:
            return item | {"config": config | {"dtype": kept[config["name"]]}}
        return item

    kept = {name: model.get_layer(name).get_config()["dtype"] for name in but}
    return changed(model, change)


def remade(item: Config, layer: type[keras.layers.Layer]) -> Config:
    """The config of a layer, changed to another class of this package."""
    registered = keras.saving.get_registered_name(layer)
    return item | {"module": layer.__module__, "class_name": layer.__name__, "registered_name": registered}


def standard(model: keras.Model) -> keras.Model:
    """A copy of `model` with Keras's own layers in place of `BatchNorm` and `MultipleOf`, or `model` itself if it has
    neither.

    In inference mode the outputs are equal, and Keras can load the copy from a file without this package.
    """
    return changed(model, _standard)


def restored(model: keras.Model) -> keras.Model:
    """The inverse of `standard`. `BatchNorm`, which trains faster and whose statistics may drift, also replaces other
    batch normalization layers if it computes the same."""
    return changed(model, _restored)


def _standard(item: Config) -> Config:
    if item.get("registered_name") == OURS:
        config = {name: value for name, value in item["config"].items() if name != "drift"}
        return _of_keras(item, KERAS, config)
    if item.get("registered_name") == GUARD:
        config = {name: value for name, value in item["config"].items() if name != "stride"}
        return _of_keras(item, "Identity", config)
    return item


def _restored(item: Config) -> Config:
    if item.get("registered_name") is not None:
        return item
    if item.get("class_name") == KERAS:
        config = item["config"]
        fits = config["axis"] in (-1, 3) and all(config[name] == value for name, value in PLAIN.items())
        return remade(item, BatchNorm) if fits else item
    if item.get("class_name") == "Identity" and (named := re.fullmatch(r"multiple_of_(\d+)", item["config"]["name"])):
        return remade(item, MultipleOf) | {"config": item["config"] | {"stride": int(named[1])}}
    return item


def _of_keras(item: Config, layer: str, config: Config) -> Config:
    return item | {"module": "keras.layers", "class_name": layer, "registered_name": None, "config": config}
