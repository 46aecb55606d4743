import numpy as np
import pytest

from kerastransfer.tasks.metadata import Metadata, Thresholds
from kerastransfer.tasks.prediction import Segmentation, classes_at, interpret, run_lengths, suppress

BOXES = np.array(
    [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.2], [0.6, 0.6, 1.0, 1.0]], np.float32
)  # of the first: the second shares 0.8, the third 0.4; the fourth lies apart


def test_suppression_by_hand():
    scores = np.array([[0.9, 0.0], [0.8, 0.75], [0.7, 0.0], [0.3, 0.1]], np.float32)
    chosen, labels = suppress(BOXES, scores, score=0.2, iou=0.5, detections=10)
    # Class 0: box 1 goes, overlapped by box 0; class 1 knows nothing of box 0, so box 1 stays there.
    assert list(zip(chosen, labels, strict=True)) == [(0, 0), (1, 1), (2, 0), (3, 0)]


def test_a_suppressed_box_suppresses_nothing():
    boxes = np.array([[0, 0, 1, 0.5], [0, 0.2, 1, 0.7], [0, 0.4, 1, 0.9]], np.float32)  # neighbours share 3/7
    chosen, _ = suppress(boxes, np.array([[0.9], [0.8], [0.7]]), score=0.1, iou=0.4, detections=10)
    assert list(chosen) == [0, 2]


def test_the_best_are_kept_over_all_classes():
    random = np.random.default_rng(0)
    corner = random.uniform(0, 0.9, (50, 2))
    boxes = np.concatenate([corner, corner + 0.01], axis=-1)
    scores = random.uniform(size=(50, 4))
    chosen, labels = suppress(boxes, scores, score=0.0, iou=0.99, detections=7)
    np.testing.assert_allclose(scores[chosen, labels], np.sort(scores.ravel())[::-1][:7])


def test_suppression_agrees_with_the_one_in_the_graph():
    from kerastransfer.ops.nms import non_max_suppression

    random = np.random.default_rng(1)
    corner = random.uniform(0, 0.8, (60, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0.1, 0.2, (60, 2))], axis=-1).astype(np.float32)
    scores = random.uniform(size=(60, 2)).astype(np.float32)
    chosen, labels = suppress(boxes, scores, score=0.4, iou=0.3, detections=20)
    graph = non_max_suppression(boxes[None], scores[None], iou_threshold=0.3, score_threshold=0.4, max_detections=20)
    count = int(graph["count"][0])
    assert count == len(chosen) > 5
    np.testing.assert_array_equal(np.asarray(graph["boxes"])[0, :count], boxes[chosen])
    np.testing.assert_array_equal(np.asarray(graph["labels"])[0, :count], labels)


def test_boxes_in_pixels_and_in_words():
    metadata = Metadata("detection", ("cat", "dog"), (64, 64))
    outputs = {"boxes": BOXES * 2 - 0.1, "scores": np.array([[0.0, 0.9], [0, 0], [0, 0], [0.6, 0]], np.float32)}
    found = interpret(outputs, metadata, (100, 200), Thresholds())
    assert found.names == ("dog", "cat")
    np.testing.assert_allclose(found.pixel_boxes[0], [0, 0, 90, 180], rtol=1e-6)
    assert found.boxes.max() <= 1, "a box ends where the image ends"
    assert found.summary()[0] == {"label": "dog", "score": pytest.approx(0.9), "box": pytest.approx([0, 0, 90, 180])}


def test_nothing_found():
    outputs = {"boxes": BOXES, "scores": np.zeros((4, 2), np.float32)}
    found = interpret(outputs, Metadata("detection", ("cat", "dog"), (64, 64)), (10, 10), Thresholds())
    assert found.boxes.shape == (0, 4)
    assert found.summary() == []


