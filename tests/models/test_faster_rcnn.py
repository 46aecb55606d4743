"""The second stage of Faster R-CNN and Mask R-CNN, against torchvision's with the same weights."""

import detection_references as references
import numpy as np
import pytest

from kerastransfer.models.faster_rcnn import box_branch, faster_rcnn_codec
from kerastransfer.models.mask_rcnn import instances, mask_branch, mask_rcnn

SIZE = (512, 512)
# torchvision orders the last axis of differences as (x, y, w, h), background first.
SWAPPED = [1, 0, 3, 2]


def given(expected):
    """What the branches read; levels are ours, which are torchvision's."""
    inputs = references.second_stage_inputs()
    boxes = inputs.pop("boxes")[None] / 512
    levels = np.asarray(faster_rcnn_codec(references.CLASSES).levels(boxes, SIZE))
    np.testing.assert_array_equal(levels[0], expected["levels"])
    assert len(set(levels[0])) == 4
    return {**inputs, "boxes": boxes, "levels": levels}


def test_what_is_said_of_boxes_is_what_torchvision_says():
    expected = references.expected("second_stage")
    branch = box_branch(4, references.CLASSES, hidden=10)
    head = branch.get_layer("box_head")

    def assign(layer, name, kernel):
        head.get_layer(layer).set_weights([kernel, expected[f"{name}.bias"]])

    # Features in the order (row, column, channel), there (channel, row, column).
    first = expected["head.fc6.weight"].reshape(10, 4, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 10)
    assign("dense1", "head.fc6", first)
    assign("dense2", "head.fc7", expected["head.fc7.weight"].T)
    assign("box_classes", "last.cls_score", expected["last.cls_score.weight"].T)
    head.get_layer("box_boxes").set_weights([np.zeros((10, 12), "float32"), np.zeros(12, "float32")])
    found = branch(given(expected))
    np.testing.assert_allclose(np.asarray(found["classes"])[0], expected["classes"], rtol=1e-4, atol=1e-4)

    boxes = expected["last.bbox_pred.weight"].reshape(-1, 4, 10)[1:, SWAPPED].reshape(12, 10).T
    bias = expected["last.bbox_pred.bias"].reshape(-1, 4)[1:, SWAPPED].reshape(12)
    head.get_layer("box_boxes").set_weights([boxes, bias])
    wanted = expected["boxes"].reshape(-1, 4, 4)[:, 1:, SWAPPED]
    got = np.asarray(branch(given(expected))["boxes"])[0].reshape(-1, 3, 4)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_masks_are_those_of_torchvision():
    expected = references.expected("second_stage")
    branch = mask_branch(4, references.CLASSES, filters=5, convs=2)
    head = branch.get_layer("fcn")
    for layer, name in (
        ("conv1", "convolutions.0.0"),
        ("conv2", "convolutions.1.0"),
        ("up", "masks.conv5_mask"),
        ("logits", "masks.mask_fcn_logits"),
    ):
        kernel = expected[f"{name}.weight"]
        # A transposed convolution has its channels the other way round in both.
        head.get_layer(layer).set_weights([kernel.transpose(2, 3, 1, 0), expected[f"{name}.bias"]])
    found = np.asarray(branch(given(expected)))[0]
    np.testing.assert_allclose(found, expected["masks"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_both_suppressions_are_those_of_the_device(tmp_path):
    """That of the proposals, and that of the detections."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.masked_boxes import MaskedBoxes
    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.export import graph, parity
    from kerastransfer.tasks.about import About

    codec = MaskedBoxes(faster_rcnn_codec(2), MaskCodec(28, 6), 4)
    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    network = mask_rcnn(encoder, codec, channels=8, hidden=6, proposals=5, filters=4, convs=1)
    model = instances(network, codec, (64, 64))
    about = About("instances", ("a", "b"), (64, 64), "stretch", codec)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype="uint8")
    # Raises ParityError for a file that says something else than Keras.
    (found,) = parity.export_all(
        model, tmp_path, "model", about=about, calibration=[], images=pictures, kinds=["float32"]
    )
    assert found.unpaired["detections"] > 3
    assert "WHILE" not in graph.operators(found.path)
    # Each has two outputs.
    assert len(graph.outputs(found.path.read_bytes(), "NON_MAX_SUPPRESSION_V4")) == 2 * 2
