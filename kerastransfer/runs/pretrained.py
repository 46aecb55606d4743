"""Detectors with published weights, by name (`presets`)."""

from typing import TYPE_CHECKING

from kerastransfer import presets
from kerastransfer.presets import download
from kerastransfer.presets.preset import File
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras


def detector(name: str) -> "tuple[keras.Model, About]":
    """The detector with its published weights, which are downloaded once.

    Raises UserError for an unknown name, and if the weights cannot be had.
    """
    preset = presets.preset(name)
    weights = download.fetched(preset.weights)
    if isinstance(preset.net, File):
        cfg = download.fetched(preset.net).read_text(encoding="utf-8")
    else:
        from kerastransfer.models.darknet_nets import yolov3_cfg

        cfg = yolov3_cfg(preset.net, masks=preset.masks)
    from kerastransfer.detectors import darknet

    network, about, _ = darknet.built(cfg, weights, preset.labels)
    return network, about


def encoder(name: str) -> "keras.Model":
    """The encoder of that detector. Raises UserError as `detector` does."""
    return detector(name)[0].get_layer("encoder")
