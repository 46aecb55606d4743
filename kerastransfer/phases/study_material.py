"""What the studies of two models read (`analysis.material`), gathered from trained models and the images of the run.

Nothing here grows in memory with the number of images but labels and boxes: images, features and maps of classes are
files, which are mapped into memory or read when they are needed.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.material import Classified, Detected, Features, Segmented
from kerastransfer.errors import UserError
from kerastransfer.flags import some
from kerastransfer.progress import bar
from kerastransfer.tasks.scored import LOWEST_SCORE
from kerastransfer.vocabulary import VOID

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset
    from kerastransfer.runs.trained import AnyPredictor

Predictors = Mapping[str, "AnyPredictor"]
FLAGS = ("crowd", "difficult", "truncated", "occluded", "hidden")
REMEDY = "study fewer images, by --fraction, or another --tap"
# Images that an encoder is shown at once, in all studies: another number would have it compiled again.
BATCH = 32


def detected(predictors: Predictors, test: "Dataset", *, quiet: bool) -> Detected:
    """What two detectors find in the test images that have boxes. Raises UserError if their classes differ."""
    labels = _classes(predictors)
    samples, number = _matched(test, "boxes", test.classes, labels, -1)
    truths = []
    found: dict[str, list] = {name: [] for name in predictors}
    for sample in _progress(samples, "detecting", quiet):
        example = sample.read()
        known = number[example["labels"]] >= 0
        scale = np.tile(np.asarray(example["image"].shape[:2], np.float64), 2)
        truth = {flag: example[flag][known] for flag in FLAGS if flag in example}
        truths.append({"boxes": example["boxes"][known] * scale, "labels": number[example["labels"]][known], **truth})
        for name, predictor in predictors.items():
            one = predictor.predict(example["image"], score=LOWEST_SCORE)
            own = np.array([labels.index(label) for label in one.names], np.int32)
            found[name].append({"boxes": one.pixel_boxes.astype(np.float64), "scores": one.scores, "labels": own})
    return Detected([sample.name for sample in samples], labels, truths, found)


def segmented(predictors: Predictors, test: "Dataset", folder: Path, *, quiet: bool) -> Segmented:
    """The maps of two segmenters, which are kept as PNG files in `folder`. Raises UserError if their classes differ."""
    labels = _classes(predictors)
    samples, number = _matched(test, "segmentation", test.segmentation_classes, labels, VOID)
    value = np.full(256, VOID, np.uint8)
    value[: len(number)] = number
    # The same classes may stand in another order.
    own = {name: np.array([labels.index(one) for one in of.about.labels], np.uint8) for name, of in predictors.items()}
    for index, sample in enumerate(_progress(samples, "segmenting", quiet)):
        image = None
        for name, predictor in predictors.items():
            path = _map(folder, name, index)
            if not path.exists():
                image = sample.read()["image"] if image is None else image
                _write_map(path, own[name][predictor.predict(image).segmentation])

    def truth(index: int) -> np.ndarray:
        return value[samples[index].annotations("segmentation")["segmentation"]]

    found = {name: functools.partial(_read_map, folder, name) for name in predictors}
    unknown = [name for name in test.segmentation_classes if name not in labels]
    return Segmented([sample.name for sample in samples], labels, truth, found, unknown)


def classified(predictors: Predictors, test: "Dataset", *, quiet: bool) -> Classified:
    """The probabilities of two classifiers for the test images whose class they know. Raises UserError if their classes
    differ."""
    labels = _classes(predictors)
    samples, number = _matched(test, "label", test.image_classes, labels, -1)
    names, truth = [], []
    found: dict[str, list] = {name: [] for name in predictors}
    for sample in _progress(samples, "classifying", quiet):
        example = sample.read()
        label = number[int(example["label"])]
        if label < 0:
            continue
        names.append(sample.name)
        truth.append(label)
        for name, predictor in predictors.items():
            one = predictor.predict(example["image"])
            own = [one.names.index(wanted) for wanted in labels]
            found[name].append(one.probabilities[own])
    if not names:
        raise LeftOut("no test image has a class that the models know")
    return Classified(names, labels, np.array(truth), {name: np.stack(rows) for name, rows in found.items()})


def features(
    encoders: "Mapping[str, keras.Model]",
    train: "Dataset",
    test: "Dataset",
    folder: Path,
    *,
    image_size: int,
    resize: str,
    taps: Mapping[str, str],
    heads: "Mapping[str, keras.Model | None]",
    all_unseen: bool = False,
    quiet: bool,
) -> Features:
    """The features of training and test images by two encoders.

    folder: where images and features are kept; it must be that of a run, as features are found again by their
        checksums. taps: {model: name of the tap}. heads: {model: a model from the image to {"proj", "fc1", "fc2"}, or
        None}. all_unseen: the models have not learnt from the training images.
    """
    from kerastransfer.data import decoded
    from kerastransfer.training import features as cache

    size, samples = (image_size, image_size), (*train.samples, *test.samples)
    images = _decoded(decoded, dataclasses.replace(test, samples=samples), size, folder / "images", resize)
    maps, pooled, functions, of_heads = {}, {}, {}, {}

    def computed(name: str, model: "keras.Model", outputs: Sequence[str]) -> dict[str, np.ndarray]:
        told = None if quiet else f"features of {name}"
        options = {"flip": False, "batch_size": BATCH, "progress": told, "remedy": REMEDY}
        found = cache.cached(model, images, folder, taps=outputs, **options)
        return {output: values[:, 0] for output, values in found.items()}

    for name, encoder in encoders.items():
        maps[name] = computed(name, encoder, [taps[name]])[taps[name]]
        pooled[name] = _means(maps[name])
        functions[name] = _pooled(encoder, taps[name])
        head = heads.get(name)
        of_heads[name] = {} if head is None else computed(f"the head of {name}", head, list(head.output))
    pixels = images.arrays["image"]
    labels, boxes = _annotations(samples, size, resize)
    learnt = np.arange(len(samples)) < len(train)
    return Features(
        images.names, pixels, maps, pooled, of_heads, functions, labels, test.image_classes, learnt, boxes,
        _mean_colour(pixels), 0 if all_unseen else len(train),
    )  # fmt: skip


def _decoded(decoded: Any, dataset: "Dataset", size: tuple[int, int], folder: Path, resize: str) -> Any:
    """All images at one size, in a memory-mapped file."""
    import shutil

    # What a run that was stopped has left there may be incomplete.
    shutil.rmtree(folder, ignore_errors=True)
    return decoded.decode(dataset, (), size, folder=folder, resize=resize, remedy=REMEDY)


def _pooled(encoder: "keras.Model", tap: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images (B, S, S, 3) to the mean of a tap (B, D) float32."""
    import keras

    output = keras.ops.mean(keras.ops.cast(encoder.output[tap], "float32"), axis=(1, 2))
    model = keras.Model(encoder.input, output)

    def pooled(images: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict_on_batch(np.asarray(images, np.float32)))

    return pooled


