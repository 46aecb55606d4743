"""Annotated objects to arrays of an example; corners are (y1, x1, y2, x2) in pixels, from 0, the end excluded."""

from collections.abc import Sequence

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from kerastransfer.data.dataset import BadSampleError, Example, remark, taught
from kerastransfer.vocabulary import VOID

# Pixels that a box may reach out of the image without a remark: owners round, and count from 0 or from 1.
SLACK = 1.0


def objects(
    corners: Sequence[Sequence[float]] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    size: tuple[int, int],
    *,
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
    area: Sequence[float] | np.ndarray | None = None,
    **flags: Sequence[bool] | np.ndarray | None,
) -> Example:
    """Boxes, labels, flags and, where given, masks of the N >= 0 objects in an image of `size` (H, W).

    masks: an object with a box alone has one without a pixel (`no_mask`).
    area: in pixels, as the owner states it; else it is counted in the masks, if there are any.
    flags: any of crowd, difficult, truncated, occluded; the first two are False where they are not given, the others
        left out.

    A box is cut at the border of the image; one of which nothing remains is left out, with its flags and mask. Raises
    BadSampleError for a box that has no area, is not finite, or ends further from the image than the image is wide or
    high (its units are wrong), and for masks of another size.
    """
    corners = _pixels_of(corners).reshape(-1, 4)
    ends = np.array([*size, *size], np.float64)
    inside = np.clip(corners, 0, ends)
    far = ~(np.abs(corners - inside) <= ends).all(axis=1)
    flat = (corners[:, 2:] <= corners[:, :2]).any(axis=1)
    if (far | flat).any():
        index = np.flatnonzero(far | flat)[0]
        where = "box ({:g}, {:g}) to ({:g}, {:g})".format(*corners[index, [1, 0, 3, 2]])
        beyond = f"{where} outside the image of {size[1]} x {size[0]} pixels (x, y)"
        raise BadSampleError(beyond if far[index] else f"{where} has no area")
    boxes = (inside / ends).astype(np.float32)
    left = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not left.all():
        remark("a box outside the image is left out")
    if (np.abs(corners - inside)[left] > SLACK).any():
        remark("a box that reaches out of the image is cut at its border")
    example = {
        "boxes": boxes,
        "labels": np.asarray(labels, np.int32).reshape(-1),
        "crowd": np.zeros(len(corners), bool),
        "difficult": np.zeros(len(corners), bool),
    }
    example |= {name: np.asarray(flag, bool).reshape(-1) for name, flag in flags.items() if flag is not None}
    if area is not None:
        example["area"] = np.asarray(area, np.float32).reshape(-1)
        wrong = example["area"][~(np.isfinite(example["area"]) & (example["area"] >= 0))]
        if len(wrong):
            raise BadSampleError(f"an object with area {wrong[0]:g}; a number of pixels is needed")
    if masks is not None:
        if any(mask.shape != size for mask in masks):
            raise BadSampleError(f"object masks of another size than the image's {size[0]} x {size[1]} pixels")
        example["masks"] = np.stack(masks).astype(bool) if len(masks) else np.zeros((0, *size), bool)
        pixels = example["masks"].sum(axis=(1, 2)).astype(np.float32)
        of_boxes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * np.prod(ends[:2])
        example.setdefault("area", np.where(pixels > 0, pixels, of_boxes).astype(np.float32))
    if left.all() or any(len(values) != len(left) for values in example.values()):
        # Arrays of different lengths are told apart by `datasets.contradiction`.
        return example
    return {name: values[left] for name, values in example.items()}


def _pixels_of(coordinates: Sequence | np.ndarray) -> np.ndarray:
    """Coordinates as float64. Raises BadSampleError for one that float64 does not hold: in json, integers have no
    end."""
    try:
        return np.asarray(coordinates, np.float64)
    except OverflowError:
        raise BadSampleError("an object has a coordinate that is too large for a number of pixels") from None


def no_mask(size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of an object that has a box, but whose outline nobody drew."""
    return np.zeros(size, bool)


def corners_of(masks: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The tightest corners (N, 4) round masks (N, H, W). Raises BadSampleError for a mask without a pixel."""
    corners = np.zeros((len(masks), 4))
    for corner, mask in zip(corners, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            raise BadSampleError("an object mask has no pixel")
        corner[:] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return corners


def painted(example: Example) -> np.ndarray:
    """Segmentation (H, W) uint8 of an example's masks: class k is k + 1; crowds, difficult objects, and the boxes of
    objects without a mask are VOID.

    Crowds and difficult objects come first, and then the larger before the smaller, so that a small object on a large
    one stays visible.
    """
    masks, labels, shown = example["masks"], example["labels"], taught(example)
    segmentation = np.zeros(masks.shape[1:], np.uint8)
    boxes = _pixels(example["boxes"], masks.shape[1:])
    pixels = masks.sum(axis=(1, 2))
    areas = np.where(pixels > 0, pixels, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    for k in np.lexsort((-areas, shown)):
        if pixels[k]:
            segmentation[masks[k]] = labels[k] + 1 if shown[k] else VOID
        else:
            y1, x1, y2, x2 = boxes[k]
            segmentation[y1:y2, x1:x2] = VOID
    return segmentation


def _pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) to the rows and columns (N, 4) of the pixels whose centres they hold."""
    return np.ceil(boxes * np.array([*size, *size]) - 0.5 - 1e-4).astype(int).clip(0)


def filled(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of one object drawn as polygons of x1, y1, x2, y2, ... in pixels, by COCO's own rule.

    Pixels outside the image are left out. Raises BadSampleError for a polygon of fewer than three points, or one that
    ends further from the image than the image is wide or high.
    """
    ends = np.array(size[::-1])
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise BadSampleError(f"a polygon of {len(polygon)} numbers; three points or more, x and y, are needed")
        points = _pixels_of(polygon).reshape(-1, 2)
        if not ((points >= -ends) & (points <= 2 * ends)).all():
            raise BadSampleError(f"a polygon outside the image of {size[1]} x {size[0]} pixels (x, y)")
    runs = coco_mask.frPyObjects([list(map(float, polygon)) for polygon in polygons], *size)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)
