"""The families of detectors: their settings, what help says without Keras, what they build."""

import dataclasses
import functools
import re
import subprocess
import sys

import numpy as np
import pytest

from kerastransfer import detectors
from kerastransfer.data.toy import toy
from kerastransfer.detectors import faster_rcnn, fcos, mask_rcnn, retinanet, yolov1, yolov3
from kerastransfer.detectors.detector import Purpose, Start, require_multiple
from kerastransfer.errors import UserError
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.phases.mask_branch import MaskConfig


def test_every_net_belongs_to_one_family():
    nets = [net for family in detectors.DETECTORS.values() for net in family.NETS]
    assert len(nets) == len(set(nets)) and set(nets) == set(detectors.FAMILY)
    assert detectors.FAMILY["small"] == "yolov1" and detectors.FAMILY["yolov3-spp"] == "yolov3"
    assert detectors.family("yolov3-tiny") is yolov3 and detectors.settings_of("fast_yolo") is yolov1.Settings


@pytest.mark.parametrize("lookup", [detectors.family, detectors.settings_of])
def test_an_unknown_net_names_the_nearest(lookup):
    with pytest.raises(UserError, match=r"unknown --model yolov3-tini; choose small, .*\(nearest: yolov3-tiny\)"):
        lookup("yolov3-tini")


@pytest.mark.parametrize("given", ["yt.keras", "run/yt.tflite", "yolo-fastest-1.1-xl"])
def test_a_trained_detector_is_no_net(given):
    told = f"unknown --model {given}; give a trained detector as --start {given}, and here a net of its family: small, "
    with pytest.raises(UserError, match=re.escape(told)):
        detectors.family(given)


def test_settings_follow_the_model():
    assert DetectorConfig().net == yolov1.Settings()
    assert DetectorConfig(model="yolov3-tiny").net == yolov3.Settings()
    assert MaskConfig().net == yolov3.Settings()
    given = yolov3.Settings(width=0.5, loss="ciou")
    assert DetectorConfig(model="yolov3-small", net=given).net is given
    with pytest.raises(UserError, match="the settings in net are not those of --model small"):
        DetectorConfig(model="small", net=given)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: yolov1.Settings(boxes_per_cell=0), "--net.boxes-per-cell is 0"),
        (lambda: yolov1.Settings(reach=-1.0), "--net.reach is -1.0; it must be at least 0"),
        (lambda: yolov1.Settings(reach=float("nan")), "--net.reach is nan"),
        (lambda: yolov3.Settings(reach=1.5), "must be from 0 to 1"),
        (lambda: yolov3.Settings(width=0.0), "--net.width is 0.0"),
        (lambda: retinanet.Settings(anchor_size=0.0), "--net.anchor-size is 0.0"),
        (lambda: fcos.Settings(channels=0), "--net.channels is 0"),
        (lambda: faster_rcnn.Settings(proposals=0), "--net.proposals is 0"),
        (lambda: fcos.Settings(encoder="resnet-5"), "(nearest: resnet-5"),
        (lambda: yolov3.Settings(anchors=(1.0, 2.0, 3.0)), "has 3 numbers"),
        (lambda: yolov3.Settings(anchors=(1.0, -2.0)), "above 0"),
        (lambda: yolov3.Settings(anchors=(1.0, 2.0), cfg="a.cfg"), "remove one of them"),
    ],
)
def test_settings_that_cannot_work(make, told):
    with pytest.raises(UserError) as caught:
        make()
    assert told in str(caught.value)


def test_an_image_size_that_does_not_fit_suggests_the_nearest():
    require_multiple(64, 32, "a net")
    for size, near in ((70, 64), (81, 96), (5, 32)):
        with pytest.raises(UserError, match=f"--image-size {size} is not a multiple of 32, .* try {near}"):
            require_multiple(size, 32, "a net")


def test_what_a_net_learns_from():
    assert [detectors.field_of(net) for net in ("yolov3", "faster_rcnn", "mask_rcnn")] == ["boxes", "boxes", "masks"]
    assert [detectors.task_of(net) for net in ("small", "mask_rcnn")] == ["detection", "instances"]


def test_the_tables_need_neither_keras_nor_tensorflow():
    code = "import sys, kerastransfer.detectors; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"keras", "tensorflow", "numpy"}.isdisjoint(loaded)


@functools.cache
def scenes():
    return toy(count=6, image_size=64)


