"""The functions that `import kerastransfer as kt` provides: kt.data, kt.encoder, kt.segmenter, ... (docs/api.md).

Models are Keras models for `compile` and `fit`. Those made here have an attribute `about` that describes their task,
labels and image size, which `save`, `evaluate` and `export` use.
"""

import contextlib
import dataclasses
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from kerastransfer import detectors, presets
from kerastransfer.data import datasets, derive, splits, views
from kerastransfer.data.dataset import Dataset, require_known
from kerastransfer.data.decoded import Decoded, decode
from kerastransfer.data.pipeline import evaluation_batches, steps_per_epoch, training_batches, without_padding
from kerastransfer.data.transforms import Augmentation
from kerastransfer.detectors.detector import Purpose
from kerastransfer.encoders import ENCODERS
from kerastransfer.errors import UserError
from kerastransfer.export.keras_predictor import KerasPredictor
from kerastransfer.export.portable import in_float32
from kerastransfer.flags import nearest
from kerastransfer.losses.compiled import PixelLoss as PixelLoss
from kerastransfer.models import classifier as classifiers
from kerastransfer.models import segmenter as segmenters
from kerastransfer.models.adapter import encoder_of
from kerastransfer.models.parts import freeze as freeze_part
from kerastransfer.runs import model_card, sharing, trained
from kerastransfer.runs.settings import LARGEST_SEED
from kerastransfer.tasks import TASKS, description
from kerastransfer.tasks.about import About
from kerastransfer.training.terms import TermModel
from kerastransfer.vocabulary import LARGER

if TYPE_CHECKING:
    from kerastransfer.export.parity import ExportedFile


def data(
    name: str | Path,
    *fields: str,
    format: str = "auto",
    split: str = "auto",
    classes: Sequence[str] = (),
    merge: Sequence[str] = (),
    allow_outside: bool = False,
) -> tuple[Dataset, Dataset]:
    """(train, test) of a folder or an annotation file in a known layout, "toy", or "tfds:NAME".

    fields: the annotations that all samples must have, from "boxes", "masks", "segmentation" and "label"; a field that
        follows from another one is derived.
    format: the layout; "auto" detects it.
    split: "owner", "every_fifth" or "auto".
    classes: the names of those to use; all by default. merge: classes to join before, as in ["person=man,woman"].
    allow_outside: read images outside the data's folder, too, where annotations or links name such.
    Raises UserError for data that cannot be read or does not have these fields.
    """
    require_known(fields)
    dataset = datasets.load(name, format, classes=classes, merge=merge, allow_outside=allow_outside)
    dataset = derive.require(dataset, *fields)
    return splits.split(dataset, split, fields)


def encoder(
    source: str | Path | keras.Model, *, preprocessing: str | Callable = "none", taps: Mapping[str, str] | None = None
) -> keras.Model:
    """An encoder, from image (B, H, W, 3) in 0..255 to taps {"c1": (B, h, w, D), ...}.

    source: a .keras file with an encoder (RUN/models/encoder.keras, or a detector), a folder that `push` filled, or
        hf://OWNER/NAME; the name of published weights, such
        as "yolov3-tiny" (`presets.PRESETS`), which are downloaded once; the name of an encoder with random weights,
        such as "small" or "resnet50" (`encoders.ENCODERS`; "resnet-50" with a hyphen has weights of ImageNet); or any
        image model, such as one of keras.applications, whose layers are copied; a model that gives taps already is
        taken as it is.
    preprocessing, taps: for an image model, what it was trained to read, such as "torch", and layers to use as stages
        (`models.adapter.encoder_of`).
    Raises UserError for a file or a model without an encoder, and for an unknown name.
    """
    if isinstance(source, keras.Model):
        return encoder_of(source, preprocessing, taps=taps)
    if preprocessing != "none" or taps:
        raise UserError(f"{source} has its own preprocessing and taps; give these only with a model")
    if not isinstance(source, str | Path):
        raise UserError(f"encoder({source!r}): give the path of a file, a name, or a Keras model")
    if str(source) in ENCODERS:
        return ENCODERS[str(source)]()
    if trained.is_name(source) and source not in presets.PRESETS and not str(source).startswith(presets.HUB):
        near = nearest(str(source), (*presets.PRESETS, *ENCODERS))
        raise UserError(
            f"unknown encoder {source}; choose {', '.join(presets.PRESETS)}, or with random weights "
            f"{', '.join(ENCODERS)} (nearest: {near})"
        )
    return trained.encoder(source)


