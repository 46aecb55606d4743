"""TensorFlow Datasets by name: NAME, NAME:SPLIT, or the folder of a prepared builder.

What a builder's features say becomes the fields: `objects` (or another sequence with a BBoxFeature) or a single box;
`label`; and, for the two builders whose masks are known, `segmentation_mask`. TFDS names no sample, so a sample's name
is its split and its number in the order of the files. Encoded images are kept in memory, decoded when they are read.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.data.dataset import Dataset, Example, Sample
from kerastransfer.data.images import read_mask
from kerastransfer.data.layouts import cub, oxford_pet
from kerastransfer.data.layouts.files import split_of
from kerastransfer.data.layouts.objects import objects
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError


def _silhouette(mask: np.ndarray) -> np.ndarray:
    return cub.silhouette_of(mask).astype(np.uint8)


# Functions of a module, so that samples can be passed to another process.
SEGMENTATION = {
    "oxford_iiit_pet": (oxford_pet.SEGMENTATION_CLASSES, oxford_pet.segmentation),
    "caltech_birds2011": (cub.SEGMENTATION_CLASSES, _silhouette),
}
FLAGS = ("crowd", "difficult", "truncated", "occluded")


def read(name: str) -> Dataset:
    """Raises UserError where the package, the builder, the split or an image is missing, or preparing it fails."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError("tfds: needs tensorflow-datasets; run pip install 'kerastransfer[tfds]'") from error
    name, _, wanted = name.partition(":")
    builder = _builder(tfds, name)
    splits = [wanted] if wanted else sorted(builder.info.splits)
    top = builder.info.features
    features = dict(top.items()) if isinstance(top, tfds.features.FeaturesDict) else {}
    if "image" not in features:
        raise UserError(f"tfds:{name} has no feature 'image'; a data set of images is needed")
    boxes = _boxes_feature(tfds, features)
    box_names = _box_classes(tfds, features, boxes)
    label = features.get("label")
    image_classes = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
    seg_classes, to_segmentation = SEGMENTATION.get(builder.name, ((), None))
    encoded = {key: tfds.decode.SkipDecoding() for key in ("image", "segmentation_mask") if key in features}
    samples = []
    for split in splits:
        try:
            records = tfds.as_numpy(builder.as_dataset(split=split, decoders=encoded, shuffle_files=False))
        except (ValueError, KeyError) as error:
            raise UserError(f"tfds:{name} has no split {split!r}; it has {', '.join(builder.info.splits)}") from error
        for number, record in enumerate(records):
            found = _boxes(record, boxes, box_names)
            fields = {"boxes"} if found is not None else set()
            # -1 stands for an unknown class.
            fields |= {"label"} if image_classes and record["label"] >= 0 else set()
            fields |= {"segmentation"} if to_segmentation and "segmentation_mask" in record else set()
            annotate = functools.partial(_annotations, record, found, to_segmentation)
            reader = Reader(bytes(record["image"]), annotate, frozenset(fields))
            samples.append(Sample(f"{split}/{number:08d}", reader, reader.fields, split_of([split.split("[")[0]])))
    samples.sort(key=lambda sample: sample.name)
    return Dataset(builder.name, tuple(samples), tuple(box_names), seg_classes, image_classes)


def _builder(tfds: Any, name: str) -> Any:
    try:
        if Path(name).is_dir():
            return tfds.builder_from_directory(name)
        builder = tfds.builder(name)
    except Exception as error:
        # An unknown name, config or version: each raises its own type of error.
        raise UserError(f"tfds:{name} is not a known builder: {_line(error)}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:
        # The network, the disk, a checksum, or a package that this builder needs.
        raise UserError(f"tfds:{name} could not be downloaded and prepared: {_line(error)}") from error
    return builder


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _boxes_feature(tfds: Any, features: dict[str, Any]) -> tuple[str, ...]:
    """Where the boxes stand: ("objects", "bbox") in a sequence, ("bbox",) for a single one, () for none."""
    for key, feature in features.items():
        if isinstance(feature, tfds.features.BBoxFeature):
            return (key,)
        inner = getattr(feature, "feature", None)
        if isinstance(inner, tfds.features.FeaturesDict):
            for inner_key, inner_feature in inner.items():
                if isinstance(inner_feature, tfds.features.BBoxFeature):
                    return (key, inner_key)
    return ()


def _box_classes(tfds: Any, features: dict[str, Any], boxes: tuple[str, ...]) -> dict[str, int]:
    """Names of the boxes' classes, in order, with their labels."""
    if not boxes:
        return {}
    inner = dict(features[boxes[0]].feature.items()) if len(boxes) == 2 else features
    for key in ("label", "species") if len(boxes) == 2 else ("species", "label"):
        if key in inner and isinstance(inner[key], tfds.features.ClassLabel):
            return {name: label for label, name in enumerate(inner[key].names)}
    return {"object": 0}


def _boxes(record: dict[str, Any], boxes: tuple[str, ...], names: dict[str, int]) -> dict[str, np.ndarray] | None:
    """Fractions, labels and flags of a record; None where the only box is of zeros, TFDS's sign for none given."""
    if not boxes:
        return None
    if len(boxes) == 2:
        inner = record[boxes[0]]
        corners = np.reshape(inner[boxes[1]], (-1, 4))
        labels = inner.get("label", np.zeros(len(corners)))
        flags = {flag: inner[f"is_{flag}"] for flag in FLAGS if f"is_{flag}" in inner}
        return {"corners": corners, "labels": labels, "flags": flags, "area": inner.get("area")}
    corners = np.reshape(record[boxes[0]], (1, 4))
    if not corners.any():
        return None
    label = 0 if list(names) == ["object"] else record.get("species", record.get("label", 0))
    return {"corners": corners, "labels": [label], "flags": {}, "area": None}


def _annotations(
    record: dict[str, Any], found: dict | None, to_segmentation: Any, size: tuple[int, int], wanted: frozenset[str]
) -> Example:
    example, (height, width) = {}, size
    if "boxes" in wanted:
        corners = found["corners"] * [height, width, height, width]
        example |= objects(corners, found["labels"], size, area=found["area"], **found["flags"])
    if "label" in wanted:
        example["label"] = np.asarray(record["label"], np.int32)
    if "segmentation" in wanted:
        example["segmentation"] = to_segmentation(read_mask(bytes(record["segmentation_mask"]), size))
    return example