def narrow_encoder(source):
    """An encoder of stride 32, for families that take any."""
    from kerastransfer.encoders.yolov1 import yolov1_encoder

    assert source == ENCODER["encoder"]
    return yolov1_encoder(tuple(((filters, 3, 2),) for filters in (8, 8, 12, 12, 16)))


ENCODER = {"encoder": "RUN/models/encoder.keras", "channels": 16, "towers": 1}


def purpose(size, **options):
    return Purpose(scenes().classes, size, scenes(), encoder=narrow_encoder, **options)


def built(net, size, **settings):
    family = detectors.family(net)
    own = ENCODER if family in (retinanet, fcos, faster_rcnn, mask_rcnn) else {}
    return family.build(family.Settings(**own, **settings), net, purpose(size))


@pytest.mark.parametrize("net", detectors.FAMILY)
@pytest.mark.slow
def test_the_strides_that_help_needs_are_those_of_the_nets(net):
    """Told twice, so that --help need not build a network: of the encoder, and of the coarsest grid."""
    stride = detectors.family(net).NETS[net]
    if net in yolov1.NETS:
        from kerastransfer.encoders import ENCODERS

        taps = ENCODERS[net]().compute_output_shape((1, 4 * stride, 4 * stride, 3))
        assert min(shape[1] for shape in taps.values()) == 4
    elif net in yolov3.NETS:
        assert built(net, 8 * stride).codec.levels[-1][1] == stride
    assert built(net, 8 * stride).stride == stride


@pytest.mark.parametrize(
    ("net", "settings", "cells"),
    [
        ("small", {}, 4 * 4),
        ("yolov3-tiny", {"width": 0.125}, 3 * (4 * 4 + 2 * 2)),
        ("retinanet", {}, 9 * (64 + 16 + 4 + 1 + 1)),
        ("retinanet", {"loss": "giou", "norms": "trained"}, 9 * (64 + 16 + 4 + 1 + 1)),
        ("fcos", {}, 64 + 16 + 4 + 1 + 1),
        ("fcos", {"version": "basic", "random": True}, 64 + 16 + 4 + 1 + 1),
    ],
)
def test_a_detector_reads_images_and_learns(net, settings, cells):
    """Raw predictions become boxes and scores, and every term of the loss is finite and has a weight."""
    found = built(net, 64, **settings)
    network = found.build()
    assert {"encoder", "head"} <= {layer.name for layer in network.layers}
    image = np.stack([sample.read()["image"] for sample in scenes().samples[:2]]).astype("float32")
    raw = network(image)
    boxes, scores = found.codec.decode(raw)
    assert boxes.shape == (2, cells, 4) and scores.shape == (2, cells, 4)
    truth = {
        "boxes": np.tile(np.float32([[0.2, 0.3, 0.6, 0.8], [0, 0, 0, 0]]), (2, 1, 1)),
        "labels": np.tile(np.int32([3, -1]), (2, 1)),
    }
    terms = found.terms(truth, raw)
    assert terms.keys() == found.weights.keys()
    for name, values in terms.items():
        for value in values if isinstance(values, tuple) else (values,):
            assert np.isfinite(np.asarray(value)).all(), name


def test_sizes_and_anchors_that_do_not_fit():
    for net, size in (("small", 70), ("yolov3-tiny", 80)):
        with pytest.raises(UserError, match="is not a multiple of"):
            built(net, size)
    with pytest.raises(UserError, match=r"3 anchors for the 2 grids of yolov3-tiny"):
        built("yolov3-tiny", 64, anchors=(9.0, 9.0, 20.0, 20.0, 30.0, 30.0))


def test_anchors_are_fitted_unless_they_are_given():
    fitted = built("yolov3-tiny", 64, width=0.125).codec.anchors
    areas = [width * height for width, height in fitted]
    assert len(fitted) == 6 and areas == sorted(areas)
    again = built("yolov3-tiny", 64, width=0.125).codec.anchors
    assert fitted == again
    given = (9.0, 8.0, 20.0, 21.0)
    assert built("yolov3-tiny", 64, width=0.125, anchors=given).codec.anchors == ((9, 8), (20, 21))


@pytest.mark.parametrize(("head", "any_size"), [("fully_conv", True), ("paper_fc", False), ("darknet_local", False)])
def test_which_networks_take_several_sizes(head, any_size):
    assert yolov1.any_size(yolov1.Settings(head=head)) == any_size
    assert yolov3.any_size(yolov3.Settings())


YOLO = "RUN/models/yolo.keras"


def start(network, codec, labels, size=64):
    return Start(YOLO, lambda: network, codec, labels, (size, size))