def test_classes_are_those_of_scaled_probabilities():
    import tensorflow as tf

    probabilities = np.random.default_rng(2).dirichlet(np.ones(4), (7, 9)).astype(np.float32)
    for size in ((30, 50), (7, 9), (1, 1), (3, 40)):
        scaled = tf.image.resize(probabilities, size, antialias=True).numpy()
        first, second = np.sort(scaled, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
        sure = first - second > 1e-5
        np.testing.assert_array_equal(classes_at(probabilities, size)[sure], scaled.argmax(-1)[sure])
        assert sure.mean() > 0.9


def test_shares_of_a_segmentation():
    classes = np.array([[0, 2], [2, 2]], np.uint8)
    found = Segmentation(classes, np.zeros((1, 1, 3), np.float32), ("background", "cat", "dog"))
    assert found.summary() == [{"label": "background", "fraction": 0.25}, {"label": "dog", "fraction": 0.75}]


def test_instances_by_hand():
    """Rows past `count` are nothing, thresholds apply on top, and the second cat overlaps the first by 0.8."""
    outputs = {
        "boxes": np.concatenate([BOXES, BOXES[:1]]),
        "scores": np.array([0.9, 0.8, 0.7, 0.4, 0.95], np.float32),
        "labels": np.array([0, 0, 1, 1, 0], np.float32),
        "masks": np.array([0.9, 0.9, 0.4, 0.6, 0.9], np.float32)[:, None, None] * np.ones((5, 4, 4), np.float32),
        "count": np.float32(4),
    }
    about = Metadata("instances", ("cat", "dog"), (64, 64))
    found = interpret(outputs, about, (10, 20), Thresholds(score=0.4, iou=0.9))
    assert found.names == ("cat", "cat", "dog", "dog")
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7, 0.4])
    assert found.masks.shape == (4, 10, 20)
    np.testing.assert_allclose(found.pixel_boxes[3], [6, 12, 10, 20], rtol=1e-6)
    rows, columns = np.nonzero(found.masks[3])
    # A cell is two columns wide: the box's outer ones lie at three quarters of 0.6, which is below a half.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 9, 13, 18)
    assert not found.masks[2].any(), "0.4 is below a half"
    told = found.summary()
    assert told[2]["filled"] == 0 and told[2]["mask"] == {"size": [10, 20], "counts": [200]}
    assert told[0]["filled"] == pytest.approx(found.masks[0].sum() / 50)

    stricter = interpret(outputs, about, (10, 20), Thresholds(score=0.5, iou=0.5, detections=2))
    assert stricter.names == ("cat", "dog")
    np.testing.assert_allclose(stricter.scores, [0.9, 0.7])


def test_run_lengths_are_those_of_cocos_tools():
    from faster_coco_eval.core import mask as coco

    random = np.random.default_rng(3)
    for share in (0.0, 0.3, 1.0):
        mask = random.uniform(size=(7, 5)) < share
        counted = run_lengths(mask)
        np.testing.assert_array_equal(coco.decode(coco.frPyObjects(counted, 7, 5)).astype(bool), mask)
    assert run_lengths(np.array([[True, False], [True, True]])) == {"size": [2, 2], "counts": [0, 2, 1, 1]}


# A picture of 100 x 200 in a model of 64 x 64: rows 16 to 48 are the image, and half as high as it thinks.
BOXED = {"labels": ("cat", "dog"), "image_size": (64, 64), "resize": "letterbox"}


def test_boxes_of_a_letterboxed_picture_come_back():
    boxes = np.array([[0.25, 0.1, 0.5, 0.3], [0.1, 0.5, 0.4, 1.0], [0.0, 0.0, 0.2, 1.0]], np.float32)
    scores = np.array([[0.9, 0.0], [0.0, 0.8], [0.7, 0.0]], np.float32)
    found = interpret({"boxes": boxes, "scores": scores}, Metadata("detection", **BOXED), (100, 200), Thresholds())
    assert found.names == ("cat", "dog"), "the third lies in the grey above the image"
    np.testing.assert_allclose(found.pixel_boxes, [[0, 20, 50, 60], [0, 100, 30, 200]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9, 0.8])


def test_masks_of_a_letterboxed_picture_come_back():
    """Also of a box of which the image has only the lower half: the mask is not squeezed into what is left."""
    outputs = {
        "boxes": np.array([[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 0.5, 0.5], [0.8, 0, 1, 1]], np.float32),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "labels": np.array([1, 0, 0], np.float32),
        "masks": np.stack([np.ones((8, 8)), np.repeat([0.0, 1.0], [6, 2])[:, None] * np.ones(8), np.ones((8, 8))]),
        "count": np.float32(3),
    }
    found = interpret(outputs, Metadata("instances", **BOXED), (100, 200), Thresholds())
    np.testing.assert_allclose(found.pixel_boxes, [[0, 100, 50, 200], [0, 0, 50, 100]], atol=1e-3)
    first, second = np.argwhere(found.masks[0]), np.argwhere(found.masks[1])
    np.testing.assert_array_equal([first.min(0), first.max(0)], [(0, 100), (49, 199)])
    # The box spans rows -50 to 50 of the image; the last quarter of its mask begins at 25, half a cell is soft.
    assert abs(second[:, 0].min() - 25) <= 1 and second[:, 0].max() == 49


def test_a_map_of_a_letterboxed_picture_loses_its_border():
    probabilities = np.zeros((64, 64, 2), np.float32)
    probabilities[16:48, :, 0] = probabilities[..., 1] = 0.9  # the grey is foreground, and so is the lower half
    probabilities[32:48, :, 0] = 0
    probabilities[16:32, :, 1] = 0.1
    found = interpret({"segmentation": probabilities}, Metadata("segmentation", **BOXED), (100, 200), Thresholds())
    assert found.probabilities.shape == (32, 64, 2)
    np.testing.assert_array_equal(found.segmentation, np.repeat([0, 1], 50)[:, None] * np.ones((1, 200)))