def detector(
    net: str,
    train: Dataset | None = None,
    *,
    classes: Sequence[str] | None = None,
    image_size: int = 224,
    resize: str = "stretch",
    start: str | Path | None = None,
    encoder: str | Path | keras.Model | None = None,
    **settings: Any,
) -> TermModel:
    """A detector for the classes of `train`, or for `classes`, their names: compile it with only an optimizer, and fit
    it on `batches(train, "boxes")`. Detectors of two stages read annotations while they train (`batches`).

    net: "small", "yolov3-tiny", "retinanet", ... (`detectors.FAMILY`).
    encoder: for nets that take any, such as "retinanet": a file, a name, or a model that gives taps (`encoder`).
    start: a detector's .keras file, or the name of published weights, to start from; its net, of the same family, is
        used, and classes of the same name are kept.
    settings: those of its family, such as loss="ciou" (`detectors.yolov1.Settings`, `detectors.yolov3.Settings`, ...).
    Raises UserError for unknown or invalid settings.
    """
    _require_pixels(image_size)
    with _in_words_of_python():
        family = detectors.family(net)
    if train is None and classes is None:
        raise UserError(f"detector({net!r}, ...): give the training images, or classes=(name, ...)")
    names = _names("classes", classes if classes is not None else train.classes if train is not None else ())
    begun = trained.start(start) if start else None
    opened = trained.encoder
    known = [field.name for field in dataclasses.fields(family.Settings)]
    if encoder is not None and "encoder" not in known:
        others = [name for name in detectors.FAMILY if hasattr(detectors.settings_of(name), "encoder")]
        raise UserError(
            f"{net} has an encoder of its own; leave out encoder, or choose another net: {', '.join(others)}"
        )
    if encoder is not None:
        # A model has no name that would be a setting.
        settings["encoder"] = "given.keras" if isinstance(encoder, keras.Model) else str(encoder)
    if isinstance(encoder, keras.Model):

        def opened(_):
            return encoder

    purpose = Purpose(names, image_size, train, resize, start=begun, encoder=opened)
    if unknown := [name for name in settings if name not in known]:
        raise UserError(
            f"{net} has no setting {unknown[0]} (nearest: {nearest(unknown[0], known)}); its settings are "
            f"{', '.join(known)}"
        )
    try:
        with _in_words_of_python():
            built = family.build(family.Settings(**settings), net, purpose)
            network = built.build()
    except TypeError as error:
        raise UserError(f"detector({net!r}, ...): {error}; give settings of the right types") from error
    model = TermModel(built.trained(network), built.terms, built.weights, kept=lambda: network)
    model.about = About(built.task, names, (image_size, image_size), resize, built.codec)
    return model


def segmenter(
    encoder: keras.Model, decoder: str, labels: Sequence[str], *, image_size: int = 224, freeze: str = "full"
) -> keras.Model:
    """A segmenter, from image (B, H, W, 3) to logits (B, H, W, K): compile it with `PixelLoss`, and fit it on
    `batches(train, "segmentation")`.

    decoder: "segnet", "unet", "segnet_matched", "unet_plain", "deeplab" or "deeplab_aspp".
    labels: names of the K classes, background first (`train.segmentation_classes`).
    freeze: "full", "weights" or "none" (`models.parts.freeze`).
    Raises UserError for fewer than two labels, and for another word to freeze.
    """
    _require_pixels(image_size)
    names = _names("labels", labels)
    if len(names) < 2:
        raise UserError(f"labels has 1 name, {names[0]}; give those of two classes or more, background first")
    model = segmenters.segmenter(encoder, decoder, len(names))
    _freeze(encoder, freeze)
    model.about = About("segmentation", names, (image_size, image_size))
    return model


def classifier(
    encoder: keras.Model, labels: Sequence[str], *, image_size: int = 224, freeze: str = "none", dropout: float = 0.0
) -> keras.Model:
    """A classifier, from image (B, H, W, 3) to logits (B, K): compile it with
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`, and fit it on `batches(train, "label")`.

    labels: names of the K classes (`train.image_classes`). freeze: as for `segmenter`.
    Raises UserError as `segmenter` does.
    """
    _require_pixels(image_size)
    names = _names("labels", labels)
    model = classifiers.classifier(encoder, len(names), dropout=dropout)
    _freeze(encoder, freeze)
    model.about = About("classification", names, (image_size, image_size))
    return model


