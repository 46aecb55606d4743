"""`--strategy data_parallel`: training on JAX over every device of one process, or of several."""

import functools
import os
from concurrent import futures

import jax
import keras
from jax.experimental import multihost_utils

from kerastransfer.errors import UserError

ADDRESSES, COUNT, INDEX = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead; JAX's own are 100
PATIENCE = 300  # seconds to wait for the others at the start


def join() -> None:
    """Meet the other processes, if the variables of `keras.distribution.initialize` name any. JAX wants this before it
    computes anything."""
    address, index, count = _task()
    if count == 1 or jax.distributed.is_initialized():
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # What `keras.distribution.initialize` does, but for the times, and without a look at the cluster's own variables:
    # under Slurm JAX would take one GPU for each process, whatever the process may use.
    initialize = functools.partial(
        jax.distributed.initialize,
        address,
        count,
        index,
        cluster_detection_method="deactivate",
        initialization_timeout=PATIENCE + 60,
        heartbeat_timeout_seconds=HEARTBEAT,
    )
    try:
        # In a thread: where the others do not come, JAX raises no error but aborts the process with a page of its own.
        futures.ThreadPoolExecutor(1).submit(initialize).result(PATIENCE)
        barrier()  # now, while all are here: the first to come waits for the connections no longer than half a minute
    except (RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).partition("\n")[0][:200] or f"not all came in {PATIENCE} seconds"
        raise UserError(
            f"--strategy data_parallel: process {index} of {count} cannot join the others at {address} ({reason}); "
            f"start all of them, each with its own {INDEX}"
        ) from error


@functools.cache
def distribution() -> keras.distribution.DataParallel:
    """A copy of every variable on each device of all processes. A process feeds its own share of the batch, so Keras
    must not take shares of it again."""
    return keras.distribution.DataParallel(auto_shard_dataset=False)


def worker() -> tuple[int, int]:
    """(index, count) of this process."""
    return _task()[1:]


def replicas() -> int:
    """Devices of all processes."""
    return jax.device_count()


def barrier() -> None:
    """Wait for the other processes."""
    multihost_utils.sync_global_devices("kerastransfer")


def _task() -> tuple[str | None, int, int]:
    """(address of the first process, index, count) by Keras's environment variables; (None, 0, 1) without any."""
    found = {name: os.environ.get(name) for name in (ADDRESSES, COUNT, INDEX)}
    if not any(found.values()):
        return None, 0, 1
    try:
        addresses = found[ADDRESSES].split(",")
        index, count = int(found[INDEX]), int(found[COUNT] or len(addresses))
        if not 0 <= index < count or len(addresses) not in (1, count):
            raise ValueError("they do not fit each other")
        return addresses[0], index, count
    except (ValueError, TypeError, AttributeError) as error:
        told = ", ".join(f"{name}={value or ''}" for name, value in found.items())
        raise UserError(
            f"--strategy data_parallel cannot read {told} ({error}); needed host:port of each process with commas "
            "between, their number, and the index of this one from 0; see docs/scale.md"
        ) from None
