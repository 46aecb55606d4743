"""What is stored of one sample: its image and annotations at one size."""

import dataclasses

import numpy as np

from kerastransfer.data.dataset import Example, Sample, taught
from kerastransfer.data.fields import ROWS
from kerastransfer.data.letterbox import Placement, placement
from kerastransfer.data.mask_crops import CROP, crop


@dataclasses.dataclass(frozen=True)
class Stored:
    """How samples are stored.

    fields: the annotations; with "masks" come boxes and labels too. size: (H, W) of images and maps. resize: "stretch"
    or "letterbox". most: of an image with more objects only so many are kept, the largest.
    """

    fields: tuple[str, ...]
    size: tuple[int, int]
    resize: str = "stretch"
    most: int | None = None

    @property
    def boxed(self) -> bool:
        return not {"boxes", "masks"}.isdisjoint(self.fields)

    @property
    def masked(self) -> bool:
        return "masks" in self.fields

    @property
    def read(self) -> tuple[str, ...]:
        """The fields that are read from a sample."""
        return (*self.fields, *(("boxes",) if self.masked and "boxes" not in self.fields else ()))

    def whole(self, sample: Sample, image: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """image (H, W, 3) and, as asked for, segmentation (H, W), label, boxes (N, 4), labels (N,), masks (N, CROP,
        CROP), frames (N, 4), and `dropped`, how many objects were left out. Raises BadSampleError.

        image: the image as it is stored, which is then not decoded."""
        if image is None:
            example = sample.example(*self.read)
            placed = placement(example["image"].shape[:2], self.size, self.resize)
            out = {"image": placed.image(example["image"])}
        else:
            example = sample.annotations(*self.read)
            placed = placement(tuple(example["size"]), self.size, self.resize)
            out = {"image": image}
        if "segmentation" in self.fields:
            out["segmentation"] = placed.segmentation(example["segmentation"])
        return out | self._small(example, placed, self.masked)

    def small(self, sample: Sample) -> dict[str, np.ndarray]:
        """label, boxes, labels and `dropped` of `whole`; no image is decoded where the sample can do without. Raises
        BadSampleError."""
        wanted = (("boxes",) if self.boxed else ()) + (("label",) if "label" in self.fields else ())
        if not wanted:
            return {}
        example = sample.annotations(*wanted)
        return self._small(example, placement(tuple(example["size"]), self.size, self.resize), masked=False)

    def _small(self, example: Example, placed: Placement, masked: bool) -> dict[str, np.ndarray]:
        out = {"label": example["label"]} if "label" in self.fields else {}
        return out | (_objects(example, placed, masked, self.most) if self.boxed else {})


def _objects(example, placed: Placement, masked, most):
    """Boxes and labels of the objects that are trained on, and with `masked` their masks; how many were dropped."""
    kept = np.flatnonzero(taught(example))
    areas = np.prod(example["boxes"][kept, 2:] - example["boxes"][kept, :2], axis=1)
    largest = kept[np.sort(np.argsort(-areas, kind="stable")[:most])]
    out = {name: example[name][largest] for name in ROWS if name in example}
    out["boxes"] = placed.to_picture(out["boxes"])
    if masked:
        crops = [crop(example["masks"][index], example["boxes"][index]) for index in largest]
        out["masks"] = np.array([pixels for pixels, _ in crops], "uint8").reshape(-1, CROP, CROP)
        frames = np.array([frame for _, frame in crops], "float32").reshape(-1, 4)
        out["frames"] = np.where(frames.any(axis=1, keepdims=True), placed.to_picture(frames), 0)
    return {**out, "dropped": len(kept) - len(largest)}
