"""Every layer and codec of the package: config, file, symbolic call, half precision, training. `harness.Case` says what
a row means. A layer or codec without a row fails."""

import dataclasses
import inspect
import json

import harness
import keras
import pytest
from harness import Case, boxes, integers, numbers

from kerastransfer import registered
from kerastransfer.codecs.faster_rcnn import AnchorTargets, BoxTargets, Candidates, FasterRcnnCodec, PyramidLevels
from kerastransfer.codecs.fcos import FcosCodec
from kerastransfer.codecs.labelenc import LabelMap
from kerastransfer.codecs.layers import Decode, DecodeMasks, Levels, MaskTargets, Odds, Rois, Vote
from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.masked_boxes import MaskedBoxes
from kerastransfer.codecs.retinanet import AnchorCodec
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.export import portable
from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.layers.deformable import DeformableConv2D
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool
from kerastransfer.layers.locally_connected import LocallyConnected
from kerastransfer.layers.multiple_of import MultipleOf
from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.layers.roi_align import RoIAlign
from kerastransfer.layers.rois import Fold, Unfold
from kerastransfer.layers.scale import Scale
from kerastransfer.layers.suppress import Suppress
from kerastransfer.losses.compiled import PixelLoss

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

V1 = YoloV1Codec(2, 1, sizes="root", score="product", reach=1.0)
V1_FLAT = YoloV1Codec(3, layout="darknet")
V3 = YoloV3Codec(2, ((8, 9), (20, 14), (30, 40)), (("p4", 16, (0, 1)), ("p5", 32, (2,))), 4.0, 0.5, 2.0)
MASK = MaskCodec(mask_size=4, most=9, iou=0.4, level="fpn")
PYRAMID = (("p3", 8), ("p4", 16))
ANCHORS = AnchorCodec(2, PYRAMID, (((12, 9), (20, 14)), ((30, 30), (20, 50))), 0.3, 0.6, False, (1, 2, 3, 4))
PLACES = FcosCodec(2, PYRAMID, (24,), 1.5, "strides")
SECOND = FasterRcnnCodec(2, AnchorCodec(1, PYRAMID, (((12, 9),), ((30, 30),))), 0.4, (1, 2, 3, 4))
CODECS = [V1, V1_FLAT, V3, ANCHORS, PLACES, SECOND, MASK, MaskedBoxes(V3, MASK, 7)]
LOSSES = [PixelLoss(0.5, name="mine")]

NO_GRADIENT = {"training": "no gradient flows through what it chooses", "jit": "nothing is trained"}


def raw():
    """Raw maps of `V3` for images of 64 x 96 pixels."""
    return {"p4": numbers(4, 6, 14), "p5": numbers(2, 3, 7)}


def pyramid(**channels):
    """Raw maps on `PYRAMID` for images of 32 x 48 pixels."""
    sizes = {"p3": (4, 6), "p4": (2, 3)}
    maps = {f"{level}_{kind}": numbers(*size, d) for level, size in sizes.items() for kind, d in channels.items()}
    return (maps,)


def labels(count, padded=1):
    """Classes of boxes (B, count), of which the last `padded` of the first image are padding."""
    found = integers(count, below=2)
    found[0, count - padded :] = -1
    return found


def annotations():
    crops = (numbers(3, 5, 5) > -1) * 255
    return {"boxes": boxes(3), "labels": labels(3), "masks": crops.astype("uint8"), "frames": boxes(3)}


def candidates():
    return {"boxes": boxes(9), "scores": numbers(9, 2, low=0, high=1)}


