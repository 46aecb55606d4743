"""RetinaNet and Faster R-CNN from image to raw predictions, against torchvision's with the same weights."""

import keras
import numpy as np
import pytest
import torch_reference

from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.encoders import ENCODERS
from kerastransfer.encoders.preprocessing import PREPROCESSING
from kerastransfer.models.faster_rcnn import faster_rcnn, faster_rcnn_codec
from kerastransfer.models.parts import feed
from kerastransfer.models.retinanet import LEVELS, retinanet

SIZE = (256, 320)
IMAGE = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3)).astype("float32")
# (x1, y1, x2, y2) in pixels; of three levels.
BOXES = np.array([[3, 5, 40, 60], [10, 0, 190, 120], [0, 0, 320, 256], [100.5, 30.2, 130, 55]], "float32")
# torchvision orders the last axis of differences as (x, y, w, h), background first.
SWAPPED = [1, 0, 3, 2]


@pytest.fixture(scope="module")
def theirs():
    prepared = np.array(PREPROCESSING["torch"](IMAGE))
    return torch_reference.asked("detectors", prepared, BOXES)


def encoder(state):
    made = ENCODERS["resnet18"](stride_in="3x3", preprocessing="torch")
    for variable in made.variables:
        variable.assign(as_keras(state[f"backbone.body.{torch_reference.torch_name(variable)}"]))
    return made


def as_keras(kernel):
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


def assign(model, state, names):
    """Give all layers of a model torchvision's weights: {layer: the module's name}."""
    assert {layer.name for layer in model.layers if layer.weights} == set(names)
    for layer, name in names.items():
        model.get_layer(layer).set_weights([as_keras(state[f"{name}.{kind}"]) for kind in ("weight", "bias")])


def pyramid(first, extra):
    levels = range(first, 6)
    names = {f"lateral_{n}": f"backbone.fpn.inner_blocks.{n - first}.0" for n in levels}
    names |= {f"p{n}": f"backbone.fpn.layer_blocks.{n - first}.0" for n in levels}
    return names | {f"p{n}": f"backbone.fpn.extra_blocks.p{n}" for n in extra}


def agree(found, expected, name=""):
    expected = expected.reshape(np.shape(found))
    # Not a bias alone.
    assert np.std(expected) > 0.05 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)


@pytest.mark.slow
def test_retinanet(theirs):
    state, expected = theirs["retinanet"]
    ours = retinanet(encoder(state), retinanet_codec(3, LEVELS))
    assign(ours.get_layer("decoder"), state, pyramid(3, (6, 7)))
    kinds = {"classes": ("classification", "cls_logits"), "boxes": ("regression", "bbox_reg")}
    names = {
        f"{kind}_{n}": f"head.{head}_head.conv.{n - 1}.0" for kind, (head, _) in kinds.items() for n in range(1, 5)
    }
    names |= {kind: f"head.{head}_head.{last}" for kind, (head, last) in kinds.items()}
    assign(ours.get_layer("head"), state, names)
    found = ours(IMAGE)
    for kind, numbers in (("classes", 3), ("boxes", 4)):
        maps = [np.reshape(found[f"p{n}_{kind}"], (1, -1, numbers)) for n in range(3, 8)]
        agree(np.concatenate(maps, axis=1), expected[kind], kind)


@pytest.mark.slow
def test_both_stages_of_faster_rcnn(theirs):
    state, expected = theirs["faster_rcnn"]
    codec = faster_rcnn_codec(3)
    ours = faster_rcnn(encoder(state), codec)
    assign(ours.get_layer("decoder"), state, pyramid(2, ()))
    names = {"shared_1": "rpn.head.conv.0.0", "classes": "rpn.head.cls_logits", "boxes": "rpn.head.bbox_pred"}
    assign(ours.get_layer("head"), state, names)
    maps = feed(ours.get_layer("decoder"), ours.get_layer("encoder")(IMAGE))
    for name, found in feed(ours.get_layer("head"), maps).items():
        agree(found, expected[name], name)

    head = ours.get_layer("branch").get_layer("box_head")
    # Features in the order (row, column, channel), there (channel, row, column).
    first = state["roi_heads.box_head.fc6.weight"].reshape(-1, 256, 7, 7).transpose(2, 3, 1, 0)
    last = state["roi_heads.box_predictor.bbox_pred.weight"].reshape(4, 4, -1)[1:, SWAPPED].reshape(12, -1)
    bias = state["roi_heads.box_predictor.bbox_pred.bias"].reshape(4, 4)[1:, SWAPPED].reshape(12)
    head.get_layer("box_boxes").set_weights([last.T, bias])
    for layer, name, kernel in (
        ("dense1", "box_head.fc6", first.reshape(-1, first.shape[-1])),
        ("dense2", "box_head.fc7", state["roi_heads.box_head.fc7.weight"].T),
        ("box_classes", "box_predictor.cls_score", state["roi_heads.box_predictor.cls_score.weight"].T),
    ):
        head.get_layer(layer).set_weights([kernel, state[f"roi_heads.{name}.bias"]])
    boxes = keras.ops.convert_to_tensor(BOXES[None][..., SWAPPED] / np.array([*SIZE, *SIZE], "float32"))
    levels = ours.get_layer("levels")(boxes, IMAGE)
    assert len(set(np.ravel(levels))) == 3
    found = feed(ours.get_layer("branch"), {**maps, "boxes": boxes, "levels": levels})
    agree(found["classes"][0], expected["classes"], "classes")
    wanted = expected["boxes"].reshape(-1, 4, 4)[:, 1:, SWAPPED]
    agree(found["boxes"][0], wanted.reshape(len(BOXES), 12), "boxes")
