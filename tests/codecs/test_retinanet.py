import json

import detection_references as references
import keras
import numpy as np
from keras import ops

from kerastransfer.codecs.retinanet import AnchorCodec, retinanet_codec

LEVELS = (("p3", 8), ("p4", 16))
# A map of 64 x 48 pixels, and one that reaches beyond it.
GRIDS = [(8, 6), (4, 3)]
CODEC = retinanet_codec(3, LEVELS, size=1.5)


def raw(deltas, logits):
    """Raw maps of (B, A, 4) and (B, A, 3)."""
    maps, first = {}, 0
    for (name, _), (rows, columns) in zip(LEVELS, GRIDS, strict=True):
        last = first + rows * columns * 9
        for kind, values in (("boxes", deltas), ("classes", logits)):
            maps[f"{name}_{kind}"] = np.reshape(values[:, first:last], (len(values), rows, columns, -1))
        first = last
    return maps


def test_decode_inverts_encode():
    boxes = np.float32([[[0.1, 0.2, 0.5, 0.9], [0.55, 0.1, 0.8, 0.5], [0, 0, 0, 0]]])
    targets = CODEC.encode(boxes, np.int32([[2, 0, -1]]), GRIDS)
    state = np.asarray(targets["state"])
    anchors = CODEC.anchors(GRIDS)
    deltas = CODEC.deltas(ops.where(ops.expand_dims(state == 1, -1), targets["boxes"], anchors), anchors)
    logits = np.where(state[..., None] == 1, np.eye(3)[np.asarray(targets["labels"])], 0) * 40 - 20
    found, scores = CODEC.decode(raw(np.asarray(deltas), logits.astype("float32")))
    for box, label in zip(boxes[0, :2], (2, 0), strict=True):
        learnt = (state[0] == 1) & (np.asarray(targets["labels"])[0] == label)
        assert learnt.any()
        np.testing.assert_allclose(np.asarray(found)[0, learnt], np.tile(box, (learnt.sum(), 1)), atol=1e-5)
        np.testing.assert_allclose(np.asarray(scores)[0, learnt, label], 1, atol=1e-5)
    assert np.asarray(scores)[0, state[0] != 1].max() < 1e-6


def test_places_of_anchors_by_hand():
    """The first cell of a level is its first stride x stride pixels, also where the map reaches beyond the image."""
    anchors = np.asarray(CODEC.anchors([(8, 6), (5, 3)])) * [64, 48, 64, 48]
    middles = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_allclose(middles[[0, 9, 6 * 9, 8 * 6 * 9]], [[4, 4], [4, 12], [12, 4], [8, 8]], rtol=1e-6)
    np.testing.assert_allclose(middles[-1], [72, 40], rtol=1e-6)


def test_deltas_are_those_of_torchvision():
    boxes, anchors, wild = references.deltas_inputs().values()
    expected = references.expected("deltas")
    np.testing.assert_allclose(np.asarray(CODEC.deltas(boxes, anchors)), expected["deltas"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.asarray(CODEC.corners(wild, anchors)), expected["corners"], rtol=1e-4, atol=1e-3)


def test_an_image_without_objects_is_all_background():
    targets = CODEC.encode(np.zeros((2, 3, 4), "float32"), np.full((2, 3), -1, "int32"), GRIDS)
    assert np.asarray(targets["state"]).shape == (2, (48 + 12) * 9) and not np.asarray(targets["state"]).any()


def test_it_is_stored_with_a_model():
    stored = keras.saving.serialize_keras_object(CODEC)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(stored)))
    assert again == CODEC and isinstance(again, AnchorCodec)


def test_which_outputs_are_classes():
    np.testing.assert_array_equal(CODEC.class_places("classes", 6), [[0, 1, 2], [3, 4, 5]])
    assert CODEC.class_places("boxes", 12).shape == (0, 3)
