"""How a run uses the machine: devices, workers, precision, repeatability."""

import contextlib
import functools
import json
import os
from collections.abc import Callable

import keras
import tensorflow as tf

from kerastransfer.errors import UserError
from kerastransfer.training.terms import TermModel

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def prepare(*, precision: str = "float32", deterministic: bool = False, seed: int = 0) -> None:
    """Set the process up before any model is built: Keras's policy, seeds, and with `deterministic` operations that
    give the same bits each time (TensorFlow's setting; it cannot be taken back in this process)."""
    keras.mixed_precision.set_global_policy(POLICIES[precision])
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def scope(name: str) -> contextlib.AbstractContextManager:
    """Where models and optimizers are made: "none", "mirrored" (every device of this machine holds a copy) or
    "multi_worker" (every worker of TF_CONFIG does)."""
    if name == "none":
        return contextlib.nullcontext()
    if name == "mirrored":
        return _mirrored().scope()
    if name == "multi_worker":
        return _multi_worker().scope()
    raise UserError(f"--strategy {name} is none that is known: choose none, mirrored or multi_worker")


def join(name: str) -> None:
    """With "multi_worker": meet the other workers. TensorFlow wants this before it runs anything else."""
    if name == "multi_worker":
        _multi_worker()


def worker(name: str) -> tuple[int, int]:
    """(index, count) of this process among the workers; the first writes the files. (0, 1) unless "multi_worker"."""
    return _task()[:2] if name == "multi_worker" else (0, 1)


def barrier(name: str) -> None:
    """With "multi_worker": wait for the others. A worker that has died ends the wait with TensorFlow's error."""
    if name == "multi_worker":
        _count_workers()()


def model(name: str, *arguments, **options) -> TermModel:
    """The `TermModel` for a strategy."""
    return (_MultiWorkerModel if name == "multi_worker" else TermModel)(*arguments, **options)


def distributed(name: str, batches: Callable[[tuple[int, int]], tf.data.Dataset]):
    """What `fit` takes: `batches((0, 1))`, or with "multi_worker" each worker's share of every batch."""
    if name != "multi_worker":
        return batches((0, 1))
    own = batches(worker(name))
    devices = _multi_worker().num_replicas_in_sync // worker(name)[1]
    if devices > 1:
        own = own.rebatch(next(iter(own.element_spec[1].values())).shape[0] // devices)
    return _multi_worker().distribute_datasets_from_function(lambda _: own)


class _MultiWorkerModel(TermModel):
    """Around the places where `fit` fails over several processes (keras#20585)."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: the constructor has built the model; Keras would reduce a batch across processes here."""

    def train_step(self, *args, **kwargs):
        return _in_a_row(super().train_step(*args, **kwargs))

    def test_step(self, *args, **kwargs):
        return _in_a_row(super().test_step(*args, **kwargs))


def _in_a_row(logs):
    """Metrics of shape (1,): what is reduced over replicas needs an axis."""
    return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}


@functools.cache  # a second strategy in a process would number its collective operations like the first
def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@functools.cache
def _multi_worker() -> tf.distribute.Strategy:
    index, count, address = _task()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"--strategy multi_worker: worker {index} of {count} at {address} cannot join the others "
            f"({str(error).splitlines()[0][:200]}); start all workers, each with its own TF_CONFIG"
        ) from error


@functools.cache
def _count_workers() -> Callable[[], tf.Tensor]:
    workers = _multi_worker()

    def one():
        return tf.ones(())

    def count():
        return workers.reduce("SUM", workers.run(one), axis=None)

    return tf.function(count, autograph=False)


def _task() -> tuple[int, int, str]:
    """(index, count, address) of this worker by TF_CONFIG; a "chief" comes first."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(
            "--strategy multi_worker needs TF_CONFIG, and it is not set: give each worker "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; see docs/scale.md'
        )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        members = [(role, i) for role in ("chief", "worker") for i in range(len(cluster.get(role, ())))]
        index = members.index((task["type"], int(task["index"])))
        return index, len(members), cluster[task["type"]][int(task["index"])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG is {text!r}, which names no worker ({error!r}); needed "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from None
