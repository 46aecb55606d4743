"""Activation maps: where in an image the deepest map of an encoder is active (Li et al. 2019, section 4).

The channels of the map are averaged; the average is scaled to 0..1 in each image and enlarged bilinearly. The paper
shows such maps; how much of them lies on the objects is measured by us.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from kerastransfer.analysis import bilinear
from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Features, pair
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap

TITLE = "Activation maps"
NEEDS = Features
# Of the range of a map: what is more counts as active.
ACTIVE = 0.5
# Images at a time.
BLOCK = 64


@dataclasses.dataclass
class Settings:
    """Which activation maps are shown."""

    pictures: int = 8
    """Number of images to show with the activation maps of both models; 0 for none."""

    def __post_init__(self) -> None:
        if self.pictures < 0:
            raise UserError(f"--activation.pictures is {self.pictures}; give 0 or more")


@dataclasses.dataclass(frozen=True)
class Cover:
    """How an activation map and the boxes of its image agree, (N,) each; NaN for an image without boxes or whose map is
    constant. iou: of the region above half the range, with that of the boxes. mass: the share of the activation that is
    inside them."""

    iou: np.ndarray
    mass: np.ndarray


def averaged(maps: np.ndarray) -> np.ndarray:
    """Maps (N, h, w, D), averaged over channels and scaled to 0..1 in each image: (N, h, w) float32.

    Values below 0 count as 0, so that maps from before and from behind a ReLU, leaky or not, mean the same. An image
    whose average is the same everywhere is NaN.
    """
    found = np.maximum(np.asarray(maps, np.float32), 0).mean(axis=-1)
    low, high = (edge(found, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    return np.where(high > low, (found - low) / np.where(high > low, high - low, 1), np.nan).astype(np.float32)


def region(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centres are inside one of boxes (M, (y1, x1, y2, x2)), fractions of the image."""
    inside = np.zeros(size, bool)
    rows, columns = ((np.arange(side) + 0.5) / side for side in size)
    for y1, x1, y2, x2 in np.asarray(boxes, np.float64).reshape(-1, 4):
        inside |= np.outer((rows >= y1) & (rows < y2), (columns >= x1) & (columns < x2))
    return inside


def cover(shown: np.ndarray, boxes: Sequence[np.ndarray]) -> Cover:
    """How activation maps (N, H, W) in 0..1 (NaN: constant) and the boxes of each image agree."""
    iou, mass = np.full((2, len(shown)), np.nan)
    for image, (activation, own) in enumerate(zip(shown, boxes, strict=True)):
        inside = region(own, activation.shape)
        if not inside.any() or np.isnan(activation).any():
            continue
        active = activation >= ACTIVE
        iou[image] = (active & inside).sum() / (active | inside).sum()
        mass[image] = activation[inside].sum(dtype=np.float64) / activation.sum(dtype=np.float64)
    return Cover(iou, mass)


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`averaged` maps (N, h, w) at the size (H, W) of their images."""
    rows, columns = (bilinear.centres(cells, pixels) for cells, pixels in zip(maps.shape[1:], size, strict=True))
    return bilinear.enlarged(maps, rows, columns, size)


def study(settings: Settings, material: Features, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Measure and show where both models are active. Without boxes there are figures alone; raises LeftOut if these are
    not wanted either. Raises UserError for a model whose maps are not finite, or are constant in every image."""
    material = material.unseen
    if material.boxes is None and not settings.pictures:
        raise LeftOut("the images have no boxes, and no pictures are wanted; give data with boxes")
    models, size, number = pair(material.maps), material.images.shape[1:3], len(material.images)
    found = {model: [] for model in models}
    alive = dict.fromkeys(models, False)
    for start in progress(range(0, number, BLOCK)):
        rows = slice(start, min(number, start + BLOCK))
        for model in models:
            finite = np.isfinite(material.maps[model][rows]).all(axis=(1, 2, 3))
            if not finite.all():
                raise UserError(
                    f"the map of {model} for {material.names[start + int(finite.argmin())]} is not finite; train the "
                    "model again with a lower learning rate, or in float32"
                )
            maps = averaged(material.maps[model][rows])
            alive[model] |= not np.isnan(maps).all()
            if material.boxes is not None:
                found[model].append(cover(enlarged(maps, size), material.boxes[rows]))
    for model in models:
        if not alive[model]:
            raise UserError(
                f"the maps of {model} are the same everywhere in every image; its weights are damaged or were never "
                "trained"
            )
    findings = Findings(TITLE, text=[_said()])
    if material.boxes is None:
        covers = None
        findings.text.append("The images have no boxes, so nothing is measured.")
    else:
        covers = {
            model: Cover(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("iou", "mass")))
            for model, parts in found.items()
        }
        if np.isnan([one.iou for one in covers.values()]).all():
            raise LeftOut("no image has a box that covers a pixel")
        _measured(findings, material, covers)
    if settings.pictures:
        findings.figures.append(_sheet(material, covers, settings.pictures))
    return findings


