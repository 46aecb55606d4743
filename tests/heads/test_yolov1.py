"""YOLOv1's heads: counts of parameters, and layouts."""

import numpy as np
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.heads.yolov1 import darknet_local, fully_conv, paper_fc


def count(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(("classes", "parameters"), [(1, 5_902_603), (200, 5_953_746), (20, 5_907_486)])
def test_fully_conv_parameters(classes, parameters):
    head = fully_conv(1024, YoloV1Codec(num_classes=classes).outputs)
    assert count(head) == parameters
    for side in (7, 1, 20):
        assert head.compute_output_shape({"c5": (1, side, side, 1024)}) == (1, side, side, classes + 10)


def test_paper_fc_is_yolov1s():
    head = paper_fc(8, YoloV1Codec(num_classes=20).outputs, hidden=16)
    assert head.output_shape == (None, 7, 7, 30)
    assert count(head) == (7 * 7 * 8 + 1) * 16 + (16 + 1) * 1470


def test_darknet_local_is_the_official_files():
    """Biases and kernels of the local layer, then of the connected one: 1715 outputs (Darknet, src/parser.c)."""
    codec = YoloV1Codec(num_classes=20, boxes_per_cell=3, layout="darknet")
    head = darknet_local(4, codec.outputs)
    assert head.output_shape == (None, 1715)
    assert count(head) == 256 * 49 + 49 * 256 * 4 * 9 + 1715 + 1715 * 12544


@pytest.mark.parametrize("build", [fully_conv, paper_fc, darknet_local])
def test_predictions_are_linear_float32_and_any_sign(build):
    options = {} if build is fully_conv else {"grid": 3}
    head = build(4, 11, hidden=(4, 4) if build is fully_conv else 4, **options)
    out = np.array(head({"c5": np.random.default_rng(0).normal(0, 9, (8, 3, 3, 4)).astype("float32")}))
    assert out.dtype == np.float32 and out.min() < 0 < out.max()
    assert head.name == "head" and list(head.input) == ["c5"]