LAYERS = {
    "BatchNorm": Case(
        lambda: BatchNorm(momentum=0.9, epsilon=0.02, drift=True),
        lambda: (numbers(4, 6, 5),),
        unknown=(1, 2),
        standard=True,
    ),
    "BatchNorm of volumes": Case(
        lambda: BatchNorm(momentum=0.9), lambda: (numbers(2, 4, 6, 5),), unknown=(1, 2, 3), standard=True
    ),
    "BatchNorm of vectors": Case(lambda: BatchNorm(momentum=0.9), lambda: (numbers(5),), standard=True),
    "BlockConv2DTranspose": Case(
        lambda: portable.BlockConv2DTranspose(4, 2, 2, activation="relu6"),
        lambda: (numbers(4, 6, 5),),
        unknown=(1, 2),
        tensorflow=True,
    ),
    "PlanarMaxPool3D": Case(
        lambda: portable.PlanarMaxPool3D((2, 1, 3)), lambda: (numbers(4, 2, 6, 5),), tensorflow=True
    ),
    "Decode YOLOv1": Case(lambda: Decode(V1), lambda: (numbers(4, 6, 7),), unknown=(1, 2), float32=True),
    "Decode YOLOv1, flat": Case(lambda: Decode(V1_FLAT), lambda: (numbers(2 * 2 * 13),), float32=True),
    "Decode YOLOv3": Case(lambda: Decode(V3), lambda: (raw(),), differentiable=(0, 1), unknown=(1, 2), float32=True),
    "Decode RetinaNet": Case(
        lambda: Decode(ANCHORS),
        lambda: pyramid(classes=4, boxes=8),
        differentiable=(0, 1, 2, 3),
        unknown=(1, 2),
        float32=True,
    ),
    "Decode FCOS": Case(
        lambda: Decode(PLACES),
        lambda: pyramid(classes=2, boxes=4, centerness=1),
        differentiable=(0, 1, 2, 3, 4, 5),
        unknown=(1, 2),
        float32=True,
    ),
    "Decode Faster R-CNN": Case(
        lambda: Decode(SECOND),
        lambda: ({"rois": boxes(5), "classes": numbers(5, 3), "boxes": numbers(5, 8)},),
        differentiable=(1, 2),
        unknown=(1,),
        float32=True,
    ),
    # Where there are fewer than are drawn, all are.
    "AnchorTargets": Case(
        lambda: AnchorTargets(SECOND.proposals, 90, 0.4, seed=5),
        lambda: ({name: annotations()[name] for name in ("boxes", "labels")}, *pyramid(classes=1, boxes=4)),
        unknown=(1,),
        lacks=NO_GRADIENT,
        float32=True,
    ),
    "BoxTargets": Case(
        lambda: BoxTargets(SECOND, 40, 0.5, seed=5),
        lambda: ({name: annotations()[name] for name in ("boxes", "labels")}, boxes(6)),
        unknown=(1,),
        lacks=NO_GRADIENT,
        float32=True,
    ),
    "Candidates": Case(
        lambda: Candidates(SECOND.proposals, 7),
        lambda: pyramid(classes=1, boxes=4),
        unknown=(1, 2),
        lacks=NO_GRADIENT,
        float32=True,
    ),
    "PyramidLevels": Case(
        lambda: PyramidLevels(SECOND), lambda: (boxes(5), numbers(32, 48, 3)), unknown=(1, 2), lacks=NO_GRADIENT
    ),
    "DecodeMasks": Case(
        lambda: DecodeMasks(MASK),
        lambda: (numbers(4, 6, 6, 2), labels(4)),
        unknown=(1,),
        float32=True,
    ),
    "DeformableConv2D": Case(
        lambda: DeformableConv2D(4, 3, 2, offset_groups=2), lambda: (numbers(6, 8, 6),), unknown=(1, 2)
    ),
    "DeformableConv2D, not modulated": Case(
        lambda: DeformableConv2D(4, 3, dilation=2, modulated=False, use_bias=False),
        lambda: (numbers(5, 6, 3),),
        unknown=(1, 2),
    ),
    "DilatedMaxPool": Case(lambda: DilatedMaxPool(2), lambda: (numbers(5, 6, 4),), unknown=(1, 2)),
    "DilatedMaxPool, whole": Case(
        lambda: DilatedMaxPool(2, 3, whole=True), lambda: (numbers(6, 7, 4),), unknown=(1, 2)
    ),
    "Fold": Case(Fold, lambda: (numbers(4, 3, 3, 2),), unknown=(1,)),
    "LabelMap": Case(
        lambda: LabelMap(2, vary=True, seed=3),
        lambda: ({"boxes": boxes(4), "labels": labels(4)}, numbers(8, 12, 3)),
        unknown=(1, 2),
        float32=True,
        lacks={"training": "nothing is trained", "jit": "nothing is trained"},
    ),
    "LabelMap of masks": Case(
        lambda: LabelMap(2, masks=True),
        lambda: (
            {"boxes": boxes(4), "labels": labels(4), "masks": integers(4, 6, 6, below=255), "frames": boxes(4)},
            numbers(8, 12, 3),
        ),
        unknown=(1, 2),
        float32=True,
        lacks={"training": "nothing is trained", "jit": "nothing is trained"},
    ),
    "Levels": Case(
        lambda: Levels(V3, "fpn"),
        lambda: ({"boxes": boxes(5), "candidates": integers(5, below=40)}, raw()),
        unknown=(1, 2),
        lacks=NO_GRADIENT,
    ),
    "LocallyConnected": Case(lambda: LocallyConnected(4, 5), lambda: (numbers(4, 6, 3),)),
    "MultipleOf": Case(
        lambda: MultipleOf(4), lambda: (numbers(8, 12, 3),), unknown=(1, 2), float32=True, standard=True
    ),
    "NativeSuppress": Case(
        lambda: portable.NativeSuppress(0.4, 0.1, 5, numbered=True),
        lambda: (keras.tree.map_structure(lambda value: value[:1], candidates()),),
        unknown=(1,),
        float32=True,
        tensorflow=True,
        rows=1,
        lacks=NO_GRADIENT,
    ),
    "Odds": Case(
        lambda: Odds([0.5, 2.0]), lambda: (numbers(4, 6, 2, low=0.1, high=3.0),), unknown=(1, 2), float32=True
    ),
    "PyramidRoIAlign": Case(
        lambda: PyramidRoIAlign(3, sampling_ratio=1),
        lambda: ([numbers(8, 12, 4), numbers(4, 6, 4)], boxes(5), integers(5, below=2)),
        differentiable=(0, 1),
        unknown=(1, 2),
    ),
    "RoIAlign": Case(
        lambda: RoIAlign((2, 3), sampling_ratio=1, aligned=False, reduce="max", method="matrices"),
        lambda: (numbers(8, 12, 4), boxes(5)),
        unknown=(1, 2),
    ),
    "RoIAlign by crop_and_resize": Case(
        lambda: RoIAlign(3, method="crop_and_resize"),
        lambda: (numbers(8, 12, 4), boxes(5)),
        unknown=(1, 2),
        tensorflow=True,
        lacks={"jit": "XLA has no crop_and_resize"},
    ),
    "Rois": Case(
        lambda: Rois(V3, MASK, seed=5),
        lambda: (annotations(), boxes(6), integers(6, below=2), raw()),
        unknown=(1,),
        float32=True,
    ),
    "MaskTargets": Case(
        lambda: MaskTargets(MASK, seed=5), lambda: (annotations(), boxes(6)), unknown=(1,), float32=True
    ),
    "Scale": Case(Scale, lambda: (numbers(4, 6, 3),), unknown=(1, 2), float32=True),
    "Suppress": Case(
        lambda: Suppress(0.4, 0.1, 5, numbered=True),
        lambda: (candidates(),),
        unknown=(1,),
        float32=True,
        lacks=NO_GRADIENT,
    ),
    "Unfold": Case(
        Unfold,
        lambda: (numbers(3, 2).reshape(-1, 2), boxes(3)),
        lacks={"graph": "its first input has rows of boxes, its second of images"},
    ),
    "Vote": Case(lambda: Vote(V1, 4, 8, (32, 48), merge=True), lambda: (numbers(8, 12, 7),), float32=True),
}