def _means(maps: np.ndarray, block: int = 256) -> np.ndarray:
    """(N, D) float32 of maps (N, h, w, D)."""
    found = np.empty((len(maps), maps.shape[-1]), np.float32)
    for start in range(0, len(maps), block):
        found[start : start + block] = maps[start : start + block].astype(np.float32).mean(axis=(1, 2))
    return found


def _mean_colour(images: np.ndarray, block: int = 64) -> np.ndarray:
    sums = [
        images[start : start + block].sum(axis=(0, 1, 2), dtype=np.float64) for start in range(0, len(images), block)
    ]
    return (np.sum(sums, axis=0) / max(1, np.prod(images.shape[:3]))).astype(np.float32)


def _annotations(samples: Sequence, size: tuple[int, int], resize: str) -> tuple:
    """(labels (N,), or None unless all samples have them; boxes (M, 4) of each sample, or None if none has any)."""
    from kerastransfer.data.dataset import taught
    from kerastransfer.data.letterbox import placement

    labels = boxes = None
    if all("label" in sample.fields for sample in samples):
        labels = np.array([int(sample.annotations("label")["label"]) for sample in samples], np.int32)
    if any("boxes" in sample.fields for sample in samples):
        boxes = [np.zeros((0, 4), np.float32)] * len(samples)
        for index, sample in enumerate(samples):
            if "boxes" in sample.fields:
                example = sample.annotations("boxes")
                placed = placement(tuple(example["size"]), size, resize)
                boxes[index] = placed.to_picture(example["boxes"][taught(example)])
    return labels, boxes


def _classes(predictors: Predictors) -> tuple[str, ...]:
    """The classes of the first model, in its order."""
    first, second = predictors.values()
    if set(first.about.labels) != set(second.about.labels):
        one, other = predictors
        raise UserError(
            f"{one} knows the classes {some(first.about.labels, 6)}, {other} {some(second.about.labels, 6)}; compare "
            "models of the same classes"
        )
    return tuple(first.about.labels)


def _matched(test, field, classes, labels, unknown):
    from kerastransfer.tasks.matched import matched

    return matched(test, field, classes, labels, unknown)


def _progress(samples: Sequence, text: str, quiet: bool):
    return bar(None if quiet else text)(samples)


def _map(folder: Path, name: str, index: int) -> Path:
    return folder / name / f"{index:06d}.png"


def _write_map(path: Path, segmentation: np.ndarray) -> None:
    import PIL.Image

    from kerastransfer import files

    with files.replacing(path) as temporary:
        PIL.Image.fromarray(segmentation).save(temporary, format="png")


def _read_map(folder: Path, name: str, index: int) -> np.ndarray:
    import PIL.Image

    return np.asarray(PIL.Image.open(_map(folder, name, index)))
