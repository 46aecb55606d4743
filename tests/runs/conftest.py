"""Runs without training: a page whose models have known scores, and predictors that know the truth of drawn scenes."""

import dataclasses
import html
import re
import types

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES
from kerastransfer.runs import settings, trained
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.tasks.about import About


@dataclasses.dataclass
class PageConfig(settings.CommonConfig):
    """A page that trains nothing."""

    data: str = "toy:10"
    precision: str = "float32"
    quiet: bool = True
    export: bool = True
    epochs: int = 2


@pytest.fixture(scope="session")
def config():
    """From an output folder and settings to a config."""
    return lambda folder, **values: PageConfig(output=str(folder), **values)


@pytest.fixture
def outcome(config, tmp_path):
    """The outcome of a run that has just begun, with two test images."""
    given = config(tmp_path / "run")
    with RunFolder("page", given) as run:
        yield Outcome(given, run, load_data(given, "boxes", "masks", "segmentation"), "What was done.")


@pytest.fixture
def text_of():
    """The words of a page, without its tags, figures and script."""

    def text(path):
        body = path.read_text(encoding="utf-8").partition("<body>")[2].partition("<script>")[0]
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())

    return text


LABELS = {"detection": CLASSES, "instances": CLASSES, "segmentation": ("background", *CLASSES)}


def clumsy(task, examples):
    """A predictor that finds all objects but the last of each image, `shift` pixels from their place."""
    from kerastransfer.tasks.detection import Detections
    from kerastransfer.tasks.instances import Instances
    from kerastransfer.tasks.segmentation import Segmentation

    def predict(image, *, score=None):
        truth = examples[image.tobytes()]
        shift = 5
        if task == "segmentation":
            classes = np.roll(truth["segmentation"], shift, axis=1)
            return Segmentation(classes, np.zeros((1, 1, 5)), LABELS[task])
        count = max(1, len(truth["labels"]) - 1)
        labels = truth["labels"][:count]
        found = (
            np.clip(truth["boxes"][:count] + np.float32(shift / image.shape[0]), 0, 1),
            np.linspace(0.9, 0.4, count, dtype=np.float32),
            labels,
            tuple(CLASSES[label] for label in labels),
            image.shape[:2],
        )
        if task == "detection":
            return Detections(*found)
        return Instances(*found, np.roll(truth["masks"][:count], (shift, shift), axis=(1, 2)))

    return predict


@pytest.fixture
def models(monkeypatch, outcome):
    """From {name: task} to files models/NAME.keras that need not be there: `trained.open_predictor` is replaced.

    Returns the list of the files that were opened.
    """
    test = outcome.data.parts["boxes"][1]
    examples = {example["image"].tobytes(): example for example in (sample.read() for sample in test.samples)}
    opened = []

    def present(**tasks):
        def open_predictor(path):
            opened.append(path.name)
            task = tasks[path.stem]
            about = About(task=task, labels=LABELS[task], image_size=(64, 64))
            return types.SimpleNamespace(about=about, predict=clumsy(task, examples))

        monkeypatch.setattr(trained, "open_predictor", open_predictor)
        return opened

    return present
