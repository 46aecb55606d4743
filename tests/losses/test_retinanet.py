import keras
import numpy as np
import pytest
from harness import compiled, with_gradient

from kerastransfer.codecs.fcos import FcosCodec
from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.losses import fcos, retinanet

LEVELS = (("p3", 8), ("p4", 16))
SIDES = {"p3": 8, "p4": 4}
ANCHORS = retinanet_codec(3, LEVELS, size=2.0)
PLACES = FcosCodec(3, LEVELS, (32.0,))
BOXES = np.float32([[[0.1, 0.2, 0.5, 0.6], [0.4, 0.1, 0.9, 0.9], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 3])
LABELS = np.int32([[2, 0, -1], [-1, -1, -1]])
TRUTH = {"boxes": BOXES, "labels": LABELS}


def raw(channels, seed=0):
    """{"p3_boxes": ..., ...}: random maps of an image of 64 x 64."""
    random = np.random.default_rng(seed)
    return {
        f"{level}_{kind}": random.normal(0, 0.5, (2, side, side, depth)).astype("float32")
        for level, side in SIDES.items()
        for kind, depth in channels.items()
    }


RETINANET = {"classes": 27, "boxes": 36}
FCOS = {"classes": 3, "boxes": 4, "centerness": 1}
LOSSES = {
    "retinanet": (retinanet.retinanet_loss(ANCHORS), RETINANET, retinanet.WEIGHTS),
    "retinanet, giou": (retinanet.retinanet_loss(ANCHORS, "giou"), RETINANET, retinanet.WEIGHTS),
    "fcos": (fcos.fcos_loss(PLACES, "iou"), FCOS, fcos.WEIGHTS),
    "fcos, giou": (fcos.fcos_loss(PLACES), FCOS, fcos.WEIGHTS),
}
EACH = pytest.mark.parametrize(("terms", "channels", "weights"), LOSSES.values(), ids=LOSSES)


@EACH
def test_images_without_objects_learn_background_alone(terms, channels, weights):
    """Its loss is finite, and its gradient comes from the classes."""
    maps = {name: keras.ops.convert_to_tensor(value[1:]) for name, value in raw(channels).items()}
    truth = {name: value[1:] for name, value in TRUTH.items()}

    def total(maps):
        found = terms(truth, maps)
        assert found.keys() == weights.keys()
        return sum(keras.ops.sum(sums) for sums, _ in found.values()), found

    (value, found), gradient = with_gradient(total)(maps)
    assert np.isfinite(float(value)) and not np.asarray(found["boxes"][0]).any()
    assert not np.asarray(found["boxes"][1]).any()
    for name, slope in gradient.items():
        assert np.isfinite(np.asarray(slope)).all() and np.asarray(slope).any() == name.endswith("classes"), name


@EACH
def test_boxes_of_no_area_learn_nothing(terms, channels, weights):
    """A point and two lines among the objects: the terms and gradients are finite, and those of the other object."""
    maps = {name: keras.ops.convert_to_tensor(value[:1]) for name, value in raw(channels).items()}
    flat = np.float32([[0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.1, 0.8], [0.2, 0.6, 0.9, 0.6]])
    pairs = []
    for boxes, labels in ((flat, [1, 0, 1]), (np.zeros((3, 4), "float32"), [-1] * 3)):
        truth = {
            "boxes": np.concatenate([BOXES[:1, :1], boxes[None]], axis=1),
            "labels": np.int32([[2, *labels]]),
        }

        def total(maps, truth=truth):
            found = terms(truth, maps)
            return sum(keras.ops.sum(sums) for sums, _ in found.values()), found

        (value, _), gradient = with_gradient(total)(maps)
        pairs.append((float(value), {name: np.asarray(slope) for name, slope in gradient.items()}))
    (value, gradient), (expected, slopes) = pairs
    assert np.isfinite(value) and value == pytest.approx(expected, rel=1e-5)
    for name, slope in gradient.items():
        np.testing.assert_allclose(slope, slopes[name], rtol=1e-4, atol=1e-6, err_msg=name)


@EACH
def test_padding_changes_nothing(terms, channels, weights):
    maps = raw(channels)
    padded = {
        "boxes": np.concatenate([np.zeros((2, 40, 4), "float32"), BOXES], axis=1),
        "labels": np.concatenate([np.full((2, 40), -1, "int32"), LABELS], axis=1),
    }
    for name, pair in terms(TRUTH, maps).items():
        for value, again in zip(pair, terms(padded, maps)[name], strict=True):
            np.testing.assert_allclose(np.asarray(again), np.asarray(value), rtol=1e-5, err_msg=name)


@EACH
@pytest.mark.slow
def test_terms_and_gradients_compile(terms, channels, weights):
    maps = {name: keras.ops.convert_to_tensor(value) for name, value in raw(channels).items()}
    truth = {name: keras.ops.convert_to_tensor(value) for name, value in TRUTH.items()}
    step = with_gradient(lambda maps: (sum(keras.ops.sum(sums) for sums, _ in terms(truth, maps).values()), None))
    (value, _), gradient = step(maps)
    (again, _), slopes = compiled(step)(maps)
    np.testing.assert_allclose(float(again), float(value), rtol=1e-4)
    for name, slope in gradient.items():
        np.testing.assert_allclose(np.asarray(slopes[name]), np.asarray(slope), rtol=1e-3, atol=1e-5, err_msg=name)


def maps_of(levels, values, kind):
    """(B, A, n) as LEVEL_KIND, for one level after the other."""
    found, first = {}, 0
    for (level, _), each in zip(LEVELS, levels, strict=True):
        found[f"{level}_{kind}"] = values[:, first : first + each].reshape(len(values), SIDES[level], SIDES[level], -1)
        first += each
    return found


@pytest.mark.parametrize("rule", ["smooth_l1", "giou"])
def test_perfect_predictions_of_retinanet_cost_nothing(rule):
    grids = [(8, 8), (4, 4)]
    targets = {name: np.asarray(value) for name, value in ANCHORS.encode(BOXES, LABELS, grids).items()}
    learnt, anchors = targets["state"] == 1, ANCHORS.anchors(grids)
    deltas = np.asarray(ANCHORS.deltas(np.where(learnt[..., None], targets["boxes"], anchors), anchors))
    logits = np.where(learnt[..., None] & (targets["labels"][..., None] == np.arange(3)), 30, -30).astype("float32")
    each = [8 * 8 * 9, 4 * 4 * 9]
    maps = maps_of(each, deltas, "boxes") | maps_of(each, logits, "classes")
    found = retinanet.retinanet_loss(ANCHORS, rule)(TRUTH, maps)
    for name, (sums, counts) in found.items():
        np.testing.assert_allclose(np.asarray(sums), 0, atol=1e-4, err_msg=name)
        factor = {"classes": 1, "boxes": 4 if rule == "smooth_l1" else 1}[name]
        expected = learnt.sum(1) * factor + (1 if name == "classes" else 0)
        np.testing.assert_allclose(np.asarray(counts), expected, err_msg=name)
    # Ignored anchors cost nothing, whatever they say.
    assert (targets["state"] == -1).any()
    wild = np.where(targets["state"][..., None] == -1, 30, logits).astype("float32")
    again = retinanet.retinanet_loss(ANCHORS, rule)(TRUTH, maps | maps_of(each, wild, "classes"))
    np.testing.assert_allclose(np.asarray(again["classes"][0]), 0, atol=1e-4)


def test_smooth_l1_by_hand():
    got = retinanet.smooth_l1(np.float32([-2, -0.5, 0, 0.25, 1]), 0.5)
    np.testing.assert_allclose(np.asarray(got), [1.75, 0.25, 0, 0.0625, 0.75])


@pytest.mark.parametrize(("rule", "expected"), [("iou", np.log(33 / 17)), ("giou", 0.5)])
def test_a_box_of_fcos_by_hand(rule, expected):
    """An object of 8 x 4 pixels around the place (12, 12), whose box is predicted of 4 x 4 there."""
    codec = FcosCodec(1, (("p3", 8),), ())
    maps = {f"p3_{kind}": np.zeros((1, 2, 2, depth), "float32") for kind, depth in (("classes", 1), ("centerness", 1))}
    boxes = np.zeros((1, 2, 2, 4), "float32")
    boxes[0, 1, 1] = np.log(2)
    truth = {"boxes": np.float32([[[8 / 16, 10 / 16, 1, 14 / 16]]]), "labels": np.int32([[0]])}
    sums, counts = fcos.fcos_loss(codec, rule)(truth, maps | {"p3_boxes": boxes})["boxes"]
    np.testing.assert_allclose([float(sums[0]), float(counts[0])], [expected, 1], rtol=1e-5)
