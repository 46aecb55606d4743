"""Published weights, by name (`presets`), and those of keras-hub as hub:NAME."""

import difflib
import re
from typing import TYPE_CHECKING

from kerastransfer import presets
from kerastransfer.errors import UserError, one_line
from kerastransfer.presets import download
from kerastransfer.presets.preset import Application, File
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras


def detector(name: str) -> "tuple[keras.Model, About]":
    """The detector with its published weights, which are downloaded once.

    Raises UserError for an unknown name, for a model that is not a detector, and if the weights cannot be had.
    """
    preset = presets.detector(name)
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
    """The encoder of that detector; or a classifier of keras.applications, or a backbone of keras-hub (hub:NAME), as an
    encoder. Raises UserError as `detector` does."""
    if name.startswith(presets.HUB):
        return backbone(name.removeprefix(presets.HUB))
    preset = presets.preset(name)
    if isinstance(preset, Application):
        return application(name, preset)
    return detector(name)[0].get_layer("encoder")


def application(name: str, preset: Application) -> "keras.Model":
    """The encoder of a classifier, with the weights that Keras downloads."""
    from kerastransfer.models import applications

    try:
        return applications.application(preset)
    except Exception as error:
        # Keras raises a bare Exception if the download fails.
        raise UserError(
            f"Keras cannot download {name} ({error}); fetch the file by hand and put it in the folder models of "
            "KERAS_HOME (by default ~/.keras)"
        ) from error


def backbone(name: str) -> "keras.Model":
    """The encoder of a keras-hub backbone: a name that keras-hub knows, or a folder that holds a preset. Keras-hub
    downloads it, and its image converter says how pixels are scaled."""
    try:
        import keras_hub
    except ImportError:
        raise UserError(
            f"--encoder {presets.HUB}{name} needs keras-hub; install it with pip install 'kerastransfer[hub]'"
        ) from None
    import keras

    from kerastransfer.models.adapter import encoder_of

    try:
        model = keras_hub.models.Backbone.from_preset(name)
        converter = keras_hub.layers.ImageConverter.from_preset(name)
    except Exception as error:
        # Keras-hub's errors, and those of the services that it downloads from, have no common class.
        known = keras_hub.layers.ImageConverter.presets
        if name not in known and re.fullmatch(r"\w+", name):
            near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))
            raise UserError(
                f"keras-hub has no image backbone {name!r}; choose one of its presets (nearest: {near}), or give a "
                "folder that holds one"
            ) from error
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(
            f"keras-hub cannot load an image backbone {name!r} ({reason}); check its name and the network"
        ) from error

    def scaled(image):
        scale, offset = (
            default if value is None else value for value, default in ((converter.scale, 1.0), (converter.offset, 0.0))
        )
        return keras.layers.Rescaling(scale, offset, name="rescale")(image)

    return encoder_of(model, scaled)
