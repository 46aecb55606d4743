import keras
import numpy as np
import pytest
from harness import compiled
from keras import ops

from kerastransfer.codecs.labelenc import LabelMap, label_map, random_factors

SIZE = (12, 16)
PIXELS = np.float32([12, 16, 12, 16])


def drawn(boxes, labels, num_classes=2, size=SIZE, **options):
    """Of boxes in pixels, of one image."""
    boxes = np.float32([boxes]).reshape(1, -1, 4) / np.float32([*size, *size])
    return np.asarray(label_map(boxes, np.int32([labels]), num_classes, size, **options))[0]


def by_hand(box, size=SIZE):
    """The values of a box, pixel by pixel."""
    y1, x1, y2, x2 = box
    values = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            away = max(abs(y - (y1 + y2) / 2) / (y2 - y1), abs(x - (x1 + x2) / 2) / (x2 - x1))
            values[y, x] = 1 - away if away <= 0.5 else 0
    return values


def test_a_box_by_hand():
    """4 x 8 pixels around (4, 6): 1 there, 3/4 a quarter of a side away, 1/2 at the border, nothing outside."""
    found = drawn([[2, 2, 6, 10]], [1])
    assert not found[..., 0].any()
    row = [0, 0, *(0.5 + 0.125 * np.array([0, 1, 2, 3, 4, 3, 2, 1, 0])), *[0] * 5]
    np.testing.assert_allclose(found[4, :, 1], row, atol=1e-6)
    np.testing.assert_allclose(found[:, 6, 1], [0, 0, 0.5, 0.75, 1, 0.75, 0.5, *[0] * 5], atol=1e-6)
    # The larger distance counts.
    np.testing.assert_allclose([found[3, 3, 1], found[2, 6, 1]], [0.625, 0.5], atol=1e-6)
    np.testing.assert_allclose(found[..., 1], by_hand((2, 2, 6, 10)), atol=1e-6)


def test_boxes_of_a_class_overlap_as_their_maximum():
    """More of them than are drawn at a time."""
    random = np.random.default_rng(0)
    near = random.uniform(0, 8, (45, 2))
    boxes = np.concatenate([near, near + random.uniform(2, 7, (45, 2))], axis=1)
    labels = np.arange(45) % 3
    found = drawn(boxes, labels, num_classes=3)
    for label in range(3):
        expected = np.max([by_hand(box) for box in boxes[labels == label]], axis=0)
        # At a border, rounding decides.
        clear = np.abs(expected - 0.5) > 1e-4
        np.testing.assert_allclose(found[..., label][clear], expected[clear], atol=1e-5)


def test_what_is_left_out():
    """Padding, boxes without area, and classes that the map does not have."""
    boxes = [[0, 0, 0, 0], [3, 3, 3, 9], [9, 9, 2, 2], [2, 2, 6, 10], [2, 2, 6, 10]]
    assert not drawn(boxes, [-1, 0, 1, 2, -1]).any()


def test_factors_scale_the_values_of_a_box():
    boxes = [[2, 2, 6, 10], [1, 1, 9, 9]]
    found = drawn(boxes, [0, 1], factors=np.float32([[0.25, 1]]))
    np.testing.assert_allclose(found[..., 0], 0.25 * by_hand(boxes[0]), atol=1e-6)
    np.testing.assert_allclose(found[..., 1], by_hand(boxes[1]), atol=1e-6)


def test_half_of_the_factors_are_one():
    factors = np.asarray(random_factors(np.zeros((100, 100), "int32"), keras.random.SeedGenerator(0)))
    assert np.mean(factors == 1) == pytest.approx(0.5, abs=0.02) and factors.mean() == pytest.approx(0.75, abs=0.01)
    assert factors.min() >= 0 and np.quantile(factors[factors < 1], 0.5) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("mirrored", [False, True])
def test_masks_cut_the_values(mirrored):
    """The left half of an object, as a crop over its frame; in a mirrored image the frame is inside out."""
    crop = np.zeros((1, 1, 8, 8), "uint8")
    crop[..., :4] = 255
    frame = np.float32([[[2, 2, 10, 10]]]) / PIXELS
    if mirrored:
        frame = frame[..., [0, 3, 2, 1]]
    found = drawn([[2, 2, 10, 10]], [0], masks=crop, frames=frame)[..., 0]
    expected = by_hand((2, 2, 10, 10))
    left, right = (slice(2, 6), slice(6, 10)) if not mirrored else (slice(7, 10), slice(2, 6))
    np.testing.assert_allclose(found[2:10, left], expected[2:10, left], atol=1e-6)
    assert not found[2:10, right].any() and found[2:10, left].all()


def test_compiled_equals_eager():
    boxes = np.float32([[[0.1, 0.2, 0.6, 0.9], [0.3, 0.1, 0.5, 0.4], [0, 0, 0, 0]]] * 2)
    labels = np.int32([[1, 0, -1], [-1, 1, 1]])
    expected = np.asarray(label_map(boxes, labels, 2, (24, 32)))
    found = compiled(lambda boxes, labels: label_map(boxes, labels, 2, (24, 32)))(
        ops.convert_to_tensor(boxes), ops.convert_to_tensor(labels)
    )
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)


def test_factors_are_drawn_only_in_training():
    layer = LabelMap(2, vary=True, seed=1)
    given = {"boxes": np.float32([[[2, 2, 6, 10]]]) / PIXELS, "labels": np.int32([[1]])}
    image = np.zeros((1, *SIZE, 3), "float32")
    assert np.asarray(layer(given, image)).max() == 1
    peaks = {float(np.asarray(layer(given, image, training=True)).max()) for _ in range(8)}
    assert len(peaks) > 2 and max(peaks) <= 1
    assert np.asarray(LabelMap(2)(given, image, training=True)).max() == 1