class Batches(keras.utils.PyDataset):
    """Augmented training batches for `fit`; the order and the augmentation differ in each epoch."""

    def __init__(self, batches, steps: int):
        super().__init__()
        self._steps, self._batches = steps, iter(batches)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index):
        return next(self._batches)


def batches(
    dataset: Dataset,
    field: str,
    *,
    image_size: int = 224,
    batch_size: int = 16,
    augmentation: Augmentation | None = None,
    annotated: bool = False,
    seed: int = 0,
    cache: Literal["memory", "none"] = "memory",
) -> Batches:
    """Augmented batches (image (B, H, W, 3), target) for `fit`.

    field: "segmentation" for targets (B, H, W), "label" for (B,), "boxes" for {"boxes": (B, N, 4), "labels": (B, N)},
        or "masks" for these and {"masks": (B, N, m, m), "frames": (B, N, 4)}, crops of masks over frames.
    augmentation: by default mirroring, cropping, zooming and changes of colour (`data.transforms.Augmentation`).
    annotated: give {"image": ..., "boxes": ..., "labels": ...} in place of the image, for models that read annotations
        while they train: `detector("faster_rcnn", ...)` with "boxes", `detector("mask_rcnn", ...)` with "masks".
    cache: decoded images are kept in memory, or with "none" decoded whenever they are asked for.
    """
    _require_pixels(image_size)
    _require_batch_size(batch_size)
    if not _is_whole(seed, 0, LARGEST_SEED):
        raise UserError(f"seed is {seed!r}; give a whole number from 0 to {LARGEST_SEED}")
    decoded = _decoded(dataset, field, round(LARGER * image_size), cache)
    made = training_batches(
        decoded,
        size=(image_size, image_size),
        batch_size=batch_size,
        view=(views.annotated if annotated else views.augmented)(augmentation or Augmentation()),
        seed=seed,
    )
    if field in ("segmentation", "label"):
        made = made.map(lambda image, targets: (image, targets[field]))
    return Batches(made, steps_per_epoch(len(decoded), batch_size))


def validation_batches(
    dataset: Dataset,
    field: str,
    *,
    image_size: int = 224,
    batch_size: int = 16,
    annotated: bool = False,
    cache: Literal["memory", "none"] = "memory",
) -> Any:
    """Batches (image (B, H, W, 3), target) of each image once, in order and unchanged, for
    `fit(validation_data=...)` and `evaluate`, as a tf.data.Dataset. The last batch may be smaller.

    field, annotated, cache: as for `batches`.
    """
    _require_pixels(image_size)
    _require_batch_size(batch_size)
    made = evaluation_batches(
        _decoded(dataset, field, image_size, cache),
        size=(image_size, image_size),
        batch_size=batch_size,
        view=(views.annotated if annotated else views.augmented)(views.STILL),
    )
    made = without_padding(made)
    if field in ("segmentation", "label"):
        made = made.map(lambda image, targets: (image, targets[field]))
    return made


def _decoded(dataset: Dataset, field: str, size: int, cache: str) -> Decoded:
    if cache not in ("memory", "none"):
        raise UserError(f"cache {cache!r}: give 'memory' or 'none'")
    fields = ["boxes", "masks"] if field == "masks" else [field]
    return decode(dataset, fields, (size, size), on_demand=cache == "none")


