"""Classification: one class for the whole image."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.data.dataset import Dataset
from kerastransfer.tasks import drawing
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.matched import matched
from kerastransfer.tasks.scored import Predict, Progress, Scored, Shown
from kerastransfer.tasks.tolerance import Counts, Differences, Outputs, Tolerance, row_by_row

if TYPE_CHECKING:
    import keras
    import PIL.Image

FIELD = "label"
OUTPUTS = {"probabilities": "(1, K), probabilities of the classes, which sum to 1"}
MAIN = KEPT = "top1"
DECODED = False
EACH = "top-1"
TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(maximum=1e-3),
    "float16": Tolerance(maximum=0.05, mean=0.005),
    "int8": Tolerance(mean=0.05, metric=0.02, unpaired=0.1),
}
# A class is clear if its probability is higher than any other by this much.
CLEAR = 0.5
# Number of classes in a summary.
TOLD = 5
# Number of images in the report.
SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Classification:
    """probabilities: (K,) float32, of the classes. names: of the K classes."""

    probabilities: np.ndarray
    names: tuple[str, ...]

    @property
    def label(self) -> int:
        """The index of the most likely class."""
        return int(self.probabilities.argmax())

    def summary(self) -> list[dict]:
        """The five most likely classes, best first, for JSON: label and score."""
        best = np.argsort(-self.probabilities, kind="stable")[:TOLD]
        return [{"label": self.names[k], "score": float(self.probabilities[k])} for k in best]

    def in_words(self) -> str:
        """One line: the most likely classes and their probabilities."""
        return ", ".join(f"{one['label']} {one['score']:.2f}" for one in self.summary()[:3])

    def draw(self, image: np.ndarray, alpha: float = 0.5) -> "PIL.Image.Image":
        """`image` (H, W, 3) uint8 with the most likely class and its probability in the corner."""
        return drawing.caption(image, f"{self.names[self.label]} {self.probabilities[self.label]:.2f}", self.label)


def classes(dataset: Dataset) -> tuple[str, ...]:
    return dataset.image_classes


def num_classes(outputs: Mapping[str, Any]) -> int | None:
    return outputs["probabilities"].shape[-1]


def graph(network: "keras.Model", about: About) -> "keras.Model":
    from kerastransfer.models import predictor

    return predictor.class_probabilities(network, about.image_size)


def interpret(outputs: Outputs, about: About, size: tuple[int, int], limits: Thresholds) -> Classification:
    return Classification(outputs["probabilities"], about.labels)


def differences(expected: Sequence[Outputs], got: Sequence[Outputs], about: About) -> tuple[Differences, Counts | None]:
    """Differences of the probabilities, and of how many images a clear class has become another one: of many classes,
    the mean difference is small whatever the classes are."""
    ours, theirs = (np.stack([one["probabilities"] for one in side]).reshape(len(side), -1) for side in (expected, got))
    clear = np.ptp(np.sort(ours, axis=1)[:, -2:], axis=1) >= CLEAR
    # One alone proves nothing.
    clear &= clear.sum() > 1
    changed = int((ours.argmax(axis=1) != theirs.argmax(axis=1))[clear].sum())
    return row_by_row(expected, got), {"detections": int(clear.sum()), "missing": changed, "extra": 0}


def score(
    predict: Predict, dataset: Dataset, labels: Sequence[str], progress: Progress = iter, keep: bool = False
) -> Scored:
    """Accuracy (`metrics.classification`) on the images whose class the model knows."""
    from kerastransfer.metrics import classification

    samples, number = matched(dataset, FIELD, classes(dataset), labels, -1)
    names, truth, found = [], [], []
    for sample in progress(samples):
        example = sample.read()
        label = number[int(example["label"])]
        if label >= 0:
            names.append(sample.name)
            truth.append(label)
            found.append(predict(example["image"]).probabilities)
    truth, found = np.array(truth), np.stack(found)
    right = found.argmax(axis=1) == truth
    confusion = classification.confusion(truth, found.argmax(axis=1), len(labels))
    results = [
        {"image": name, "label": labels[label], "scores": dict(zip(labels, map(float, row), strict=True))}
        for name, label, row in zip(names, truth, found, strict=True)
    ]
    return Scored(
        classification.accuracy(truth, found, labels),
        dict(zip(names, right.astype(float).tolist(), strict=True)),
        results={"": results} if keep else {},
        details={"labels": list(labels), "confusion": confusion.tolist()},
    )


def figures(models: Mapping[str, Shown], dataset: Dataset, test: Dataset) -> Iterator[tuple]:
    """For each model: test images with their true and predicted class, and the confusion matrix."""
    from kerastransfer.report import figures, pictures
    from kerastransfer.report.page import Figure

    examples = [sample.read() for sample in test.spread(SHOWN).samples]
    images = [example["image"] for example in examples]
    truth = [dataset.image_classes[int(example["label"])] for example in examples]
    for model, shown in models.items():
        said = [shown.predict(image).summary()[0] for image in images]
        title = f"Predictions of {model}"
        caption = "Test images with their true class and, where it differs, the predicted class."
        yield f"classes_{model}", Figure(title, caption, b""), pictures.classes(images, truth, said)
        caption = "Test images by true class (rows) and predicted class (columns), as shares of the row."
        matrix = figures.confusion(np.array(shown.details["confusion"]), shown.details["labels"])
        yield f"confusion_{model}", Figure(f"Confusions of {model}", caption, b"", chart=True), matrix
