"""Feature pyramids and the heads on them, against torchvision's with the same weights."""

import detection_references as references
import keras
import numpy as np
import pytest

from kerastransfer.decoders.fpn import fpn
from kerastransfer.errors import UserError
from kerastransfer.heads import pyramid

STRIDES = {"c3": 8, "c4": 16, "c5": 32}
LEVELS = ("p3", "p4", "p5", "p6", "p7")
# Of ResNet-50, whose encoder of LabelEnc's tables it is.
RESNET = {"c3": 512, "c4": 1024, "c5": 2048}


def assign(model, weights, names):
    """Give layers the weights of torchvision's: {layer: the module's name}."""
    assert {layer.name for layer in model.layers if layer.weights} >= set(names)
    for layer, theirs in names.items():
        kernel, bias = weights[f"{theirs}.weight"], weights[f"{theirs}.bias"]
        model.get_layer(layer).set_weights([kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel, bias])


@pytest.mark.parametrize("extra", ["encoder", "pyramid"])
def test_maps_are_those_of_torchvision(extra):
    weights = references.expected("pyramid")
    model = fpn(references.CHANNELS, STRIDES, filters=references.FILTERS, extra=extra)
    names = {f"lateral_{n}": f"fpn.inner_blocks.{n - 3}.0" for n in (3, 4, 5)}
    names |= {f"p{n}": f"fpn.layer_blocks.{n - 3}.0" for n in (3, 4, 5)}
    theirs = "fpn" if extra == "encoder" else "fpn_of_pyramid"
    assign(model, weights, names | {f"p{n}": f"{theirs}.extra_blocks.p{n}" for n in (6, 7)})
    for level, found in model(references.pyramid_inputs()).items():
        np.testing.assert_allclose(np.asarray(found), weights[f"{extra}.{level}"], rtol=1e-4, atol=1e-4, err_msg=level)


def joined(found, kind, numbers):
    return np.concatenate([np.asarray(found[f"{level}_{kind}"]).reshape(1, -1, numbers) for level in LEVELS], axis=1)


def test_the_head_of_retinanet_is_that_of_torchvision():
    weights = references.expected("pyramid")
    maps = {level: weights[f"encoder.{level}"] for level in LEVELS}
    head = pyramid.retinanet(LEVELS, references.CLASSES, 2, channels=references.FILTERS, towers=1)
    kinds = {"classes": "retinanet.classification_head", "boxes": "retinanet.regression_head"}
    names = {f"{kind}_1": f"{theirs}.conv.0.0" for kind, theirs in kinds.items()}
    assign(head, weights, names | {"classes": f"{kinds['classes']}.cls_logits", "boxes": f"{kinds['boxes']}.bbox_reg"})
    found = head(maps)
    expected = weights["retinanet.cls_logits"]
    np.testing.assert_allclose(joined(found, "classes", 3), expected, rtol=1e-4, atol=1e-4)
    boxes = weights["retinanet.bbox_regression"].reshape(1, -1, 4)
    np.testing.assert_allclose(joined(found, "boxes", 4), boxes, rtol=1e-4, atol=1e-4)


def test_the_head_of_fcos_is_that_of_torchvision():
    weights = references.expected("pyramid")
    maps = {level: weights[f"encoder.{level}"] for level in LEVELS}
    head = pyramid.fcos(LEVELS, references.CLASSES, channels=references.FILTERS, towers=1, centerness="boxes")
    kinds = {"classes": "fcos.classification_head", "boxes": "fcos.regression_head"}
    names = {f"{kind}_1": f"{theirs}.conv.0" for kind, theirs in kinds.items()}
    names |= {f"{kind}_1_norm": f"{theirs}.conv.1" for kind, theirs in kinds.items()}
    names |= {"classes": "fcos.classification_head.cls_logits", "boxes": "fcos.regression_head.bbox_reg"}
    assign(head, weights, names | {"centerness": "fcos.regression_head.bbox_ctrness"})
    found = head(maps)
    np.testing.assert_allclose(joined(found, "classes", 3), weights["fcos.cls_logits"], rtol=1e-4, atol=1e-4)
    boxes = np.maximum(joined(found, "boxes", 4), 0)
    np.testing.assert_allclose(boxes, weights["fcos.bbox_regression"], rtol=1e-4, atol=1e-4)
    centerness = joined(found, "centerness", 1)
    np.testing.assert_allclose(centerness, weights["fcos.bbox_ctrness"], rtol=1e-4, atol=1e-4)


def test_parameters_are_those_of_labelenc():
    """At 80 classes, as in its code: the laterals and outputs, p6 and p7, and the heads."""
    parts = {extra: fpn(RESNET, STRIDES, extra=extra) for extra in ("encoder", "pyramid")}

    def parameters(model, *names):
        return sum(model.get_layer(name).count_params() for name in names)

    inner = [f"{kind}{level}" for kind in ("lateral_", "p") for level in (3, 4, 5)]
    assert parameters(parts["encoder"], *inner) == 2_688_512
    assert parameters(parts["encoder"], "p6") == 4_718_848 and parameters(parts["encoder"], "p7") == 590_080
    assert parameters(parts["pyramid"], "p6") == 590_080
    assert pyramid.retinanet(LEVELS, 80, 9).count_params() == 6_463_220
    assert pyramid.fcos(LEVELS, 80).count_params() == 4_920_666


def test_levels_of_faster_rcnn():
    """From stride 4, and every other place of p5 as p6."""
    model = fpn({"c2": 4, **references.CHANNELS}, {"c2": 4, **STRIDES}, filters=8, first=2, extra="pool")
    found = model({"c2": np.ones((1, 24, 40, 4), "float32"), **references.pyramid_inputs()})
    assert {level: tuple(x.shape[1:3]) for level, x in found.items()} == {
        "p2": (24, 40),
        "p3": (12, 20),
        "p4": (6, 10),
        "p5": (3, 5),
        "p6": (2, 3),
    }
    np.testing.assert_array_equal(np.asarray(found["p6"]), np.asarray(found["p5"])[:, ::2, ::2])


def test_background_is_likely_before_training():
    head = pyramid.retinanet(("p3",), 2, 3, channels=8, towers=1)
    found = keras.ops.sigmoid(head({"p3": np.zeros((1, 2, 2, 8), "float32")})["p3_classes"])
    np.testing.assert_allclose(np.asarray(found), 0.01, rtol=1e-5)


def test_an_encoder_without_a_stride_is_named():
    with pytest.raises(UserError, match=r"reads a map of stride 8 and 32; the encoder has c1 of stride 4, c2 of stri"):
        fpn({"c1": 3, "c2": 4}, {"c1": 4, "c2": 16})


def test_of_taps_with_one_stride_the_last_is_read():
    model = fpn({"c3": 3, "c4": 4, "c5": 5, "c6": 6}, {"c3": 8, "c4": 16, "c5": 16, "c6": 32}, filters=8)
    assert list(model.input) == ["c3", "c5", "c6"]
