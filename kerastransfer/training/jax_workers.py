"""`--strategy data_parallel`: training on JAX over every device of one process, or of several."""

import functools
import os
from concurrent import futures

import jax
import keras
from jax.experimental import multihost_utils

from kerastransfer.errors import UserError

ADDRESSES, COUNT, INDEX = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
# Seconds without a heartbeat after which a process is considered dead; JAX's default is 100.
HEARTBEAT = 30
# Seconds to wait for the other processes at the start.
PATIENCE = 300


def join() -> None:
    """Connect to the other processes, if the environment variables of `keras.distribution.initialize` name any. JAX
    requires this before it computes anything. Raises UserError if they cannot be reached."""
    address, index, count = _task()
    if count == 1 or jax.distributed.is_initialized():
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # The same as `keras.distribution.initialize`, except for the timeouts, and without cluster detection: under Slurm,
    # JAX would use one GPU per process, however many the process may use.
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
        # In a thread, because JAX aborts the process instead of raising an error when the others do not connect.
        futures.ThreadPoolExecutor(1).submit(initialize).result(PATIENCE)
        # Now, while all processes are here: the first to arrive waits at most half a minute for the connections.
        barrier()
    except (RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).partition("\n")[0][:200] or f"not all connected within {PATIENCE} seconds"
        raise UserError(
            f"--strategy data_parallel: process {index} of {count} cannot join the others at {address} ({reason}); "
            f"start all of them, each with its own {INDEX}"
        ) from error


@functools.cache
def distribution() -> keras.distribution.DataParallel:
    """A copy of every variable on each device of all processes. Each process feeds its own share of the batch, so Keras
    must not shard it again."""
    return keras.distribution.DataParallel(auto_shard_dataset=False)


def worker() -> tuple[int, int]:
    """(index, count) of this process."""
    return _task()[1:]


def replicas() -> int:
    """Number of devices of all processes."""
    return jax.device_count()


def barrier() -> None:
    """Wait for the other processes."""
    multihost_utils.sync_global_devices("kerastransfer")


def _task() -> tuple[str | None, int, int]:
    """(address of the first process, index, count) from Keras's environment variables; (None, 0, 1) if none is set."""
    found = {name: os.environ.get(name) for name in (ADDRESSES, COUNT, INDEX)}
    if not any(found.values()):
        return None, 0, 1
    try:
        addresses = found[ADDRESSES].split(",")
        index, count = int(found[INDEX]), int(found[COUNT] or len(addresses))
        if not 0 <= index < count or len(addresses) not in (1, count):
            raise ValueError("they contradict each other")
        return addresses[0], index, count
    except (ValueError, TypeError, AttributeError) as error:
        told = ", ".join(f"{name}={value or ''}" for name, value in found.items())
        raise UserError(
            f"--strategy data_parallel cannot read {told} ({error}); set them to the host:port of each process, "
            "separated by commas, their number, and the index of this one, from 0; see docs/scale.md"
        ) from None
