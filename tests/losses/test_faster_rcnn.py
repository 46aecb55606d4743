import keras
import numpy as np
from harness import with_gradient

from kerastransfer.codecs.faster_rcnn import FasterRcnnCodec
from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.masked_boxes import MaskedBoxes
from kerastransfer.codecs.retinanet import AnchorCodec
from kerastransfer.losses import mask_rcnn
from kerastransfer.losses.faster_rcnn import WEIGHTS, faster_rcnn_loss

FIRST = AnchorCodec(1, (("p2", 8),), (((8, 8),),), 0.3, 0.7, True, (1, 1, 1, 1))
CODEC = FasterRcnnCodec(2, FIRST)
TERMS = faster_rcnn_loss(CODEC)


def outputs(**changes):
    """Of an image with four anchors of 8 x 8 pixels, one of which learns an object and one of which is not drawn, and
    with three boxes: of class 1, of background, and padding."""
    anchors = np.float32([[[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]]])
    given = {
        "p2_classes": np.float32([2, -1, 3, 0]).reshape(1, 2, 2, 1),
        "p2_boxes": np.zeros((1, 2, 2, 4), "float32"),
        "anchor_state": np.int32([[1, 0, -1, 0]]),
        "anchor_boxes": anchors,
        "rois": np.float32([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0, 0]]]),
        "roi_labels": np.int32([[2, 0, -1]]),
        "roi_targets": np.float32([[[0, 0, 0.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]]]),
        "roi_classes": np.float32([[[0, 1, 2], [1, 0, 0], [9, 9, 9]]]),
        "roi_boxes": np.zeros((1, 3, 8), "float32"),
    }
    return given | changes


def test_terms_by_hand():
    found = {name: [float(one[0]) for one in pair] for name, pair in TERMS({}, outputs()).items()}
    assert found.keys() == WEIGHTS.keys()
    softplus = np.logaddexp(0, [-2, -1, 0])
    np.testing.assert_allclose(found["proposal_objects"], [softplus.sum(), 3], rtol=1e-5)
    first, second = (np.log(np.exp(row).sum()) - row[kind] for row, kind in (([0, 1, 2], 2), ([1, 0, 0], 0)))
    np.testing.assert_allclose(found["classes"], [first + second, 2], rtol=1e-5)
    np.testing.assert_allclose(found["proposal_boxes"], [0, 3], atol=1e-6)
    np.testing.assert_allclose(found["boxes"], [0, 2], atol=1e-6)


def test_boxes_by_hand():
    """Half a unit and two units off: half the square, and the absolute value less a half; of the box's own class. The
    proposal's errors are squared up to a ninth."""
    boxes = np.zeros((1, 3, 8), "float32")
    boxes[0, 0] = [9, 9, 9, 9, 0.5, 0, -2, 0]
    deltas = np.zeros((1, 2, 2, 4), "float32")
    deltas[0, 0, 0] = [0.05, 0, 0, 1]
    found = TERMS({}, outputs(roi_boxes=boxes, p2_boxes=deltas))
    np.testing.assert_allclose(float(found["boxes"][0][0]), 0.125 + 1.5, rtol=1e-5)
    np.testing.assert_allclose(float(found["proposal_boxes"][0][0]), 0.5 * 0.05**2 * 9 + 1 - 1 / 18, rtol=1e-5)


def test_an_image_without_objects_learns_background_alone():
    """Losses are finite, and no gradient reaches boxes."""
    empty = outputs(
        anchor_state=np.int32([[0, 0, -1, 0]]),
        anchor_boxes=np.zeros((1, 4, 4), "float32"),
        roi_labels=np.int32([[0, 0, -1]]),
        roi_targets=np.zeros((1, 3, 4), "float32"),
    )
    learnt = ("p2_classes", "p2_boxes", "roi_classes", "roi_boxes")

    def total(given):
        return sum(keras.ops.sum(sums) for sums, _ in TERMS({}, empty | given).values()), None

    (value, _), gradient = with_gradient(total)({name: keras.ops.convert_to_tensor(empty[name]) for name in learnt})
    assert np.isfinite(float(value))
    for name, slope in gradient.items():
        assert np.isfinite(np.asarray(slope)).all() and np.asarray(slope).any() == name.endswith("classes"), name


def test_mask_rcnn_adds_the_mean_over_masks():
    """A box of class 1, whose mask is half right, and padding."""
    logits = np.zeros((1, 2, 2, 2, 2), "float32")
    logits[0, 0, :, :, 1] = [[3, 3], [-3, -3]]
    logits[0, 1] = 9
    truth = {"mask_labels": np.int32([[1, -1]]), "mask_targets": np.float32([[[[1, 0], [1, 0]], [[1, 1], [1, 1]]]])}
    given = {**outputs(), **truth, "masks": logits}
    found = mask_rcnn.mask_rcnn_loss(MaskedBoxes(CODEC, MaskCodec(2)))({}, given)
    assert found.keys() == mask_rcnn.WEIGHTS.keys()
    total, count = (float(one[0]) for one in found["mask"])
    right, wrong = np.logaddexp(0, [-3, 3])
    np.testing.assert_allclose([total, count], [(right + wrong) / 2, 1], rtol=1e-5)
    for name, pair in faster_rcnn_loss(CODEC)({}, given).items():
        np.testing.assert_array_equal(pair, found[name])
