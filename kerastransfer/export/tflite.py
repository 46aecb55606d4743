"""A model as a LiteRT (TensorFlow Lite) file of builtin operators only, for a fixed image size and a batch of one."""

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from kerastransfer.codecs.layers import Vote
from kerastransfer.data.resize import resize_image
from kerastransfer.errors import UserError
from kerastransfer.export import saved_model
from kerastransfer.export.graph import decoding, outputs, tail, without_ranges
from kerastransfer.export.portable import in_float32, with_blocks, with_native_suppression
from kerastransfer.silence import silenced

KINDS = ("float32", "float16", "int8")


def convert(
    model: keras.Model,
    image_size: tuple[int, int],
    kind: str = "float32",
    calibration: Iterable[np.ndarray] = (),
) -> bytes:
    """The content of a .tflite file for `model`: image (B, H, W, 3) in 0..255 to a dict of outputs.

    image_size: (H, W).
    kind: "float32"; "float16": weights in half precision, computing in float32; "int8": reads uint8 pixels, computes in
        whole numbers up to the last layer with weights, and in float32 from there to the outputs. (Decoded in int8, the
        boxes of a detector are off by cells: LiteRT quantises 0 of a one-hot to 0.5, and coordinates and scores share
        one scale, that of the coordinates. For the same reason a detector's last layer, whose output holds both, stays
        in float32 as well.) Where masks are drawn in the boxes, layers with weights follow, in whole numbers; from raw
        predictions to these, RoIAlign's products included, all is float32. (Of a mask AP of 0.178 on toy images 0.001
        was lost so, 0.011 with the raw predictions and 0.029 with their decoding in int8 too. In int8 the products of
        RoIAlign lost nothing, but the file took three times as long.)
    calibration: (h, w, 3) uint8 training images, from which "int8" takes the range of every activation. 100 will do.

    Raises UserError if the model needs an operator that LiteRT does not have, or "int8" has no calibration images.
    """
    with source(model, image_size) as folder:
        return convert_source(folder, model, image_size, kind, calibration)


@contextlib.contextmanager
def source(model: keras.Model, image_size: tuple[int, int]) -> Iterator[Path]:
    """A folder from which `convert_source` makes files of every kind, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        portable = with_native_suppression(with_blocks(in_float32(model)))
        saved_model.write(portable, path, batch_size=1, image_size=image_size)
        yield path


def convert_source(
    folder: Path, model: keras.Model, image_size: tuple[int, int], kind: str, calibration: Iterable[np.ndarray] = ()
) -> bytes:
    """As `convert`, from the `source` of the model."""
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: choose from {KINDS}")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        samples = calibration_samples(calibration, image_size)
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter._experimental_calibrate_only = True
    with silenced():
        content = converted(model.name, converter)
        if kind == "int8":  # in the converter's own way to int8 no part can be left in float32
            kept = in_float(model, content)
            content = mlir_quantize(without_ranges(content, set(kept)), input_data_type=tf.uint8, denylisted_nodes=kept)
        return content


def in_float(model: keras.Model, content: bytes) -> list[str]:
    """Names of the tensors that an int8 file holds in float32 (`convert` tells why)."""
    votes = any(isinstance(layer, Vote) for layer in model._flatten_layers())  # the last weights give boxes
    decoded = [output for output in ("boxes", "scores") if output in model.output]
    return [
        *tail(content, with_last=votes),
        *(name for output in decoded for name in decoding(content, output)),
        *outputs(content, "ADD"),
    ]


def converted(name: str, converter: tf.lite.TFLiteConverter) -> bytes:
    """What the converter makes; a UserError that names the operators if it cannot do with builtin ones."""
    try:
        return converter.convert()
    except Exception as error:  # the converter's own class is not public
        foreign = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op", str(error))))
        if not foreign:
            raise
        raise UserError(
            f"model {name!r}: LiteRT has no operator of its own for {', '.join(foreign)}; use others in the model, or "
            "do this step outside it"
        ) from error


def calibration_samples(calibration: Iterable[np.ndarray], image_size: tuple[int, int]) -> list[np.ndarray]:
    """Calibration images as the model reads them: (1, H, W, 3) float32."""
    samples = [resize_image(image, image_size)[None].astype(np.float32) for image in calibration]
    if not samples:
        raise UserError("int8 needs calibration images and got none: give some training images, 100 will do")
    # One black and one white pixel, so that the range of the input is 0..255 and a pixel is its own quantised value.
    samples[0][0, 0, 0], samples[0][0, -1, -1] = 0, 255
    return samples
