import keras
import numpy as np
import pytest

from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.data.mask_crops import CROP
from kerastransfer.losses.mask import mask_loss
from kerastransfer.models import darknet_cfg, darknet_nets, yolo_mask
from kerastransfer.models.parts import freeze
from kerastransfer.models.yolov3 import yolov3
from kerastransfer.training.terms import TermModel

SIDE = 64
BOXES = np.array([[[0.1, 0.2, 0.7, 0.6], [0.3, 0.5, 0.9, 0.95]], [[0.2, 0.1, 0.6, 0.9], [0, 0, 0, 0]]], "float32")
LABELS = np.array([[0, 1], [1, -1]], "int32")


@pytest.fixture(scope="module")
def parts():
    """A detector of random weights, its codec and the network with a branch."""
    keras.utils.set_random_seed(3)
    cfg = darknet_cfg.parse(
        darknet_nets.yolov3_cfg("yolov3-tiny", num_classes=2, width=0.25, image_size=SIDE, activation="relu6")
    )
    found = darknet_cfg.anchors_of(cfg)
    detector = yolov3(cfg, rare_objects=False)
    network = yolo_mask.yolo_mask(detector, 2, fine=("c2", "c3"), filters=8, convs=1)
    return detector, YoloV3Codec(2, found.anchors, found.levels), network


def batch():
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (2, SIDE, SIDE, 3)).astype("float32"),
        "boxes": BOXES,
        "labels": LABELS,
        "masks": np.where(LABELS[..., None, None] >= 0, np.full((CROP, CROP), 255), 0).astype("uint8"),
        "frames": BOXES,
    }


def test_the_network_gives_the_detectors_maps_and_a_mask_for_each_box(parts):
    detector, _, network = parts
    image = batch()["image"]
    out = network({"image": image, "boxes": BOXES, "levels": np.array([[0, 1], [1, 0]])})
    raw = detector(image)
    assert set(out) == {"p4", "p5", "masks"} and out["masks"].shape == (2, 2, 28, 28, 2)
    for level, maps in raw.items():
        np.testing.assert_array_equal(out[level], maps)


def test_a_box_of_padding_changes_no_other(parts):
    *_, network = parts
    image = batch()["image"]
    few = network({"image": image, "boxes": BOXES[:, :1], "levels": np.zeros((2, 1), int)})["masks"]
    more = network({"image": image, "boxes": BOXES, "levels": np.zeros((2, 2), int)})["masks"]
    np.testing.assert_allclose(few, more[:, :1], atol=1e-5)


@pytest.mark.parametrize("level", ["scale", "fpn"])
def test_instances_are_the_detections_with_the_masks_of_their_boxes(parts, level):
    _, codec, network = parts
    image = batch()["image"]
    graph = yolo_mask.instances(network, codec, MaskCodec(level=level), (SIDE, SIDE), max_detections=7)
    out = {name: np.asarray(value) for name, value in graph(image).items()}
    assert {name: value.shape for name, value in out.items()} == {
        "boxes": (2, 7, 4),
        "scores": (2, 7),
        "labels": (2, 7),
        "masks": (2, 7, 28, 28),
        "count": (2,),
    }
    assert (out["count"] == 7).all() and (np.diff(out["scores"]) <= 0).all()
    if level == "scale":  # the level of each by hand: which grid has a candidate with this very box
        boxes, _ = codec.decode(network({"image": image, "boxes": BOXES, "levels": LABELS * 0}))
        finer = 4 * 4 * 3
        nearest = np.abs(np.asarray(boxes)[:, None] - out["boxes"][:, :, None]).max(-1).argmin(-1)
        levels = (nearest >= finer).astype(int)
    else:
        levels = np.zeros((2, 7), int)  # in an image of 64 pixels all are of the smallest
    logits = network({"image": image, "boxes": out["boxes"], "levels": levels})["masks"]
    own = np.take_along_axis(np.asarray(logits), out["labels"][:, :, None, None, None], -1)[..., 0]
    np.testing.assert_allclose(out["masks"], 1 / (1 + np.exp(-own)), atol=1e-5)


def test_an_image_without_detections_has_empty_outputs(parts):
    _, codec, network = parts
    graph = yolo_mask.instances(network, codec, MaskCodec(), (SIDE, SIDE), score_threshold=1.0, max_detections=3)
    out = graph(batch()["image"])
    assert np.asarray(out["count"]).tolist() == [0, 0]
    assert (np.asarray(out["labels"]) == -1).all()
    for name in ("boxes", "scores", "masks"):
        assert (np.asarray(out[name]) == 0).all(), name


def named(graph, layer, names, inputs):
    """What a layer of a graph gives; Keras lists it by name."""
    values = keras.Model(graph.input, graph.get_layer(layer).output)(inputs)
    return {name: np.array(value) for name, value in zip(sorted(names), values, strict=True)}


@pytest.mark.slow
def test_training_pools_a_proposal_from_the_map_that_inference_pools_it_from(parts):
    _, codec, network = parts
    graph = yolo_mask.trainer(network, codec, MaskCodec(iou=0.0, most=300), proposals=100)
    inputs = batch()
    found = named(graph, "proposals", ("boxes", "scores", "labels", "count", "candidates"), inputs)
    rois = named(graph, "rois", ("boxes", "labels", "levels", "targets"), inputs)
    grids = codec.grids(network({"image": inputs["image"], "boxes": BOXES, "levels": LABELS * 0}))
    expected = np.array(codec.levels_of_candidates(found["candidates"], grids))
    assert set(expected.ravel()) == {0, 1}
    for image, truths in enumerate((2, 1)):
        count = int(found["count"][image])
        np.testing.assert_array_equal(rois["boxes"][image, truths : truths + count], found["boxes"][image, :count])
        np.testing.assert_array_equal(rois["levels"][image, truths : truths + count], expected[image, :count])


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
def test_training_the_branch_moves_nothing_of_a_frozen_detector(parts, jit):
    detector, codec, _ = parts
    detector = keras.models.clone_model(detector)
    network = yolo_mask.yolo_mask(detector, 2, filters=8, convs=1)
    for part in yolo_mask.DETECTOR:
        freeze(network.get_layer(part))
    graph = yolo_mask.trainer(network, codec, MaskCodec(), proposals=5)
    model = TermModel(graph, lambda _, found: mask_loss(found, found["masks"]), {"mask": 1.0})
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=jit)
    before = [np.array(weight) for weight in detector.get_weights()]
    first = model.train_on_batch(batch(), {"labels": LABELS}, return_dict=True)["loss"]
    for _ in range(8):
        last = model.train_on_batch(batch(), {"labels": LABELS}, return_dict=True)["loss"]
    assert first == pytest.approx(np.log(2), abs=0.02)  # nothing is known at first
    assert last < 0.9 * first  # a mean over the steps; the masks are full: easily learnt
    for old, new in zip(before, detector.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_network_is_saved_and_read_again(parts, tmp_path):
    *_, network = parts
    network.save(tmp_path / "mask.keras")
    again = keras.saving.load_model(tmp_path / "mask.keras")
    inputs = {"image": batch()["image"], "boxes": BOXES, "levels": np.array([[0, 1], [1, 0]])}
    np.testing.assert_allclose(network(inputs)["masks"], again(inputs)["masks"], atol=1e-6)
