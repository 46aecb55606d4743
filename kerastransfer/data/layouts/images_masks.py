"""Images and masks: masks/ mirrors images/, by itself or inside train/, validation/ and test/.

What the values of the masks mean is seen from the first of them and an optional classes.txt (one name a line):

    JPEG masks, or values 0 and 255, or 0 and 1     background and foreground; JPEG is cut at 128
    other values                                    the index of the class, 255 is void

classes.txt names the values 0, 1, 2, ...; where its first is not called background, no value is: then every value
counts one more, so that 0 stays background. For two-valued masks it may name the foreground alone. An image without a
mask is one that nobody annotated.
"""

import concurrent.futures
import dataclasses
import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.images import read_image, read_mask
from kerastransfer.data.layouts.files import images_under, lines, places, split_of
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

FORM = "images/ and masks/ side by side, by themselves or inside train/, validation/ and test/"
LOOKED_AT = 32  # masks read to see what their values mean
MOST_UNNAMED = 64  # more values than that are greys, not classes


@dataclasses.dataclass(frozen=True)
class Values:
    """What the values of the masks mean: the classes, and either the least value of the foreground or an offset."""

    classes: tuple[str, ...]
    threshold: int | None = None
    offset: int = 0

    def segmentation(self, mask: np.ndarray) -> np.ndarray:
        if self.threshold is not None:
            return (mask >= self.threshold).astype(np.uint8)
        unknown = (mask != VOID) & (mask >= len(self.classes) - self.offset)
        if unknown.any():
            named = len(self.classes) - self.offset
            raise BadSampleError(f"mask holds value {mask[unknown].max()}, but classes exist for 0 to {named - 1}")
        return np.where(mask == VOID, VOID, mask + self.offset).astype(np.uint8)


def recognises(folder: Path) -> bool:
    return bool(places(folder, "images", "masks"))


def read(folder: Path) -> Dataset:
    samples, bad, pairs = [], [], {}
    for place in places(folder, "images", "masks"):
        images = images_under(place / "images")
        masks = {stem.removesuffix("_mask"): path for stem, path in images_under(place / "masks").items()}
        prefix = "" if place == folder else f"{place.name}/"
        pairs |= {prefix + stem: (images.get(stem), masks.get(stem)) for stem in {*images, *masks}}
    values = _values(folder, [mask for image, mask in pairs.values() if image and mask])
    for name, (image, mask) in sorted(pairs.items()):
        if image is None:
            bad.append(BadSample(name, f"mask {mask.name} has no image"))
            continue
        fields = frozenset({"segmentation"} if mask else ())
        reader = functools.partial(_example, image, mask, values)
        samples.append(Sample(name, reader, fields, split_of(name.split("/")[:-1])))
    return Dataset(folder.name, tuple(samples), segmentation_classes=values.classes, bad=tuple(bad))


def _values(folder: Path, masks: list[Path]) -> Values:
    masks = sorted(masks)
    named = next((home / "classes.txt" for home in (folder, folder.parent) if (home / "classes.txt").is_file()), None)
    names = tuple(lines(named)) if named else ()
    background = bool(names) and names[0].lower().strip("_") == "background"
    looked_at = masks[:: max(1, len(masks) // LOOKED_AT)]
    jpeg = any(_is_jpeg(mask) for mask in looked_at)
    seen = set().union(*map(_present, looked_at))
    if len(names) <= 1 + background and (jpeg or seen <= {0, 255} or seen <= {0, 1}):
        foreground = names[-1] if len(names) > background else "foreground"
        return Values(("background", foreground), threshold=128 if jpeg else 1)
    if names:
        if jpeg:
            raise UserError(f"{named} names {len(names)} classes, but JPEG masks hold greys; store the masks as PNG")
        return Values(names) if background else Values(("background", *names), offset=1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        seen = set().union(*pool.map(_present, masks)) - {VOID}
    if len(seen) > MOST_UNNAMED:
        raise UserError(
            f"{folder}: the masks hold {len(seen)} different values; name the classes in classes.txt, one a line, "
            "or store masks of one class with 0 and 255"
        )
    return Values(("background", *(f"class {k}" for k in range(1, max(seen, default=0) + 1))))


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


def _present(path: Path) -> set[int]:
    """The values in a mask; none in one that cannot be read: it is reported when its sample is."""
    try:
        return set(np.unique(read_mask(path)).tolist())
    except BadSampleError:
        return set()


def _example(image: Path, mask: Path | None, values: Values) -> Example:
    pixels = read_image(image)
    if mask is None:
        return {"image": pixels}
    return {"image": pixels, "segmentation": values.segmentation(read_mask(mask, pixels.shape[:2]))}
