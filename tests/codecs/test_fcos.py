import itertools
import json

import detection_references as references
import keras
import numpy as np
import pytest

from kerastransfer.codecs.fcos import FcosCodec, centerness

LEVELS = (("p3", 8), ("p4", 16))
GRIDS = [(8, 8), (4, 4)]
SIDE = 64


def codec(**options):
    return FcosCodec(3, LEVELS, (24.0,), **options)


def random_boxes(count, seed=0):
    random = np.random.default_rng(seed)
    near, sides = random.uniform(0, 44, (count, 2)), random.uniform(3, 40, (count, 2))
    return np.concatenate([near, np.minimum(near + sides, SIDE)], axis=1).astype("float32")


@pytest.mark.parametrize("options", [{}, {"radius": 1.5, "distances": "strides"}])
def test_decode_inverts_encode(options):
    own = codec(**options)
    boxes = random_boxes(5)[None] / SIDE
    targets = {name: np.asarray(value) for name, value in own.encode(boxes, np.int32([[0, 1, 2, 0, 1]]), GRIDS).items()}
    places = own.places(GRIDS)
    pixels = targets["boxes"] * SIDE
    distances = np.concatenate([np.asarray(places.at) - pixels[..., :2], pixels[..., 2:] - np.asarray(places.at)], -1)
    learnt = targets["state"] == 1
    assert learnt.sum() > 5
    stride = np.asarray(places.stride)
    numbers = np.log(np.maximum(distances, 1e-9)) if not options else distances / stride
    found = np.asarray(own.corners(numbers.astype("float32"), places))
    np.testing.assert_allclose(found[learnt], targets["boxes"][learnt], atol=1e-5)


def by_hand(boxes, at, stride, low, high, radius):
    """The number of the object that a place learns, or None."""
    best, smallest = None, np.inf
    for number, box in enumerate(boxes):
        distances = [at[0] - box[0], at[1] - box[1], box[2] - at[0], box[3] - at[1]]
        if min(distances) <= 0 or not low <= max(distances) <= high:
            continue
        middle = (box[:2] + box[2:]) / 2
        if radius and max(abs(at[0] - middle[0]), abs(at[1] - middle[1])) >= radius * stride:
            continue
        area = (box[2] - box[0]) * (box[3] - box[1])
        if area < smallest:
            best, smallest = number, area
    return best


@pytest.mark.parametrize("radius", [0.0, 1.5])
def test_equals_a_loop(radius):
    """Of more objects than are looked at at a time."""
    own, boxes = codec(radius=radius), random_boxes(40)
    targets = own.encode(boxes[None] / SIDE, np.arange(40, dtype="int32")[None] % 3, GRIDS)
    state, learnt = np.asarray(targets["state"])[0], np.asarray(targets["boxes"])[0] * SIDE
    number = 0
    for (rows, columns), stride, (low, high) in zip(GRIDS, (8, 16), ((-1, 24), (24, np.inf)), strict=True):
        for y, x in itertools.product(range(rows), range(columns)):
            at = y * stride + stride // 2, x * stride + stride // 2
            wanted = by_hand(boxes, at, stride, low, high, radius)
            assert state[number] == (wanted is not None)
            if wanted is not None:
                np.testing.assert_allclose(learnt[number], boxes[wanted], atol=1e-4)
            number += 1
    assert number == len(state) and 10 < state.sum() < number


def test_targets_are_those_of_torchvision():
    """It learns near the centre, as the improved version; its bounds of the levels are 4 and 8 strides."""
    boxes, places = references.fcos_targets_inputs().values()
    own = FcosCodec(12, LEVELS, (64.0,), radius=1.5)
    found = own.places(GRIDS)
    np.testing.assert_allclose(np.concatenate([found.at, found.stride], axis=1), places)
    targets = own.encode(boxes[None] / SIDE, np.arange(12, dtype="int32")[None], GRIDS)
    expected = references.expected("fcos_targets")["objects"]
    state, labels = np.asarray(targets["state"])[0], np.asarray(targets["labels"])[0]
    # The last level has no upper bound here, and one of 128 pixels there; no object is that large.
    np.testing.assert_array_equal(np.where(state == 1, labels, -1), expected)
    assert (expected >= 0).sum() > 10


def test_centerness_by_hand():
    got = np.asarray(centerness(np.float32([[2, 3, 2, 3], [1, 1, 4, 1], [0, 5, 3, 5], [1, 1, 4, 9]])))
    np.testing.assert_allclose(got, [1, 0.5, 0, np.sqrt(1 / 4 * 1 / 9)], atol=1e-6)


def test_scores_are_the_square_root_of_the_product():
    own = codec()
    maps = {
        f"{name}_{kind}": np.zeros((1, side, side, depth), "float32")
        for name, side in (("p3", 8), ("p4", 4))
        for kind, depth in (("classes", 3), ("boxes", 4), ("centerness", 1))
    }
    maps["p3_classes"] += np.float32(np.log(4))
    boxes, scores = own.decode(maps)
    np.testing.assert_allclose(np.asarray(scores)[0, 0], np.full(3, np.sqrt(0.8 * 0.5)), rtol=1e-6)
    # A place in the middle of its cell, one pixel in each direction.
    np.testing.assert_allclose(np.asarray(boxes)[0, 0], np.float32([3, 3, 5, 5]) / SIDE, atol=1e-6)


def test_an_image_without_objects_learns_nothing():
    targets = codec().encode(np.zeros((2, 3, 4), "float32"), np.full((2, 3), -1, "int32"), GRIDS)
    assert not np.asarray(targets["state"]).any() and not np.asarray(targets["centerness"]).any()


def test_it_is_stored_with_a_model():
    own = codec(radius=1.5, distances="strides")
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(own)))
    assert keras.saving.deserialize_keras_object(stored) == own


@pytest.mark.parametrize("options", [{"limits": (1.0, 2.0)}, {"distances": "root"}])
def test_fields_that_do_not_fit(options):
    with pytest.raises(ValueError, match=r"2 limits for 2 levels|distances 'root'"):
        FcosCodec(3, LEVELS, **{"limits": (24.0,), **options})
