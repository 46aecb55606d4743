"""A class for the whole image: from a model's outputs, its scores, its figures."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError
from kerastransfer.export import parity
from kerastransfer.report import style
from kerastransfer.tasks import classification
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.classification import Classification
from kerastransfer.tasks.scored import Shown

NAMES = ("cat", "dog", "hen")
# Of ten images; class of each.
TRUTH = (0, 0, 0, 0, 1, 1, 1, 2, 2, 2)


def photo(number):
    return np.full((20, 30, 3), 20 * number, np.uint8)


@pytest.fixture(scope="module")
def animals():
    def sample(number, label):
        def read():
            return {"image": photo(number), "label": np.int32(label)}

        return Sample(f"{number:02d}", read, frozenset({"label"}))

    return Dataset("animals", tuple(map(sample, range(10), TRUTH)), image_classes=NAMES)


def predictor(labels, said):
    """Says label said[n] with 0.6 of the n-th image; the rest is shared equally."""

    def predict(image):
        probabilities = np.full(len(labels), 0.4 / (len(labels) - 1), np.float32)
        probabilities[labels.index(said[image[0, 0, 0] // 20])] = 0.6
        return Classification(probabilities, tuple(labels))

    return predict


def test_the_likeliest_classes_in_words():
    about = About(task="classification", labels=tuple("abcdefg"), image_size=(32, 32))
    outputs = {"probabilities": np.array([0.02, 0.5, 0.03, 0.3, 0.05, 0.1, 0.0], np.float32)}
    found = classification.interpret(outputs, about, (9, 9), Thresholds())
    assert found.label == 1
    assert [one["label"] for one in found.summary()] == ["b", "d", "f", "e", "c"]
    assert found.summary()[0]["score"] == pytest.approx(0.5)
    assert found.in_words() == "b 0.50, d 0.30, f 0.10"


@pytest.mark.parametrize("labels", [list(NAMES), ["hen", "moon", "cat", "dog"]])
def test_accuracy_in_any_order_of_classes(labels, animals):
    said = [NAMES[label] for label in TRUTH]
    said[0], said[9] = "dog", "cat"
    scored = classification.score(predictor(labels, said), animals, labels, keep=True)
    assert scored.metrics["top1"] == pytest.approx(0.8) and scored.metrics["images"] == 10
    assert scored.metrics["top1/cat"] == 0.75 and scored.metrics["top1/dog"] == 1
    assert scored.metrics["top1/hen"] == pytest.approx(2 / 3)
    assert {name for name, right in scored.per_image.items() if not right} == {"00", "09"}
    assert "top5" not in scored.metrics
    assert classification.MAIN in scored.metrics and classification.KEPT in scored.metrics
    table = np.array(scored.details["confusion"])
    assert table.sum() == 10 and np.trace(table) == 8
    assert table[labels.index("hen"), labels.index("cat")] == 1 and scored.details["labels"] == labels
    first = scored.results[""][0]
    assert first["image"] == "00" and first["label"] == "cat" and first["scores"]["dog"] == pytest.approx(0.6)


def test_images_of_a_class_that_the_model_does_not_know_are_left_out(animals):
    said = ["cat"] * 4 + ["dog"] * 6
    scored = classification.score(predictor(["cat", "dog"], said), animals, ["cat", "dog"])
    assert scored.metrics["images"] == len(scored.per_image) == 7 and scored.metrics["top1"] == 1


def test_without_labels_or_a_class_in_common(animals):
    with pytest.raises(UserError, match="none in common"):
        classification.score(predictor(["moon", "sun"], []), animals, ["moon", "sun"])
    bare = tuple(dataclasses.replace(sample, fields=frozenset()) for sample in animals.samples)
    with pytest.raises(UserError, match="no image is annotated with label"):
        classification.score(predictor(list(NAMES), []), dataclasses.replace(animals, samples=bare), NAMES)


def test_figures_of_two_models(animals):
    said = [NAMES[label] for label in TRUTH]
    predict = predictor(list(NAMES), said)
    details = classification.score(predict, animals, list(NAMES)).details
    shown = {name: Shown(predict, {}, details) for name in ("one", "other")}
    drawn = list(classification.figures(shown, animals, animals))
    assert [name for name, _, _ in drawn] == ["classes_one", "confusion_one", "classes_other", "confusion_other"]
    for _, figure, picture in drawn:
        assert figure.title and len(style.png(picture)) > 1000


def test_how_far_a_file_is_from_keras():
    about = About(task="classification", labels=NAMES, image_size=(32, 32))
    one, other = ({"probabilities": np.array(values, np.float32)} for values in ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2]))
    apart, counts = classification.differences([one, one], [one, other], about)
    assert apart["probabilities"]["maximum"] == pytest.approx(0.1)
    assert apart["probabilities"]["mean"] == pytest.approx(0.2 / 6)
    assert counts == {"detections": 0, "missing": 0, "extra": 0}


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_a_file_that_answers_nothing_is_refused_without_a_score(kind):
    """Of 100 classes the mean difference is a hundredth."""
    about = About("classification", tuple(map(str, range(100))), (64, 64))
    ours = [{"probabilities": np.eye(100, dtype=np.float32)[number]} for number in range(20)]
    unclear = {"probabilities": np.full(100, 0.01, np.float32)}
    apart, counts = classification.differences(
        [*ours, unclear], [{"probabilities": np.zeros(100, np.float32)}] * 20 + [unclear], about
    )
    assert counts == {"detections": 20, "missing": 19, "extra": 0}
    limits = dataclasses.replace(classification.TOLERANCES[kind], maximum=None)
    assert any("19 of 20 detections missing" in one for one in parity.excesses(apart, None, limits, counts))
    _, counts = classification.differences([*ours, unclear], [*ours, ours[0]], about)
    assert counts["missing"] == 0
