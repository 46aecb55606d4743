"""Two-stage detectors for other classes; that what they say stays the same is in tests/detectors/test_detectors.py."""

import numpy as np
import pytest

from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.masked_boxes import MaskedBoxes
from kerastransfer.encoders.yolov1 import yolov1_encoder
from kerastransfer.models import two_stages
from kerastransfer.models.faster_rcnn import faster_rcnn_codec
from kerastransfer.models.mask_rcnn import MASKS, mask_rcnn


def network(classes, **options):
    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    codec = MaskedBoxes(faster_rcnn_codec(classes), MaskCodec(14, 6, level="fpn"), 4)
    return mask_rcnn(encoder, codec, channels=8, hidden=6, proposals=5, filters=4, convs=1, **options)


@pytest.mark.slow
@pytest.mark.parametrize("now", [("b", "a"), ("b",), ("a",)])
def test_a_single_mask_is_one_of_all_classes(now):
    """That of a detector of one class cannot be told from a mask for all classes, and draws those of others too."""
    first = network(1)
    options = {**two_stages.options(first), **two_stages.mask_options(first)}
    assert options == {"channels": 8, "hidden": 6, "filters": 4, "convs": 1, "class_agnostic": True}
    second = network(len(now), class_agnostic=True)
    two_stages.copy(first, second, ("a",), now)
    ours, theirs = (one.get_layer(MASKS).get_layer("fcn").get_layer("logits").get_weights() for one in (second, first))
    for own, given in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own, given)
    assert "logits" not in two_stages.class_layers(second)
