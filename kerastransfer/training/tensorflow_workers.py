"""`--strategy mirrored` and `multi_worker`: TensorFlow's strategies, and what `fit` needs to work with them."""

import functools
import json
import os
from collections.abc import Callable

import keras
import tensorflow as tf

from kerastransfer.errors import UserError
from kerastransfer.training.terms import TermModel


# Cached, because a second strategy in a process would number its collective operations like the first.
@functools.cache
def mirrored() -> tf.distribute.Strategy:
    """All GPUs of this machine; its CPUs if there are none."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@functools.cache
def multi_worker() -> tf.distribute.Strategy:
    """The workers of TF_CONFIG. Raises UserError if they cannot be reached."""
    index, count, address = task()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"--strategy multi_worker: worker {index} of {count} at {address} cannot join the others "
            f"({str(error).splitlines()[0][:200]}); start all workers, each with its own TF_CONFIG"
        ) from error


def task() -> tuple[int, int, str]:
    """(index, count, address) of this worker according to TF_CONFIG; a "chief" comes first."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(
            "--strategy multi_worker needs TF_CONFIG, which is not set; give each worker "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}; see docs/scale.md'
        )
    try:
        config = json.loads(text)
        cluster, own = config["cluster"], config["task"]
        members = [(role, i) for role in ("chief", "worker") for i in range(len(cluster.get(role, ())))]
        index = members.index((own["type"], int(own["index"])))
        return index, len(members), cluster[own["type"]][int(own["index"])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG is {text!r}, which does not describe this worker ({error!r}); it must look like "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from None


@functools.cache
def count_workers() -> Callable[[], tf.Tensor]:
    """A function that returns once all workers have called it; it sums a 1 from each replica."""
    workers = multi_worker()

    def one():
        return tf.ones(())

    def count():
        return workers.reduce("SUM", workers.run(one), axis=None)

    return tf.function(count, autograph=False)


def distributed(own: tf.data.Dataset):
    """A worker's batches in the form that `fit` takes: one for each of its devices."""
    devices = multi_worker().num_replicas_in_sync // task()[1]
    if devices > 1:
        own = own.rebatch(next(iter(own.element_spec[1].values())).shape[0] // devices)
    return multi_worker().distribute_datasets_from_function(lambda _: own)


class MultiWorkerModel(TermModel):
    """Works around the places where `fit` fails with several processes (keras#20585)."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: the constructor has built the model, and Keras would reduce a batch across processes here."""

    def train_step(self, *args, **kwargs):
        return _in_a_row(super().train_step(*args, **kwargs))

    def test_step(self, *args, **kwargs):
        return _in_a_row(super().test_step(*args, **kwargs))


def _in_a_row(logs):
    """Metrics of shape (1,), because values that are reduced over replicas need an axis."""
    return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}
