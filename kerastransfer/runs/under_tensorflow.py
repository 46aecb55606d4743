"""Work that only TensorFlow can do, such as an export, for a run whose Keras stands on another backend."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from kerastransfer.runs.command_line import import_keras

ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}  # the memory of a GPU is JAX's already


def call(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """`work(*arguments, **options)`; where Keras does not stand on TensorFlow, in a process in which it does.

    What goes in and comes out must then be picklable, `work` a function of a module; its errors come back as they are.
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
