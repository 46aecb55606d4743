"""Exports a network of volumes as a LiteRT file of builtin operators, compared with the Keras model before it gets its
name."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerastransfer import files
from kerastransfer.export.parity import ExportedFile
from kerastransfer.export.portable import in_float32, with_planes
from kerastransfer.export.tflite import converted
from kerastransfer.models.rewrite import standard
from kerastransfer.silence import silenced

# Of logits, the largest difference; and of voxels, the share whose class changes.
TOLERANCE, CHANGED = 1e-2, 1e-4
ROUNDS = 5


def export(model: keras.Model, path: Path, cubes: Sequence[np.ndarray]) -> ExportedFile:
    """Write `model`, from volume (1, d, h, w, 1) in 0..1 to logits, to `path`, a .tflite file in float32 with the input
    "volume" and the output "logits".

    cubes: (d, h, w) float32, of one size, which becomes that of the input; the file is compared with the model on them.
    A file out of tolerance is kept as NAME.failed.tflite. Raises UserError for operators that LiteRT lacks.
    """
    # Keras's own batch normalization is folded into the convolutions; ours takes the shape of the volume apart.
    reference = in_float32(model)
    content = convert(with_planes(standard(reference)), cubes[0].shape)
    with silenced():
        interpreter = Interpreter(model_content=content, num_threads=1)
        runner = interpreter.get_signature_runner()
    apart, changed, seconds = [], 0, []
    for cube in cubes:
        volume = cube[None, ..., None].astype(np.float32)
        expected = keras.ops.convert_to_numpy(reference(volume, training=False))
        started = time.perf_counter()
        got = runner(volume=volume)["logits"]
        seconds.append(time.perf_counter() - started)
        apart.append(np.abs(got - expected))
        changed += int((got.argmax(-1) != expected.argmax(-1)).sum())
    maximum, share, reason = float(np.max(apart)), changed / (len(cubes) * cubes[0].size), ""
    # Written so that NaN does not pass.
    if not (maximum <= TOLERANCE and share <= CHANGED):
        reason = f"logits differ by up to {maximum:.2g}, and {share:.2%} of the voxels have another class"
    path = path.with_suffix(".failed.tflite") if reason else path
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return ExportedFile(
        path,
        "float32",
        len(content),
        {"logits": {"maximum": maximum, "mean": float(np.mean(apart))}},
        None,
        {1: 1000 * statistics.median(seconds[:ROUNDS])},
        not reason,
        reason,
        note="one cube, on one thread",
    )


def convert(network: keras.Model, cube: tuple[int, int, int]) -> bytes:
    """The .tflite file of a network in float32. Raises UserError, naming them, for operators that LiteRT lacks."""
    spec = tf.TensorSpec((1, *cube, 1), tf.float32, name="volume")
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", lambda volume: {"logits": network(volume, training=False)}, input_signature=[spec])
    with tempfile.TemporaryDirectory() as folder, silenced():
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converted(network.name, converter)