def _names(argument: str, given: Any) -> tuple[str, ...]:
    """Names that `load` would read. Raises UserError for others."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UserError(f"{argument} {given!r}: give a sequence of names, as in [{str(given)!r}]")
    try:
        return description.labels({"labels": list(given)})
    except ValueError as error:
        raise UserError(f"{argument}: {error}; give other names") from error


def _is_whole(value: Any, lowest: int, highest: float = math.inf) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and lowest <= value <= highest


@contextlib.contextmanager
def _in_words_of_python() -> Iterator[None]:
    """Messages name the arguments of `detector` where those of recipes name flags."""
    try:
        yield
    except UserError as error:
        told = re.sub(r"(?<!\S)--(?:net\.)?([a-z][a-z-]*)", lambda flag: flag[1].replace("-", "_"), str(error))
        raise UserError(re.sub(r"\bunknown model\b", "unknown net", told)) from error


def _freeze(encoder: keras.Model, kind: Any) -> None:
    if kind not in ("full", "weights", "none"):
        raise UserError(f"freeze is {kind!r}; give 'full', 'weights' or 'none'")
    if kind != "none":
        freeze_part(encoder, kind)


def _require_pixels(image_size: Any) -> None:
    if not _is_whole(image_size, 1):
        raise UserError(f"image_size is {image_size!r}; give one number of pixels above 0, such as 224")


def _require_batch_size(batch_size: Any) -> None:
    if not _is_whole(batch_size, 1):
        raise UserError(f"batch_size is {batch_size!r}; give a whole number above 0, such as 16")


def save(model: keras.Model, path: str | Path, about: About | None = None) -> None:
    """Write NAME.keras, and NAME.json with the model's `about`. about: needed for models that were not made here.

    Raises UserError for another name of a file, and for what `load` would refuse.
    """
    if Path(path).suffix != ".keras":
        raise UserError(f"{path}: a model is saved as NAME.keras; give a name that ends in .keras")
    network, about = _described(model, about)
    _names("about.labels", about.labels)
    network = in_float32(network)
    trained.require_fitting(network, about)
    trained.write(network, path, about)


def load(path: str | Path) -> trained.AnyPredictor:
    """The model in a .keras or .tflite file, in a folder that `push` filled, or in hf://OWNER/NAME, for
    `load(path).predict(photo)`; a photo is a path, a Pillow image or an array.

    Raises UserError for other files.
    """
    return trained.open_predictor(path)


def from_preset(source: str | Path) -> keras.Model:
    """The Keras model, with its `about`, in a .keras file, in a folder that `push` filled, or in hf://OWNER/NAME: to be
    scored, exported, or trained further. Its outputs are raw predictions or logits.

    Raises UserError for other files.
    """
    model, about = trained.stored(source)
    model.about = about
    return model


def push(model: keras.Model | str | Path, to: str | Path, about: About | None = None) -> str:
    """Put a model made here, or a .keras file, with a model card where others load it by `from_preset` or `load`.

    to: a folder, or hf://OWNER/NAME, a repository of Hugging Face, which is created if there is none (needs
        `pip install 'kerastransfer[hf]'` and `hf auth login`).
    about: needed for models that were not made here.
    Returns where it is. Raises UserError for a folder with files of a model, and where Hugging Face refuses.
    """
    if not isinstance(model, keras.Model):
        path = sharing.local(model)
        trained.stored(path)
        return sharing.push(path, model_card.of_model(path, sharing.MODEL), to)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model.name}.keras"
        save(model, path, about)
        return sharing.push(path, model_card.of_model(path, sharing.MODEL), to)


def evaluate(model: keras.Model | str | Path, test: Dataset) -> dict[str, float]:
    """Scores of a model made here, or of a .keras or .tflite file, on test images: {"iou_mean": 0.61, ...}."""
    if isinstance(model, keras.Model):
        network, about = _described(model, None)
        graph = in_float32(TASKS[about.task].graph(network, about))
        predictor: trained.AnyPredictor = KerasPredictor(graph, about)
    else:
        predictor = trained.open_predictor(model)
    return TASKS[predictor.about.task].score(predictor.predict, test, predictor.about.labels).metrics


def export(
    model: keras.Model | str | Path, train: Dataset, test: Dataset, output: str | Path = "exported"
) -> "list[ExportedFile]":
    """Export a model made here, or a .keras file, to OUTPUT/saved_model/NAME and, as LiteRT files in float32, float16
    and int8, to OUTPUT/tflite. Each is compared with the Keras model on test images; training images calibrate int8.

    Raises ParityError, after everything has been written, if a file is out of tolerance.
    """
    folders = {"saved_model": Path(output) / "saved_model", "tflite": Path(output) / "tflite"}
    if not isinstance(model, keras.Model):
        return trained.export(model, train, test, **folders)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model.name}.keras"
        save(model, path)
        return trained.export(path, train, test, **folders)


def _described(model: keras.Model, about: About | None) -> tuple[keras.Model, About]:
    """The network to keep, and its `About`."""
    about = about or getattr(model, "about", None)
    if about is None:
        raise UserError(f"model {model.name!r} has no `about`; set model.about to a kerastransfer.tasks.about.About")
    if not isinstance(model, TermModel):
        return model, about
    return model.kept(), about
