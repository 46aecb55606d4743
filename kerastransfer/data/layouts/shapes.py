"""Objects that people drew: polygons, ellipses and brushed masks have an outline, boxes have none.

Shared by the layouts whose files hold such shapes (`labelme`, `cvat_xml`, `via`, `createml`, `supervisely`): each says
what was drawn in each image, and gets the data set. An object with a box alone has no mask, and is void in the
segmentation.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.layouts.files import images_under, split_of, stem
from kerastransfer.data.layouts.objects import filled, no_mask, objects, painted
from kerastransfer.data.layouts.tables import ImagesBelow
from kerastransfer.data.reading import Reader

# Corners of the polygon that stands for an ellipse.
AROUND = 64
# A larger coordinate is no pixel.
LARGEST = 1e9


@dataclasses.dataclass(frozen=True)
class Shape:
    """label: its class. points: x1, y1, x2, y2, ... in pixels, whose extent is the box.
    outlined: whether the points are its outline, not just the corners of a box.
    brushed: size (H, W) to the mask (H, W) bool, of what was drawn with a brush; raises BadSampleError.
    group: shapes of one group and label are one object; None where it is one alone.
    occluded: None where that is not stated."""

    label: str
    points: Sequence[float]
    outlined: bool
    brushed: Callable[[tuple[int, int]], np.ndarray] | None = None
    group: Hashable = None
    occluded: bool | None = None

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """Mask (H, W) bool; without a pixel where there is no outline. Raises BadSampleError."""
        if self.brushed is not None:
            return self.brushed(size)
        return filled([self.points], size) if self.outlined else no_mask(size)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What was drawn in an image. size: (H, W) as the file states it, or a None. split: of the owner's, if stated."""

    shapes: Sequence[Shape]
    size: tuple[Any, Any] = (None, None)
    split: str | None = None


# The images that a file names, and what was drawn in each, or why that cannot be read.
Entries = Iterable[tuple[str, Drawn | BadSampleError]]


def number(value: Any) -> float:
    """Raises BadSampleError for what is no number of pixels."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise BadSampleError("a shape has a coordinate that is no number of pixels")
    return float(value)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0) -> list[float]:
    """The outline x1, y1, x2, y2, ... of an ellipse round (x, y), turned clockwise by `angle` in radians."""
    if not (rx > 0 and ry > 0):
        raise BadSampleError(f"an ellipse with radii {rx:g} and {ry:g}; both must be above 0")
    around = np.arange(AROUND) * 2 * math.pi / AROUND
    return turned(x + rx * np.cos(around), y + ry * np.sin(around), (x, y), angle)


def turned(xs: Any, ys: Any, centre: tuple[float, float], angle: float) -> list[float]:
    """Points as x1, y1, x2, y2, ..., turned round a centre, clockwise as y points down, by `angle` in radians."""
    right, down = np.asarray(xs) - centre[0], np.asarray(ys) - centre[1]
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([centre[0] + right * cos - down * sin, centre[1] + right * sin + down * cos], 1).ravel().tolist()


def polygon(points: Sequence[float]) -> list[float]:
    """Checked for three points. Raises BadSampleError."""
    if len(points) < 6:
        raise BadSampleError(f"a polygon of {len(points) // 2} points; three are needed")
    return list(points)


def read(data: Path, files: Iterable[Path], entries: Callable[[Path], Entries]) -> Dataset:
    """The data set of files that name images at or below their own folders; images that none names are not annotated.

    data: the folder, or the one file. An image that is named twice keeps what was drawn first; if the second says
    something else, that is a bad sample.
    """
    root = data if data.is_dir() else data.parent
    images, found = images_under(root), dict[str, Drawn]()
    bad, broken = [], set()
    for path in files:
        below = ImagesBelow(path)
        split = split_of([*path.parent.relative_to(root).parts, *re.split(r"[\W_]+", path.stem)])
        for stated, drawn in entries(path):
            try:
                file = below.file(stated)
                if not file.name:
                    raise BadSampleError("the name of its image is empty")
                name = stem(file, root) if file.is_relative_to(root) else file.with_suffix("").as_posix()
                if isinstance(drawn, BadSampleError):
                    broken.add(name)
                    raise drawn
                drawn = dataclasses.replace(drawn, split=drawn.split or split)
                if found.setdefault(name, drawn).shapes != drawn.shapes:
                    raise BadSampleError(f"{path.name} names it once more, with other annotations; the first are kept")
                images[name] = file
            except BadSampleError as error:
                bad.append(BadSample(stated or path.name, str(error)))
    # Somebody annotated these, but nobody can say how.
    images = {name: file for name, file in images.items() if name in found or name not in broken}
    return dataset_of(root, images, found, bad)


def dataset_of(root: Path, images: dict[str, Path], found: dict[str, Drawn], bad: list[BadSample]) -> Dataset:
    """The data set of images by the names of their samples, and of what was drawn in those that are annotated."""
    classes = tuple(sorted({shape.label for drawn in found.values() for shape in drawn.shapes}))
    masked = any(shape.outlined for drawn in found.values() for shape in drawn.shapes)
    samples = []
    for name, path in images.items():
        drawn = found.get(name)
        fields = frozenset() if drawn is None else frozenset({"boxes"})
        if masked and drawn and (not drawn.shapes or any(shape.outlined for shape in drawn.shapes)):
            fields |= {"masks", "segmentation"} if len(classes) < 255 else {"masks"}
        reader = Reader(path, functools.partial(_example, drawn, classes), fields)
        split = (drawn.split if drawn else None) or split_of(name.split("/")[:-1])
        samples.append(Sample(name, reader, fields, split))
    painted_classes = ("background", *classes) if any("segmentation" in s.fields for s in samples) else ()
    return Dataset(root.name, tuple(samples), classes, painted_classes, bad=tuple(bad))


def _example(drawn: Drawn, classes: tuple[str, ...], size: tuple[int, int], wanted: frozenset[str]) -> Example:
    stated = drawn.size
    if all(isinstance(length, int) and length for length in stated) and stated != size:
        raise BadSampleError(
            f"image of {size[1]} x {size[0]} pixels, but the annotations say {stated[1]} x {stated[0]}"
        )
    grouped: dict[Hashable, list[Shape]] = {}
    for position, shape in enumerate(drawn.shapes):
        key = ("alone", position) if shape.group is None else ("group", shape.group, shape.label)
        grouped.setdefault(key, []).append(shape)
    corners, labels, masks = [], [], []
    masked = not wanted.isdisjoint({"masks", "segmentation"})
    for group in grouped.values():
        points = np.concatenate([np.reshape(shape.points, (-1, 2)) for shape in group])
        corners.append((*points.min(axis=0)[::-1], *points.max(axis=0)[::-1]))
        labels.append(classes.index(group[0].label))
        if masked:
            masks.append(np.any([shape.mask(size) for shape in group], axis=0))
    told = any(shape.occluded is not None for shape in drawn.shapes)
    occluded = [any(shape.occluded for shape in group) for group in grouped.values()] if told else None
    example = objects(corners, labels, size, masks=masks if masked else None, occluded=occluded)
    if "segmentation" in wanted:
        example["segmentation"] = painted(example)
    return example
