"""How a run uses the machine: devices, workers, precision, repeatability."""

import contextlib
from collections.abc import Callable

import keras
import tensorflow as tf

from kerastransfer.errors import UserError
from kerastransfer.training import precision as precisions
from kerastransfer.training import tensorflow_workers
from kerastransfer.training.terms import TermModel

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
BACKENDS = {"mirrored": "tensorflow", "multi_worker": "tensorflow", "data_parallel": "jax"}  # each library's own way


def prepare(*, precision: str = "float32", deterministic: bool = False, seed: int = 0) -> None:
    """Set the process up before any model is built: Keras's policy, seeds, and with `deterministic` operations that
    give the same bits each time (TensorFlow's setting; it cannot be taken back in this process).

    precision: one of `POLICIES`, or "auto" (`precision.resolved`).
    """
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")  # TensorFlow makes the batches alone, and would take all the memory
    keras.mixed_precision.set_global_policy(POLICIES[precisions.resolved(precision)])
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def compiled(jit: bool) -> bool:
    """Whether XLA compiles the training step: on JAX always, as one that is not runs an operation at a time."""
    return jit or keras.backend.backend() == "jax"


def scope(name: str) -> contextlib.AbstractContextManager:
    """Where models and optimizers are made: "none", "mirrored" (every device of this machine holds a copy),
    "multi_worker" (every worker of TF_CONFIG does) or "data_parallel" (on JAX: every device of all processes)."""
    _refuse_other_backend(name)
    if name == "mirrored":
        return tensorflow_workers.mirrored().scope()
    if name == "multi_worker":
        return tensorflow_workers.multi_worker().scope()
    if name == "data_parallel":
        return _jax().distribution().scope()
    return contextlib.nullcontext()


def join(name: str) -> None:
    """Meet the other workers, where there are any. TensorFlow and JAX want this before they run anything else."""
    _refuse_other_backend(name)
    if name == "multi_worker":
        tensorflow_workers.multi_worker()
    if name == "data_parallel":
        _jax().join()


def worker(name: str) -> tuple[int, int]:
    """(index, count) of this process among the workers; the first writes the files. (0, 1) where there is but one."""
    if name == "multi_worker":
        return tensorflow_workers.task()[:2]
    return _jax().worker() if name == "data_parallel" else (0, 1)


def parts(name: str) -> int:
    """How many equal parts a batch must have: one for each worker, on JAX one for each device."""
    return _jax().replicas() if name == "data_parallel" else worker(name)[1]


def barrier(name: str) -> None:
    """Wait for the other workers. One that has died ends the wait with an error of TensorFlow or JAX."""
    if name == "multi_worker":
        tensorflow_workers.count_workers()()
    if name == "data_parallel":
        _jax().barrier()


def model(name: str, *arguments, **options) -> TermModel:
    """The `TermModel` for a strategy."""
    return (tensorflow_workers.MultiWorkerModel if name == "multi_worker" else TermModel)(*arguments, **options)


def distributed(name: str, batches: Callable[[tuple[int, int]], tf.data.Dataset]):
    """What `fit` takes: `batches((0, 1))`, or with several workers each one's share of every batch, which Keras on JAX
    puts together again in order of the workers."""
    own = batches(worker(name))
    return tensorflow_workers.distributed(own) if name == "multi_worker" else own


def _refuse_other_backend(name):
    if name not in ("none", *BACKENDS):
        known = "none, mirrored, multi_worker or data_parallel"
        raise UserError(f"--strategy {name} is none that is known: choose {known}")
    backend, wanted = keras.backend.backend(), BACKENDS.get(name)
    if wanted not in (None, backend):
        fitting = " or ".join(other for other, theirs in BACKENDS.items() if theirs == backend) or "none"
        raise UserError(
            f"--strategy {name} needs KERAS_BACKEND={wanted} and Keras runs on {backend}: set this variable before the "
            f"command, or choose --strategy {fitting}"
        )


def _jax():
    """The module, which imports JAX: an extra that TensorFlow's users need not have."""
    from kerastransfer.training import jax_workers

    return jax_workers
