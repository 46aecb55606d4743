import json

import keras
import numpy as np
import pytest

from kerastransfer.codecs.faster_rcnn import AnchorTargets, BoxTargets, Candidates, FasterRcnnCodec, PyramidLevels
from kerastransfer.codecs.retinanet import AnchorCodec
from kerastransfer.models.faster_rcnn import faster_rcnn_codec

FIRST = AnchorCodec(1, (("p2", 4), ("p3", 8)), (((16, 16), (8, 24)),) * 2, 0.3, 0.7, True, (1, 1, 1, 1))
CODEC = FasterRcnnCodec(3, FIRST)
SIDES = {"p2": 8, "p3": 4}
BOXES = np.float32([[[0.1, 0.2, 0.5, 0.6], [0.4, 0.1, 0.9, 0.9], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 3])
LABELS = np.int32([[2, 0, -1], [-1, -1, -1]])
TRUTH = {"boxes": BOXES, "labels": LABELS}


def raw(seed=0):
    random = np.random.default_rng(seed)
    channels = {"classes": 2, "boxes": 8}
    return {
        f"{level}_{kind}": random.normal(0, 1, (2, side, side, depth)).astype("float32")
        for level, side in SIDES.items()
        for kind, depth in channels.items()
    }


def test_decode_inverts_deltas():
    """Each proposal says where the object of each class would be; its scores are those of a softmax without background,
    and padding has none."""
    rois = np.float32([[[0.1, 0.1, 0.5, 0.4], [0.3, 0.2, 0.9, 0.8], [0, 0, 0, 0]]])
    wanted = np.float32(
        [[[0.15, 0.1, 0.5, 0.45], [0.1, 0.05, 0.6, 0.5], [0.2, 0.2, 0.4, 0.4]]] * 2 + [[[0, 0, 1, 1]] * 3]
    )
    safe = np.where(rois[0].any(-1)[:, None, None], rois[0][:, None], np.float32([0, 0, 1, 1]))
    deltas = np.asarray(CODEC.deltas(wanted, safe)).reshape(1, 3, 12)
    logits = np.float32([[[0, 1, 2, 3], [5, 0, 0, 0], [0, 9, 0, 0]]])
    boxes, scores = (np.asarray(one) for one in CODEC.decode({"rois": rois, "classes": logits, "boxes": deltas}))
    np.testing.assert_allclose(boxes[0, :6], wanted[:2].reshape(6, 4), atol=1e-5)
    assert scores.shape == (1, 9, 3)
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    for roi in range(2):
        for kind in range(3):
            np.testing.assert_allclose(scores[0, 3 * roi + kind], shares[roi, 1 + kind] * np.eye(3)[kind], atol=1e-6)
    assert not scores[0, 6:].any()


def test_the_best_anchors_are_candidates():
    boxes, scores = (np.asarray(one) for one in FIRST.decode(raw()))
    found = Candidates(FIRST, 20)(raw())
    order = np.argsort(-scores[..., 0], axis=1)[:, :20]
    np.testing.assert_allclose(np.asarray(found["scores"])[..., 0], np.take_along_axis(scores[..., 0], order, 1))
    np.testing.assert_allclose(np.asarray(found["boxes"]), np.take_along_axis(boxes, order[..., None], 1))
    assert Candidates(FIRST, 1000)(raw())["boxes"].shape == (2, 2 * (64 + 16), 4)


def test_anchors_learn_objects_of_all_classes():
    full = FIRST.encode(BOXES, np.minimum(LABELS, 0), FIRST.grids(raw()))
    found = AnchorTargets(FIRST, most=40, seed=0)(TRUTH, raw())
    state, whole = np.asarray(found["state"]), np.asarray(full["state"])
    assert (state == 1).sum() == min((whole[0] == 1).sum(), 20) > 0 and not (state[1] == 1).any()
    np.testing.assert_array_equal(state[state >= 0], whole[state >= 0])
    assert ((state >= 0).sum(1) == 40).all()
    np.testing.assert_allclose(np.asarray(found["boxes"]), np.asarray(full["boxes"]))


def test_boxes_learn_true_ones_and_proposals():
    """Proposals that overlap an object learn it; others, and those of images without objects, are background."""
    near = BOXES[:, :2] + np.float32([0.01, -0.01, 0.02, 0.0])
    far = np.float32([[[0.8, 0.0, 1.0, 0.1], [0, 0, 0, 0]]] * 2)
    layer = BoxTargets(CODEC, most=16, seed=0)
    found = {name: np.asarray(value) for name, value in layer(TRUTH, np.concatenate([near, far], axis=1)).items()}
    rois, labels = found["rois"], found["labels"]
    # Two true boxes and two near ones; a quarter of 16 are four.
    assert sorted(labels[0][labels[0] >= 0].tolist()) == [0, 1, 1, 3, 3]
    for roi, label, target in zip(rois[0], labels[0], found["targets"][0], strict=True):
        if label > 0:
            np.testing.assert_allclose(target, BOXES[0, 0 if label == 3 else 1])
            assert np.abs(roi - target).max() < 0.03
        elif label == 0:
            np.testing.assert_allclose(roi, far[0, 0])
    assert set(labels[1].tolist()) == {0, -1} and not rois[1][labels[1] < 0].any()


def test_boxes_of_no_area_are_learnt_by_nothing():
    """Neither by anchors nor as boxes of the second stage: a point and two lines, each with a class."""
    flat = np.float32([[[0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.1, 0.8], [0.2, 0.6, 0.9, 0.6]]])
    truth = {"boxes": flat, "labels": np.int32([[1, 0, 2]])}
    one = {name: value[:1] for name, value in raw().items()}
    anchors = {name: np.asarray(value) for name, value in AnchorTargets(FIRST, most=40, seed=0)(truth, one).items()}
    assert not (anchors["state"] == 1).any() and np.isfinite(anchors["boxes"]).all()
    found = BoxTargets(CODEC, most=16, seed=0)(truth, np.float32([[[0.2, 0.2, 0.5, 0.5], [0.3, 0.3, 0.3, 0.3]]]))
    assert sorted(np.asarray(found["labels"])[0].tolist()) == [-1, -1, -1, -1, 0]


def test_proposals_that_are_all_suppressed():
    """Zeros alone: true boxes are all that is learnt, without any nothing is, and nothing is found."""
    nothing = np.zeros((2, 6, 4), "float32")
    found = {name: np.asarray(value) for name, value in BoxTargets(CODEC, most=16, seed=0)(TRUTH, nothing).items()}
    assert sorted(found["labels"][0].tolist()) == [-1] * 7 + [1, 3] and (found["labels"][1] == -1).all()
    assert not found["rois"][found["labels"] < 0].any()
    said = {"rois": nothing, "classes": np.ones((2, 6, 4), "float32"), "boxes": np.ones((2, 6, 12), "float32")}
    boxes, scores = (np.asarray(one) for one in CODEC.decode(said))
    assert np.isfinite(boxes).all() and not scores.any()


def test_the_map_of_a_box_follows_its_area():
    """Of an image of 448 pixels: 224 are level 4, the third map; half of them the second one."""
    boxes = np.float32([[[0, 0, 0.5, 0.5], [0, 0, 0.25, 0.25], [0, 0, 1, 1], [0, 0, 0.05, 0.05]]])
    levels = PyramidLevels(CODEC)(boxes, np.zeros((1, 448, 448, 3), "float32"))
    np.testing.assert_array_equal(np.asarray(levels), [[2, 1, 3, 0]])


def test_it_is_stored_with_a_model():
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(CODEC)))
    assert keras.saving.deserialize_keras_object(stored) == CODEC


def test_anchors_have_32_to_512_pixels():
    shapes = faster_rcnn_codec(2).proposals.shapes
    assert [own[1] for own in shapes] == [(side, side) for side in (32, 64, 128, 256, 512)]
    assert [height / width for height, width in shapes[0]] == pytest.approx([0.5, 1, 2])
