import dataclasses

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES
from kerastransfer.errors import UserError
from kerastransfer.tasks import detection, segmentation
from kerastransfer.tasks.matched import matched


def test_classes_are_matched_by_name(scenes):
    samples, number = matched(scenes, "boxes", CLASSES, ["star", "moon", "disc"], -1)
    assert samples == scenes.samples
    np.testing.assert_array_equal(number, [2, -1, -1, 0])


def test_no_class_in_common_is_the_users_mistake(scenes, perfect_detector, perfect_segmenter):
    with pytest.raises(UserError, match=r"disc, square, triangle, star, the model person; none in common"):
        detection.score(perfect_detector(["person"]), scenes, ["person"])
    with pytest.raises(UserError, match="none in common"):
        segmentation.score(perfect_segmenter(["background"]), scenes, ["background", "person"])


def test_only_samples_with_the_annotation_are_taken(scenes):
    first, *others = scenes.samples
    bare = (first, *(dataclasses.replace(sample, fields=frozenset({"label"})) for sample in others))
    samples, _ = matched(dataclasses.replace(scenes, samples=bare), "boxes", CLASSES, CLASSES, -1)
    assert samples == (first,)


def test_data_without_the_annotation_is_the_users_mistake(scenes, perfect_detector):
    bare = tuple(dataclasses.replace(sample, fields=frozenset({"label"})) for sample in scenes.samples)
    with pytest.raises(UserError, match="no image is annotated with boxes"):
        detection.score(perfect_detector(["disc"]), dataclasses.replace(scenes, samples=bare), ["disc"])


def test_a_long_list_of_classes_is_cut_short(scenes):
    labels = [f"kind{number}" for number in range(20)]
    with pytest.raises(UserError, match=r"kind0, .*kind7 and 12 more; none in common"):
        matched(scenes, "boxes", CLASSES, labels, -1)
