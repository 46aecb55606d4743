"""Work that needs TensorFlow as Keras's backend, such as an export, in runs on another backend."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from kerastransfer.runs.command_line import import_keras

# No GPU: its memory is already allocated by JAX.
ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}


def call(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return `work(*arguments, **options)`, computed in another process if Keras's backend is not TensorFlow.

    `work` must be a function of a module, and its arguments and its result must be picklable. Its errors are raised
    here.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        return work(*arguments, **options)
    with _environment(ENVIRONMENT), futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_quietly, work, *arguments, **options).result()


def _quietly(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    import_keras()
    return work(*arguments, **options)


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