def _measured(findings, material, covers):
    """Numbers, a table and the claim."""
    from kerastransfer.report.page import Estimate, Table

    (first, one), (second, other) = covers.items()
    areas = [region(boxes, material.images.shape[1:3]).mean() for boxes in material.boxes]
    area = float(np.mean([share for share in areas if share > 0]))
    rows = []
    for model, of_model in covers.items():
        iou, mass = bootstrap.interval(of_model.iou), bootstrap.interval(of_model.mass)
        findings.numbers[model] = {
            "iou_boxes": iou[0],
            "mass in boxes": mass[0],
            "area of boxes": area,
            "images": int((~np.isnan(of_model.iou)).sum()),
        }
        rows.append((model, [Estimate(*iou), Estimate(*mass), area]))
    iou, mass = (
        Estimate(*bootstrap.paired_difference(getattr(one, name), getattr(other, name))) for name in ("iou", "mass")
    )
    rows.append((f"{first} minus {second}", [iou, mass, None]))
    headings = ["IoU with boxes", "share of activation in boxes", "share of pixels in boxes"]
    findings.tables.append(Table(headings, rows, "Activation and the boxes of objects", "model"))
    findings.claims.append(
        Claim(
            "The activation of the detector covers objects better.",
            f"IoU of the active region with the boxes, {first} minus {second}",
            iou,
        )
    )


def _said() -> str:
    return (
        "The deepest map, averaged over channels (values below 0 count as 0), scaled to its range in each image and "
        "enlarged bilinearly. Active is what is above half of the range; activation spread evenly would have the share "
        "of pixels that is in the boxes."
    )


def _sheet(material, covers, pictures):
    """Images spread over the data with their boxes, and the maps of both models."""
    from kerastransfer.report.page import Figure
    from kerastransfer.report.pictures import TILE, draw_boxes, fitted, sheet
    from kerastransfer.tasks.drawing import heat

    number, size = len(material.images), material.images.shape[1:3]
    tiles = []
    for index in np.unique(np.linspace(0, number - 1, min(pictures, number)).round().astype(int)):
        image = np.asarray(material.images[index])
        shown = fitted(image, TILE)
        if material.boxes is not None and len(material.boxes[index]):
            boxes = material.boxes[index]
            shown = draw_boxes(image, boxes, np.zeros(len(boxes), int), ["object"])
        tiles.append((str(material.names[index]), shown))
        for model, maps in material.maps.items():
            values = np.nan_to_num(enlarged(averaged(maps[index : index + 1]), size)[0])
            overlay = np.asarray(heat(image, values, 1.0))
            text = "" if covers is None or np.isnan(covers[model].iou[index]) else f"IoU {covers[model].iou[index]:.2f}"
            tiles.append((text, fitted(overlay, TILE)))
    caption = (
        "The deepest map of each model, averaged over channels and scaled to its range: grey where it is least active, "
        "yellow where it is most."
    )
    picture = sheet(tiles, columns=1 + len(material.maps), headings=("image", *material.maps))
    return "activation", Figure("Where the encoders are active", caption, b""), picture
