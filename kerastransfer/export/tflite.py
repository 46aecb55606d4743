"""Converts a model to a LiteRT (TensorFlow Lite) file with builtin operators only, for one image of a fixed size."""

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
    """The content of a .tflite file for `model`, from image (B, H, W, 3) in 0..255 to a dict of outputs.

    image_size: (H, W).
    kind: one of
        - "float32";
        - "float16": weights are stored in half precision, but computations are in float32;
        - "int8": the file takes uint8 pixels, computes in int8 up to the last layer with weights, and in float32 from
          there to the outputs. If boxes were decoded in int8, they would be off by whole cells: LiteRT quantises the 0
          of a one-hot vector to 0.5, and coordinates and scores share a scale, that of the coordinates. For the same
          reason the last layer of a detector, whose output holds both, is in float32 as well. In models with masks,
          layers with weights follow, which are int8; everything from the raw predictions to these layers, including the
          products in RoIAlign, is float32. (This lost 0.001 of a mask AP of 0.178 on toy images; with the raw
          predictions in int8 the loss was 0.011, and with their decoding in int8 too it was 0.029. With the products in
          RoIAlign in int8 nothing was lost, but the file took three times as long.)
    calibration: (h, w, 3) uint8 training images, which set the range of every activation for "int8"; 100 are enough.

    Raises UserError if the model needs an operator that LiteRT does not have, or if there are no calibration images for
    "int8".
    """
    with source(model, image_size) as folder:
        return convert_source(folder, model, image_size, kind, calibration)


@contextlib.contextmanager
def source(model: keras.Model, image_size: tuple[int, int]) -> Iterator[Path]:
    """A temporary folder from which `convert_source` makes files of every kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        portable = with_native_suppression(with_blocks(in_float32(model)))
        saved_model.write(portable, path, batch_size=1, image_size=image_size)
        yield path


def convert_source(
    folder: Path, model: keras.Model, image_size: tuple[int, int], kind: str, calibration: Iterable[np.ndarray] = ()
) -> bytes:
    """As `convert`, from the folder that `source` gives for the model."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; choose from {KINDS}")
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
        # The converter's own quantisation to int8 cannot leave parts in float32.
        if kind == "int8":
            kept = in_float(model, content)
            content = mlir_quantize(without_ranges(content, set(kept)), input_data_type=tf.uint8, denylisted_nodes=kept)
        return content


def in_float(model: keras.Model, content: bytes) -> list[str]:
    """Names of the tensors that are float32 in an int8 file (`convert` explains why)."""
    # The last layer with weights of a voting segmenter predicts boxes.
    votes = any(isinstance(layer, Vote) for layer in model._flatten_layers())
    decoded = [output for output in ("boxes", "scores") if output in model.output]
    return [
        *tail(content, with_last=votes),
        *(name for output in decoded for name in decoding(content, output)),
        *outputs(content, "ADD"),
    ]


def converted(name: str, converter: tf.lite.TFLiteConverter) -> bytes:
    """The converter's result. Raises UserError, naming the operators, if builtin ones are not enough."""
    try:
        return converter.convert()
    # The converter's own class of errors is not public.
    except Exception as error:
        foreign = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op", str(error))))
        if not foreign:
            raise
        raise UserError(
            f"model {name!r}: LiteRT has no builtin operator for {', '.join(foreign)}; use others in the model, or do "
            "this step outside it"
        ) from error


def calibration_samples(calibration: Iterable[np.ndarray], image_size: tuple[int, int]) -> list[np.ndarray]:
    """Calibration images in the form that the model takes: (1, H, W, 3) float32."""
    samples = [resize_image(image, image_size)[None].astype(np.float32) for image in calibration]
    if not samples:
        raise UserError("int8 needs calibration images but got none; give some training images, 100 are enough")
    # A black and a white pixel make the range of the input 0..255, so that a pixel equals its quantised value.
    samples[0][0, 0, 0], samples[0][0, -1, -1] = 0, 255
    return samples
