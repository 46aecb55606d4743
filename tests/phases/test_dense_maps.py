"""Maps of a detector's votes: the classes that they give, in numpy and in the exported graph."""

import numpy as np
import pytest

from kerastransfer.codecs.layers import Odds
from kerastransfer.codecs.votes import classes_by_votes, threshold_by_boxes
from kerastransfer.data.toy import toy
from kerastransfer.errors import UserError
from kerastransfer.phases import dense_maps


def test_classes_of_boxes_and_of_masks():
    scenes = toy(count=1)
    same = dense_maps.classes_of(scenes, scenes.classes)
    assert same.names == scenes.segmentation_classes and not same.merge
    with pytest.raises(UserError, match=r"the boxes .*moon"):
        dense_maps.classes_of(scenes, ["moon"])


def test_merged_classes_count_every_box():
    example = {"boxes": np.arange(12.0).reshape(3, 4), "labels": np.array([0, 1, 1])}
    apart = dense_maps.Classes(("background", "cat", "dog"), merge=False)
    np.testing.assert_array_equal(apart.boxes(example, 1), example["boxes"][1:])
    np.testing.assert_array_equal(dense_maps.Classes(("background", "pet"), True).boxes(example, 0), example["boxes"])


@pytest.mark.parametrize("scale", [10.0, 1.0, 1e-3, 1e-6, 1e-10])
def test_the_exported_segmenter_has_the_classes_of_the_map(scale):
    """Whatever the votes of a detector are, those of a poor one next to nothing."""
    rng = np.random.default_rng(0)
    votes = (scale * rng.uniform(0, 1, (12, 16, 2)) ** 3).astype("float32")
    boxes = [np.array([[0.2, 0.3, 0.7, 0.8]])]
    chosen = [threshold_by_boxes([votes[..., k]], boxes) for k in range(2)]
    logits = np.asarray(Odds(chosen)(votes[None]))[0]
    np.testing.assert_array_equal(logits.argmax(axis=-1), classes_by_votes(votes, chosen))
