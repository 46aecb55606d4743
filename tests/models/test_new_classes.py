"""A detector for other classes predicts the same boxes, and the same scores of the classes that both know."""

import dataclasses

import keras
import numpy as np
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.encoders import ENCODERS
from kerastransfer.models import darknet_cfg, darknet_nets
from kerastransfer.models.new_classes import with_classes
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.models.yolov3 import yolov3

BEFORE, NOW = ("cat", "dog", "bird"), ("bird", "fish", "cat", "cow")
SIDE = 64


def of_yolov3():
    text = darknet_nets.yolov3_cfg("yolov3-tiny", num_classes=3, width=0.125, image_size=SIDE)
    found = darknet_cfg.anchors_of(darknet_cfg.parse(text))
    return yolov3(text), YoloV3Codec(3, found.anchors, found.levels)


def of_yolov1(head):
    codec = YoloV1Codec(3, layout="darknet" if head == "darknet_local" else "cells", score="product", sizes="root")
    options = {} if head == "fully_conv" else {"head": head, "grid": SIDE // 16}
    return yolov1(ENCODERS["small"](), codec, **options), codec


@pytest.mark.parametrize(
    "make",
    [
        of_yolov3,
        lambda: of_yolov1("fully_conv"),
        pytest.param(lambda: of_yolov1("paper_fc"), marks=pytest.mark.slow),
        pytest.param(lambda: of_yolov1("darknet_local"), marks=pytest.mark.slow),
    ],
    ids=["yolov3", "fully_conv", "paper_fc", "darknet_local"],
)
def test_boxes_and_common_classes_are_predicted_as_before(make):
    keras.utils.set_random_seed(0)
    network, codec = make()
    wanted = dataclasses.replace(codec, num_classes=len(NOW))
    again = with_classes(network, codec, wanted, BEFORE, NOW)
    image = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype("float32")
    boxes, scores = (np.asarray(value) for value in codec.decode(network(image)))
    new_boxes, new_scores = (np.asarray(value) for value in wanted.decode(again(image)))
    np.testing.assert_allclose(new_boxes, boxes, atol=1e-6)
    assert new_scores.shape == (*scores.shape[:2], 4)
    for number, name in enumerate(NOW):
        if name in BEFORE:
            np.testing.assert_allclose(new_scores[..., number], scores[..., BEFORE.index(name)], atol=1e-6)
        else:
            assert all(np.abs(new_scores[..., number] - scores[..., old]).max() > 1e-4 for old in range(3))
    # The network it was made from is as it was.
    np.testing.assert_array_equal(np.asarray(codec.decode(network(image))[1]), scores)


def test_the_same_classes_in_the_same_order_change_nothing():
    network, codec = of_yolov3()
    again = with_classes(network, codec, codec, BEFORE, BEFORE)
    for ours, theirs in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_it_computes_in_the_current_policy_and_predicts_in_float32():
    network, codec = of_yolov3()
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        again = with_classes(network, codec, dataclasses.replace(codec, num_classes=4), BEFORE, NOW)
    finally:
        keras.mixed_precision.set_global_policy(before)
    computed = {layer.compute_dtype for layer in again.get_layer("encoder").layers if layer.weights}
    assert computed == {"bfloat16"}
    assert {str(value.dtype) for value in again.output.values()} == {"float32"}
