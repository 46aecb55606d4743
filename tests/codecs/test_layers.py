"""The layers around codecs: what they say in a graph, and how they are stored."""

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.layers import Decode, DecodeMasks, Levels, Odds, Rois, Vote
from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.layers.suppress import Suppress
from kerastransfer.tasks.suppression import suppress

SIDE = 320
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (280, 250))
LEVELS = (("p3", 8, (0, 1, 2)), ("p4", 16, (3, 4, 5)), ("p5", 32, (6, 7, 8)))
CODEC = YoloV3Codec(1, ANCHORS, LEVELS, ratio=4.0, reach=0.5, sway=2.0)


def perfect(boxes):
    """Raw maps in which every candidate that learns one of the boxes (N, 4) predicts it: scores 0.99 of the first to
    0.5 of the last."""
    grids = [(SIDE // stride, SIDE // stride) for _, stride, _ in LEVELS]
    targets = CODEC.encode(ops.convert_to_tensor(boxes[None]), np.zeros((1, len(boxes)), "int32"), grids)
    targets = {name: np.array(value) for name, value in targets.items()}
    own = np.abs(targets["boxes"][0][:, None] - boxes[None]).max(-1).argmin(-1)  # (A,): which box each learns
    score = np.where(targets["state"][0] > 0, np.linspace(0.99, 0.5, len(boxes))[own], 1e-6)
    priors = CODEC.priors(grids)
    wanted = np.array(CODEC.parameters(targets["boxes"], priors))[0]
    xy = np.clip(wanted[:, :2], 1e-4, 1 - 1e-4)
    logit = np.log(score / (1 - score))
    rows = np.concatenate([np.log(xy / (1 - xy)), wanted[:, 2:], logit[:, None], np.full((len(own), 1), 20.0)], -1)
    rows = np.where(targets["state"][0][:, None] > 0, rows, [0, 0, 0, 0, -14, 20]).astype("float32")
    maps, first = {}, 0
    for (name, _, mask), (height, width) in zip(LEVELS, grids, strict=True):
        count = height * width * len(mask)
        maps[name] = rows[first : first + count].reshape(1, height, width, -1)
        first += count
    return maps


@pytest.mark.slow
def test_a_perfect_network_finds_every_one_of_a_hundred_objects():
    """Each is learnt by some thirty candidates: 1000 of them were a third of what is there."""
    y, x = (axis.ravel() for axis in np.meshgrid(np.arange(10) / 10, np.arange(10) / 10, indexing="ij"))
    random = np.random.default_rng(0)
    near = np.stack([y, x], -1) + random.uniform(0.005, 0.02, (100, 2))
    boxes = np.concatenate([near, near + random.uniform(0.05, 0.075, (100, 2))], -1).astype("float32")
    raw = perfect(boxes)
    candidates = Decode(CODEC)(raw)
    assert (np.array(candidates["scores"]) > 0.001).sum() > 1500
    found = Suppress(0.5, 0.001, 100, numbered=True)(candidates)
    assert int(found["count"][0]) == 100
    distance = np.abs(np.array(found["boxes"])[0][:, None] - boxes).max(-1)
    assert len(set(distance.argmin(1))) == 100 and distance.min(1).max() < 0.002
    chosen, _ = suppress(np.array(candidates["boxes"])[0], np.array(candidates["scores"])[0], 0.001, 0.5, 100)
    np.testing.assert_array_equal(np.array(found["candidates"])[0], chosen)


def test_levels_are_those_of_the_grids_that_found_the_boxes():
    counts = [3 * (SIDE // stride) ** 2 for _, stride, _ in LEVELS]
    candidates = np.array([[0, counts[0] - 1, counts[0], counts[0] + counts[1] - 1, counts[0] + counts[1], 0]], "int32")
    boxes = np.array([[[0, 0, 1, 1]] * 5 + [[0, 0, 0.1, 0.1]]], "float32")
    raw = {name: np.zeros((1, SIDE // stride, SIDE // stride, 18), "float32") for name, stride, _ in LEVELS}
    found = {"boxes": boxes, "candidates": candidates}
    np.testing.assert_array_equal(Levels(CODEC)(found, raw), [[0, 0, 1, 1, 2, 0]])
    np.testing.assert_array_equal(Levels(CODEC, "fpn")(found, raw), [[1, 1, 1, 1, 1, 0]])  # 320 pixels: level 4


@pytest.mark.parametrize(
    "layer",
    [
        Decode(CODEC, name="one"),
        Levels(CODEC, "fpn", name="one"),
        Rois(CODEC, MaskCodec(most=7), seed=5, name="one"),
        DecodeMasks(MaskCodec(mask_size=14), name="one"),
        Vote(YoloV1Codec(2), 4, 8, (32, 48), merge=True, name="one"),
        Odds([0.5, 2.0], name="one"),
        Suppress(0.4, 0.1, 9, numbered=True, name="one"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_layer_is_stored_whole(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    for name in getattr(layer, "HOLDS", ()):
        assert getattr(again, name) == getattr(layer, name)


@pytest.mark.parametrize("rule", ["scale", "fpn"])
def test_proposals_are_pooled_from_the_map_that_found_them(rule):
    """A truth from the one that learns its shape; here 32 pixels, and the proposal of it is found on p5."""
    box = np.array([[[0.1, 0.1, 0.2, 0.2]]], "float32")
    truth = {
        "boxes": box,
        "labels": np.zeros((1, 1), "int32"),
        "masks": np.full((1, 1, 8, 8), 255, "uint8"),
        "frames": box,
    }
    raw = {name: np.zeros((1, SIDE // stride, SIDE // stride, 18), "float32") for name, stride, _ in LEVELS}
    candidates = np.array([[3 * (40**2 + 20**2) + 4]], "int32")
    levels = Levels(CODEC, rule)({"boxes": box, "candidates": candidates}, raw)
    rois = Rois(CODEC, MaskCodec(mask_size=4, level=rule))(truth, box, levels, raw)
    assert np.array(rois["levels"]).tolist() == {"scale": [[0, 2]], "fpn": [[0, 0]]}[rule]


@pytest.mark.parametrize("layer", [Vote(YoloV1Codec(2), 4, 8, (32, 48)), Odds([0.5])], ids=["Vote", "Odds"])
def test_layers_in_files_of_version_0_1_are_found(layer):
    """They were in `models.dense` then."""
    stored = keras.saving.serialize_keras_object(layer) | {"module": "kerastransfer.models.dense"}
    assert stored["registered_name"] == f"kerastransfer>{type(layer).__name__}"
    assert type(keras.saving.deserialize_keras_object(stored)) is type(layer)


def test_odds_of_a_poor_detector():
    """Its votes and thresholds are tiny, and the rule is the same: above the threshold, the furthest by ratio."""
    from kerastransfer.codecs.layers import Odds
    from kerastransfer.codecs.votes import classes_by_votes

    thresholds = [1e-7, 1e-4]
    votes = np.array([[[0.0, 0.0], [-1e-10, 3e-4], [2e-7, 0.0], [4e-7, 2e-4]]], np.float32)
    logits = np.array(Odds(thresholds)(votes[None]))[0]
    np.testing.assert_array_equal(logits.argmax(-1), classes_by_votes(votes, thresholds))
    np.testing.assert_array_equal(logits.argmax(-1), [[0, 2, 1, 1]])