@pytest.mark.parametrize(
    ("net", "settings"), [("small", {}), ("yolov3-tiny", {"width": 0.125}), ("retinanet", {}), ("fcos", {})]
)
def test_a_detector_starts_from_another_one(net, settings):
    """Its predictions are as before for a class of the same name, and it learns what the settings say."""
    family = detectors.family(net)
    first = built(net, 64, **settings)
    network = first.build()
    known = ("cow", scenes().classes[1])
    # The four classes of the first one stand for two that are known and two that are not.
    labels = (*known, "sheep", "goat")
    found = family.build(family.Settings(), net, purpose(64, start=start(network, first.codec, labels)))
    assert found.fresh == (scenes().classes[0], *scenes().classes[2:])
    image = np.stack([sample.read()["image"] for sample in scenes().samples[:2]]).astype("float32")
    boxes, scores = first.codec.decode(network(image))
    again, now = found.codec.decode(found.build()(image))
    np.testing.assert_allclose(again, boxes, atol=1e-5)
    np.testing.assert_allclose(now[..., 1], scores[..., 1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "settings"),
    [
        ("faster_rcnn", {}),
        ("mask_rcnn", {"mask_filters": 4, "mask_convs": 1, "mask_size": 14}),
        ("mask_rcnn", {"mask_filters": 4, "mask_convs": 1, "mask_size": 14, "class_agnostic": True}),
    ],
)
def test_two_stages_start_from_others(net, settings):
    """What they say of proposals is as before for the background and a class of the same name."""
    family = detectors.family(net)
    first = built(net, 64, hidden=8, proposals=6, **settings)
    network = first.build()
    labels = ("cow", scenes().classes[1], "sheep", "goat")
    found = family.build(family.Settings(proposals=6), net, purpose(64, start=start(network, first.codec, labels)))
    assert found.loaded == ("encoder", "decoder") and found.fresh == (scenes().classes[0], *scenes().classes[2:])
    image = np.stack([sample.read()["image"] for sample in scenes().samples[:2]]).astype("float32")
    boxes = np.array([[[0, 0.1, 0.5, 0.9], [0.2, 0.2, 1, 1]]] * 2, "float32")
    given = {"image": image, "boxes": boxes} if net == "mask_rcnn" else image
    old, now = ({name: np.asarray(x) for name, x in one(given).items()} for one in (network, found.build()))
    np.testing.assert_allclose(now["rois"], old["rois"], atol=1e-6)
    # The background, and the only class that both know.
    np.testing.assert_allclose(now["classes"][..., [0, 2]], old["classes"][..., [0, 2]], atol=1e-5)
    np.testing.assert_allclose(now["boxes"][..., 4:8], old["boxes"][..., 4:8], atol=1e-5)
    assert np.abs(now["classes"][..., 1] - old["classes"][..., 1]).max() > 1e-4
    if net == "mask_rcnn":
        known = slice(0, 1) if settings.get("class_agnostic") else slice(1, 2)
        assert now["masks"].shape == old["masks"].shape
        np.testing.assert_allclose(now["masks"][..., known], old["masks"][..., known], atol=1e-5)
    same = family.build(family.Settings(), net, purpose(64, start=start(network, first.codec, scenes().classes)))
    again = {layer.name: layer for layer in same.build().layers if layer.weights}
    for name, layer in again.items():
        for ours, theirs in zip(layer.get_weights(), network.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_cell_learns_no_farther_than_the_detector_it_starts_from_can_point():
    """Of one that was trained with reach 0.25, a cell points a quarter of a cell beyond its border at most."""
    first = built("yolov3-tiny", 64, width=0.125, reach=0.25)
    begun = purpose(64, start=start(None, first.codec, scenes().classes))
    for reach, expected in ((1.0, 0.25), (0.1, 0.1)):
        found = yolov3.build(yolov3.Settings(reach=reach, ratio=3.0), "yolov3-tiny", begun)
        assert found.codec.reach == pytest.approx(expected) and found.codec.ratio == 3
        assert found.codec.sway == 1.5 and found.codec.anchors == first.codec.anchors


@pytest.mark.parametrize(
    ("net", "other", "settings", "size", "words"),
    [
        (
            "yolov3-tiny",
            "small",
            {},
            64,
            f"{YOLO} is of the family YOLOv1, not YOLOv3: nothing of it fits; to",
        ),
        (
            "small",
            "yolov3-tiny",
            {},
            64,
            f"{YOLO} is of the family YOLOv3, not YOLOv1: its decoder and head",
        ),
        ("retinanet", "yolov3-tiny", {}, 64, f"but its encoder may (--net.encoder {YOLO}); to go on from all of it"),
        ("retinanet", "yolov3-tiny", {}, 64, "choose its family (--model yolov3-tiny)"),
        (
            "fcos",
            "faster_rcnn",
            {},
            64,
            "Faster R-CNN, not FCOS: its decoder and head do not fit, but its encoder",
        ),
        ("yolov3-tiny", "yolov3-tiny", {"width": 0.5}, 64, "--net.width does not apply to --start RUN/models/yolo"),
        ("yolov3-tiny", "yolov3-tiny", {"anchors": (9.0, 9.0)}, 64, "--net.anchors does not apply to --start"),
        ("small", "small", {"head": "paper_fc"}, 64, "--net.head does not apply to --start RUN/models/yolo.keras"),
        ("small", "small", {"boxes_per_cell": 2}, 64, "--net.boxes-per-cell does not apply to --start"),
        ("yolov3-tiny", "yolov3-tiny", {}, 80, "--image-size 80 is not a multiple of 32"),
        ("retinanet", "fcos", {}, 64, f"{YOLO} is of the family FCOS, not RetinaNet: its decoder"),
        ("fcos", "retinanet", {}, 64, f"{YOLO} is of the family RetinaNet, not FCOS: its decoder"),
        ("retinanet", "retinanet", {"channels": 64}, 64, "--net.channels does not apply to --start"),
        ("retinanet", "retinanet", {"anchor_size": 2.0}, 64, "--net.anchor-size does not apply to --start"),
        ("faster_rcnn", "retinanet", {}, 64, f"{YOLO} is of the family RetinaNet, not Faster R-CNN: its"),
        ("faster_rcnn", "faster_rcnn", {"hidden": 8}, 64, "--net.hidden does not apply to --start"),
        ("mask_rcnn", "faster_rcnn", {}, 64, f"{YOLO} is of the family Faster R-CNN, not Mask R-CNN: its"),
        ("mask_rcnn", "mask_rcnn", {"mask_size": 7}, 64, "--net.mask-size does not apply to --start"),
        ("fcos", "fcos", {"version": "basic"}, 64, "--net.version does not apply to --start"),
        ("fcos", "fcos", {}, 80, "--image-size 80 is not a multiple of 32"),
    ],
)
def test_a_start_that_does_not_fit(net, other, settings, size, words):
    codec = built(other, 64, **({"width": 0.125} if other == "yolov3-tiny" else {})).codec
    family = detectors.family(net)
    begun = purpose(size, start=start(None, codec, scenes().classes))
    with pytest.raises(UserError, match=re.escape(words)):
        family.build(family.Settings(**settings), net, begun)


@pytest.mark.slow
def test_a_head_of_one_size_starts_at_this_size():
    first = built("small", 64, head="paper_fc")
    begun = start(first.build(), first.codec, ("a", "b", "c", "d"))
    with pytest.raises(UserError, match="takes images of 64 x 64 pixels only; give --image-size 64"):
        yolov1.build(yolov1.Settings(), "small", Purpose(scenes().classes, 80, scenes(), start=begun))
    found = yolov1.build(yolov1.Settings(), "small", Purpose(scenes().classes, 64, scenes(), start=begun))
    assert found.build().output.shape == (None, 4, 4, 9)


@pytest.mark.parametrize("net", ["retinanet", "fcos"])
def test_an_encoder_is_taken_with_its_weights_or_without(net):
    """Its batch normalization rests, unless it is asked to learn."""
    source = narrow_encoder(ENCODER["encoder"])

    def copied(_):
        copy = source.__class__.from_config(source.get_config())
        copy.set_weights(source.get_weights())
        return copy

    given = dataclasses.replace(purpose(64), encoder=copied)
    family = detectors.family(net)

    def encoder(**settings):
        found = family.build(family.Settings(**ENCODER, **settings), net, given)
        return found, found.build().get_layer("encoder")

    found, part = encoder()
    assert found.loaded == ("encoder",) and found.fresh is None
    for value, expected in zip(part.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert not any("_bn/" in weight.path for weight in part.trainable_weights)
    assert any("_bn/" in weight.path for weight in encoder(norms="trained")[1].trainable_weights)
    found, part = encoder(random=True)
    assert found.loaded == ()
    assert any("_bn/" in weight.path for weight in part.trainable_weights)
    kernels = [[one for one in model.get_weights() if one.ndim == 4] for model in (part, source)]
    assert not any(np.array_equal(*pair) for pair in zip(*kernels, strict=True))


@pytest.mark.slow
def test_random_weights_are_not_downloaded():
    def opens(name):
        raise AssertionError(f"the weights of {name} were asked for")

    family = detectors.family("retinanet")
    settings = family.Settings(**ENCODER | {"encoder": "mobilenet-v2"}, random=True)
    encoder = family.build(settings, "retinanet", dataclasses.replace(purpose(64), encoder=opens)).build()
    assert encoder.get_layer("encoder").get_layer("Conv1").kernel.shape == (3, 3, 3, 32)


@pytest.mark.parametrize("net", ["retinanet", "fcos"])
def test_an_encoder_without_the_strides_of_a_pyramid(net):
    from kerastransfer.encoders.yolov1 import yolov1_encoder

    coarse = dataclasses.replace(purpose(64), encoder=lambda _: yolov1_encoder((((4, 3, 2),), ((5, 3, 2),))))
    family = detectors.family(net)
    with pytest.raises(UserError, match="reads a map of stride 8 and 16 and 32; the encoder has c1 of stride 2, c2 of"):
        family.build(family.Settings(**ENCODER), net, coarse).build()


@pytest.mark.slow
@pytest.mark.parametrize("net", ["faster_rcnn", "mask_rcnn"])
def test_two_stages_learn_a_batch(net):
    """Both stages, from a sample of their candidates; the network then finds the objects, and their masks."""
    import keras

    from kerastransfer.models import mask_rcnn as models
    from kerastransfer.training import optimizers
    from kerastransfer.training.terms import TermModel

    keras.utils.set_random_seed(0)
    masks = {"mask_filters": 16, "mask_convs": 1, "detections": 6} if net == "mask_rcnn" else {}
    found = built(net, 96, hidden=32, proposals=20, norms="trained", **masks)
    network = found.build()
    image = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    boxes = np.float32([[[0.2, 0.3, 0.6, 0.8], [0.1, 0.1, 0.4, 0.3], [0, 0, 0, 0]]] * 2)
    truth = {"boxes": boxes, "labels": np.int32([[3, 1, -1]] * 2)}
    if masks:
        # The upper half of the first object, the left one of the second.
        crops = np.zeros((2, 3, 28, 28), "uint8")
        crops[:, 0, :14] = crops[:, 1, :, :14] = 255
        truth |= {"masks": crops, "frames": boxes}
    model = TermModel(found.trained(network), found.terms, found.weights)
    model.compile(optimizers.OPTIMIZERS["adamw"]().build(5e-3, 0.0))
    for _ in range(250):
        model.train_on_batch({"image": image, **truth}, truth)
    wanted = ((boxes[0, 0], 3), (boxes[0, 1], 1))
    if not masks:
        decoded, scores = (np.asarray(one)[0] for one in found.codec.decode(network(image)))
        for box, label in wanted:
            best = scores[:, label].argmax()
            assert scores[best, label] > 0.5
            np.testing.assert_allclose(decoded[best], box, atol=0.08)
        return
    seen = {name: np.asarray(one)[0] for name, one in models.instances(network, found.codec, (96, 96))(image).items()}
    for row, (box, label) in enumerate(wanted):
        best = np.flatnonzero(seen["labels"] == label)[0]
        assert seen["scores"][best] > 0.5
        np.testing.assert_allclose(seen["boxes"][best], box, atol=0.08)
        assert (abs(seen["masks"][best] - crops[0, row] / 255) < 0.5).mean() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("net", ["retinanet", "fcos", "faster_rcnn"])
def test_files_have_builtin_operators_alone(net):
    """As those of Mask R-CNN (tests/models/test_faster_rcnn.py) and of the YOLOs."""
    from kerastransfer.export import graph, tflite
    from kerastransfer.models import predictor

    first = built(net, 64, **({"hidden": 8, "proposals": 6} if net == "faster_rcnn" else {}))
    model = predictor.candidates(first.build(), first.codec, (64, 64))
    images = [sample.read()["image"] for sample in scenes().samples[:2]]
    with tflite.source(model, (64, 64)) as folder:
        files = {kind: tflite.convert_source(folder, model, (64, 64), kind, images) for kind in ("float32", "int8")}
    for kind, file in files.items():
        found = graph.operators(file)
        assert "CONV_2D" in found and "WHILE" not in found
        assert not [name for name in found if name.startswith("CUSTOM")], kind
