"""Frames of a video or a camera, one at a time, and a video written from frames. Needs OpenCV."""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer import files
from kerastransfer.commands.sources import Source
from kerastransfer.errors import UserError

# Of cameras that do not say.
RATE = 25.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """number: from 0. seconds: since the first. image: (H, W, 3) uint8 RGB."""

    number: int
    seconds: float
    image: np.ndarray


def require() -> None:
    """Raises UserError without OpenCV."""
    if importlib.util.find_spec("cv2") is None:
        raise UserError("videos and cameras need OpenCV; install it with pip install 'kerastransfer[video]'")


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tuple[float, Callable[[int], Iterator[Frame]]]]:
    """(frames a second, a function from `every` to every so many frames). Raises UserError for what does not open."""
    import cv2

    capture = cv2.VideoCapture(source.camera if source.path is None else str(source.path))
    try:
        if not capture.isOpened():
            raise UserError(f"{source}: cannot be opened as a video, or is in use")
        said = capture.get(cv2.CAP_PROP_FPS)
        rate = said if 0 < said < 1000 else RATE
        yield rate, lambda every: _frames(capture, rate, every)
    finally:
        capture.release()


def _frames(capture: Any, rate: float, every: int) -> Iterator[Frame]:
    number = 0
    while capture.grab():
        if number % every == 0:
            there, image = capture.retrieve()
            if not there:
                return
            yield Frame(number, number / rate, np.ascontiguousarray(image[..., ::-1]))
        number += 1


@contextlib.contextmanager
def writing(path: str | os.PathLike, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that adds a picture (H, W, 3) uint8 RGB to an mp4 file; all must be as large as the first.

    The file is written when the block ends. Raises UserError if it is not whole, as on a full disk, of which OpenCV
    says nothing.
    """
    import cv2

    with files.replacing(path) as temporary:
        writer, written = None, 0

        def add(image: np.ndarray) -> None:
            nonlocal writer, written
            if writer is None:
                code = cv2.VideoWriter_fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(temporary), code, rate, (image.shape[1], image.shape[0]))
            writer.write(np.ascontiguousarray(image[..., ::-1]))
            written += 1

        try:
            yield add
        finally:
            if writer is not None:
                writer.release()
        if written != _count(cv2, temporary):
            raise UserError(f"{path}: the video could not be written completely; check whether the disk is full")


def _count(cv2: Any, path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
