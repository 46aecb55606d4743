"""How a run uses the machine: devices, precision, repeatability."""

import contextlib
import functools

import keras
import tensorflow as tf

from kerastransfer.errors import UserError

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def prepare(*, precision: str = "float32", deterministic: bool = False, seed: int = 0) -> None:
    """Set the process up before any model is built: Keras's policy, seeds, and with `deterministic` operations that
    give the same bits each time (TensorFlow's setting; it cannot be taken back in this process)."""
    keras.mixed_precision.set_global_policy(POLICIES[precision])
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def scope(name: str) -> contextlib.AbstractContextManager:
    """Where models and optimizers are made: "none" or "mirrored" (every device of this machine holds a copy)."""
    if name == "none":
        return contextlib.nullcontext()
    if name == "mirrored":
        return _mirrored().scope()
    raise UserError(f"--strategy {name} is not there yet: choose none, or mirrored for several devices of one machine")


@functools.cache  # a second strategy in a process would number its collective operations like the first
def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])
