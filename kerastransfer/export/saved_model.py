"""Writes a model as a SavedModel folder, for TensorFlow Serving and as the input of the LiteRT converter."""

import os
import re
import shutil
import uuid
from pathlib import Path

import keras
import tensorflow as tf

from kerastransfer.errors import DiskFullError, UserError
from kerastransfer.silence import silenced


def write(
    model: keras.Model,
    folder: str | os.PathLike,
    *,
    batch_size: int | None = None,
    image_size: tuple[int | None, int | None] | None = None,
) -> None:
    """Write `model`, from image to a dict of outputs, to `folder`; an existing folder is replaced.

    The signature `serving_default` takes `image` (B, H, W, 3) float32 in 0..255 and returns the outputs by name. Sizes
    that are None are variable; the default of `image_size` is the size of the model's input.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"export needs TensorFlow, but Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
        )
    if not isinstance(model.output, dict):
        raise UserError(f"model {model.name!r} returns an output without a name; build it with a dict of outputs")
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
            _write_out(archive, fresh, folder)
        # There is no portable system call that exchanges two folders, so for a moment there is neither.
        if folder.exists():
            folder.rename(stale)
        fresh.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(stale, ignore_errors=True)


def _write_out(archive: keras.export.ExportArchive, fresh: Path, folder: Path) -> None:
    """Raises UserError, which `silenced` prints without what TensorFlow says."""
    try:
        archive.write_out(str(fresh), verbose=False)
    except (tf.errors.OpError, OSError) as error:
        text = str(error)
        if "No space left" in text or "Disk quota" in text:
            raise DiskFullError(f"{folder}: the disk is full; free some space, then run again") from error
        # TensorFlow's own words end with the reason of the system.
        reason = getattr(error, "strerror", None) or re.sub(r" \[Op:\w+\]$", "", text).rpartition("; ")[2][:80]
        raise UserError(f"{folder}: cannot be written ({reason}); choose another folder") from error
