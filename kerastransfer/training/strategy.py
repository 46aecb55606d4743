"""How a run uses the machine: devices, workers, precision, determinism."""

import contextlib
from collections.abc import Callable

import keras
import tensorflow as tf

from kerastransfer.errors import UserError
from kerastransfer.training import precision as precisions
from kerastransfer.training import tensorflow_workers
from kerastransfer.training.terms import TermModel

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# The backend that each strategy is implemented with.
BACKENDS = {"mirrored": "tensorflow", "multi_worker": "tensorflow", "data_parallel": "jax"}


def prepare(*, precision: str = "float32", deterministic: bool = False, seed: int = 0) -> None:
    """Set up the process before any model is built: Keras's dtype policy and the seeds.

    precision: one of `POLICIES`, or "auto" (`precision.resolved`).
    deterministic: also make TensorFlow's operations deterministic, which cannot be undone in the same process.
    """
    if keras.backend.backend() != "tensorflow":
        # TensorFlow only prepares the batches here, but would allocate all the memory of the GPUs.
        tf.config.set_visible_devices([], "GPU")
    keras.mixed_precision.set_global_policy(POLICIES[precisions.resolved(precision)])
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def compiled(jit: bool) -> bool:
    """Whether XLA compiles the training step. On JAX it always does, because otherwise operations run one at a time."""
    return jit or keras.backend.backend() == "jax"


def scope(name: str) -> contextlib.AbstractContextManager:
    """The scope in which models and optimizers must be made.

    name: "none", "mirrored" (a copy on every device of this machine), "multi_worker" (a copy on every worker of
        TF_CONFIG) or "data_parallel" (JAX: a copy on every device of all processes).
    """
    _refuse_other_backend(name)
    if name == "mirrored":
        return tensorflow_workers.mirrored().scope()
    if name == "multi_worker":
        return tensorflow_workers.multi_worker().scope()
    if name == "data_parallel":
        return _jax().distribution().scope()
    return contextlib.nullcontext()


def join(name: str) -> None:
    """Connect to the other workers, if there are any. TensorFlow and JAX require this before they run anything else."""
    _refuse_other_backend(name)
    if name == "multi_worker":
        tensorflow_workers.multi_worker()
    if name == "data_parallel":
        _jax().join()


def worker(name: str) -> tuple[int, int]:
    """(index, count) of this process among the workers, of which the first writes the files; (0, 1) for a single
    process."""
    if name == "multi_worker":
        return tensorflow_workers.task()[:2]
    return _jax().worker() if name == "data_parallel" else (0, 1)


def parts(name: str) -> int:
    """Number of equal parts that a batch is divided into: one for each worker, or on JAX one for each device."""
    return _jax().replicas() if name == "data_parallel" else worker(name)[1]


def barrier(name: str) -> None:
    """Wait for the other workers. If one of them has died, TensorFlow or JAX raises an error."""
    if name == "multi_worker":
        tensorflow_workers.count_workers()()
    if name == "data_parallel":
        _jax().barrier()


def model(name: str, *arguments, **options) -> TermModel:
    """The `TermModel` for a strategy."""
    return (tensorflow_workers.MultiWorkerModel if name == "multi_worker" else TermModel)(*arguments, **options)


def distributed(name: str, batches: Callable[[tuple[int, int]], tf.data.Dataset]):
    """The batches to call `fit` with: `batches((0, 1))`, or, with several workers, each worker's share of every batch;
    Keras on JAX concatenates the shares in the order of the workers."""
    own = batches(worker(name))
    return tensorflow_workers.distributed(own) if name == "multi_worker" else own


def _refuse_other_backend(name):
    if name not in ("none", *BACKENDS):
        known = "none, mirrored, multi_worker or data_parallel"
        raise UserError(f"unknown --strategy {name}; choose {known}")
    backend, wanted = keras.backend.backend(), BACKENDS.get(name)
    if wanted not in (None, backend):
        fitting = " or ".join(other for other, theirs in BACKENDS.items() if theirs == backend) or "none"
        raise UserError(
            f"--strategy {name} needs KERAS_BACKEND={wanted}, but Keras runs on {backend}; set this environment "
            f"variable, or choose --strategy {fitting}"
        )


def _jax():
    """The module, imported only here because JAX is an optional dependency."""
    from kerastransfer.training import jax_workers

    return jax_workers
