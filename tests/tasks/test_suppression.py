import numpy as np

from kerastransfer.tasks.suppression import suppress

# The second box shares 0.8 of the first, the third 0.4; the fourth lies apart.
BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.2], [0.6, 0.6, 1.0, 1.0]], np.float32)


def test_suppression_by_hand():
    scores = np.array([[0.9, 0.0], [0.8, 0.75], [0.7, 0.0], [0.3, 0.1]], np.float32)
    chosen, labels = suppress(BOXES, scores, score=0.2, iou=0.5, detections=10)
    # In class 0, box 1 goes, overlapped by box 0; class 1 ignores box 0, so box 1 stays there.
    assert list(zip(chosen, labels, strict=True)) == [(0, 0), (1, 1), (2, 0), (3, 0)]


def test_a_suppressed_box_suppresses_nothing():
    # Neighbours share 3/7.
    boxes = np.array([[0, 0, 1, 0.5], [0, 0.2, 1, 0.7], [0, 0.4, 1, 0.9]], np.float32)
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


def test_no_boxes():
    chosen, labels = suppress(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32), 0.1, 0.5, 10)
    assert chosen.shape == labels.shape == (0,)