@pytest.mark.parametrize("case", harness.parameters(LAYERS, "config"))
@pytest.mark.slow
def test_config(case):
    harness.check_config(case)


@pytest.mark.parametrize("case", harness.parameters(LAYERS, "file"))
def test_file(case, tmp_path):
    harness.check_file(case, tmp_path / "layer.keras")


@pytest.mark.parametrize("case", harness.parameters(LAYERS, "symbolic"))
def test_symbolic(case):
    harness.check_symbolic(case)


@pytest.mark.parametrize("case", harness.parameters(LAYERS, "graph"))
@pytest.mark.slow
def test_graph(case):
    harness.check_graph(case)


@pytest.mark.parametrize("policy", [*harness.HALF, "float16"])
@pytest.mark.parametrize("case", harness.parameters(LAYERS, "half precision"))
def test_half_precision(case, policy):
    harness.check_policy(case, policy)


@pytest.mark.parametrize("case", harness.parameters(LAYERS, "training"))
@pytest.mark.slow
def test_training(case):
    harness.check_training(case)


@pytest.mark.slow
@pytest.mark.skipif(not harness.ON_TENSORFLOW, reason="JAX compiles every step: test_training did")
@pytest.mark.parametrize("case", harness.parameters(LAYERS, "jit"))
def test_training_compiled(case):
    harness.check_training(case, jit=True)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
def test_codec(codec):
    """It is the same after it was stored, as JSON has it."""
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(codec)))
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is type(codec) and again == codec and hash(again) == hash(codec)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_loss(loss):
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    assert harness.arguments_of(type(loss)) <= set(loss.get_config())


def tried():
    """One of each row, and the arguments that it was made with."""
    layers = [case.build() for case in LAYERS.values()]
    found = [(layer, layer.get_config(), harness.own_init(type(layer))) for layer in layers]
    found += [(codec, dataclasses.asdict(codec), type(codec)) for codec in CODECS]
    return found + [(loss, loss.get_config(), harness.own_init(type(loss))) for loss in LOSSES]


def test_every_class_has_a_row():
    """What Keras knows of this package; optimizers and schedules have their tests in tests/training."""
    known = set(registered.OBJECTS.values()) | {
        portable.BlockConv2DTranspose,
        portable.NativeSuppress,
        portable.PlanarMaxPool3D,
    }
    known = {one for one in known if not one.__module__.startswith("kerastransfer.training.")}
    assert len(known) > 18
    missing = known - {type(one) for one, *_ in tried()}
    assert not missing, f"give {sorted(one.__name__ for one in missing)} a row in {__file__}"


def test_every_argument_is_tried():
    """An argument that a config forgets comes back as its default: some row has another value for each."""
    always_default = {}
    for one, config, made in tried():
        for argument in inspect.signature(made).parameters.values() if made else ():
            if argument.default is not argument.empty:
                key = f"{type(one).__name__}({argument.name})"
                same = config.get(argument.name, argument.default) == argument.default
                always_default[key] = always_default.get(key, True) and same
    assert len(always_default) > 20
    untried = [key for key, same in always_default.items() if same]
    assert not untried, f"no row in {__file__} has a value of its own for {untried}"
