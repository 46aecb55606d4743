"""A model as a SavedModel folder, for TensorFlow Serving and as the converter's input."""

import os
import shutil
import uuid
from pathlib import Path

import keras
import tensorflow as tf

from kerastransfer.errors import UserError
from kerastransfer.silence import silenced


def write(
    model: keras.Model,
    folder: str | os.PathLike,
    *,
    batch_size: int | None = None,
    image_size: tuple[int | None, int | None] | None = None,
) -> None:
    """Write `model`, image to a dict of outputs, so that `folder` appears whole.

    Its signature, `serving_default`, takes `image` (B, H, W, 3) float32 in 0..255 and gives the outputs by name. Sizes
    that are None stay free; `image_size` is by default that of the model's input. A folder that is there is replaced.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"export runs on TensorFlow, Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow"
        )
    if not isinstance(model.output, dict):
        raise UserError(f"model {model.name!r} gives a nameless output; build it with a dict of outputs")
    height, width = image_size or model.inputs[0].shape[1:3]
    spec = tf.TensorSpec((batch_size, height, width, model.inputs[0].shape[-1]), tf.float32, name="image")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda image: model(image, training=False), input_signature=[spec])

    folder = Path(folder)
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    stale = fresh.with_suffix(".old")
    try:
        with silenced():
            archive.write_out(str(fresh), verbose=False)
        if folder.exists():  # no system call exchanges two folders everywhere: for a moment there is neither
            folder.rename(stale)
        fresh.rename(folder)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or error.strerror or str(error)
        raise UserError(f"{folder}: cannot be written ({reason}); free some space or choose another folder") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(stale, ignore_errors=True)
