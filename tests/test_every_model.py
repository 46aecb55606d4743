"""Every builder of a model, in a narrow form: config, file, symbolic call, half precision, training.

`harness.Case` says what a row means. A builder, or a name in a table of builders, without a row fails."""

import functools
import importlib
import inspect
import pkgutil
import typing

import harness
import keras
import pytest
from harness import Case, boxes, integers, numbers

from kerastransfer import detectors
from kerastransfer.codecs.fcos import FcosCodec
from kerastransfer.codecs.layers import Vote
from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.masked_boxes import MaskedBoxes
from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.decoders import adaption, deeplab, fpn
from kerastransfer.decoders import genesis as genesis_decoders
from kerastransfer.decoders import unet as plain_unet
from kerastransfer.decoders import yolo_segnet as segnet_decoder
from kerastransfer.decoders import yolo_unet as unet_decoder
from kerastransfer.encoders import ENCODERS, resnet
from kerastransfer.encoders import genesis as genesis_encoders
from kerastransfer.encoders import labelenc as label_encoders
from kerastransfer.encoders import unet as unet_encoders
from kerastransfer.encoders import yolov1 as encoders
from kerastransfer.heads import box, classes, embedding, mask, pixels, pyramid, voxels
from kerastransfer.heads import yolov1 as grid_heads
from kerastransfer.models import (
    conrec,
    darknet_cfg,
    darknet_nets,
    faster_rcnn,
    genesis,
    labelenc,
    mask_rcnn,
    predictor,
    reading,
    segmenter,
    yolo_mask,
)
from kerastransfer.models.classifier import classifier
from kerastransfer.models.dense import dense, dilated, yolo_dense
from kerastransfer.models.fcos import fcos
from kerastransfer.models.parts import joined
from kerastransfer.models.retinanet import LEVELS, retinanet
from kerastransfer.models.unet import unet
from kerastransfer.models.yolo_segnet import yolo_segnet
from kerastransfer.models.yolo_unet import yolo_unet
from kerastransfer.models.yolov1 import passing_on, yolov1
from kerastransfer.models.yolov3 import yolov3

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# On JAX the layers alone go through every check, and models are trained, in a step that it compiles in any case.
ON_TENSORFLOW = pytest.mark.skipif(not harness.ON_TENSORFLOW, reason="on JAX the layers' own tests do")

SIDE = 64
# An encoder of stride 8, and its taps; a YOLOv3 with a grid at each of the strides 16 and 8.
NARROW = (((4, 3, 2),), ((5, 3), encoders.POOL), ((6, 3, 2),), (((6, 1), (6, 3)),), ((8, 3),))
TAPS = {"c1": (32, 4), "c2": (16, 5), "c3": (8, 6), "c4": (8, 6), "c5": (8, 8)}
CONVOLUTION = (
    "[convolutional]\nbatch_normalize=1\npad=1\nactivation=relu6\nsize=3\nstride={stride}\nfilters={filters}\n"
)
GRID = "[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask={mask}\nanchors=12,12, 40,40\nclasses=2\nnum=2\n"
CFG = "".join(
    [
        "[net]\nwidth=64\nheight=64\nchannels=3\n",
        *(CONVOLUTION.format(stride=2, filters=filters) for filters in (4, 5, 6, 8)),
        CONVOLUTION.format(stride=1, filters=8) + GRID.format(mask=1),
        "[route]\nlayers=2\n" + CONVOLUTION.format(stride=1, filters=6) + GRID.format(mask=0),
    ]
)
CODEC = YoloV1Codec(2, 1, sizes="root", score="product")
MASK = MaskCodec(mask_size=8, most=20)
CHANNELS, STRIDES = {"c1": 4, "c2": 5, "c3": 6}, {"c1": 2, "c2": 4, "c3": 8}
CHOOSES = "of boxes whose scores are nearly equal, suppression may keep another one"
DRAWS = "it draws other candidates each time"
LEARNS_FROM = "the first stage learns in another graph, the next row"
NO_POOLING = {"half precision": "TensorFlow pools no volumes in float16 on a CPU: tests/models/test_genesis.py"}
# XLA takes seconds for each, and compiles the same layers in another row.
COMPILED_AS = {
    "encoder resnet34": "encoder resnet18",
    "encoder resnet101": "encoder resnet50",
    "encoder resnet101_dcn": "encoder resnet101_dcn, dilated",
    "detector small": "encoder small",
    "detector fast_yolo": "encoder fast_yolo",
    "detector yolov3": "detector yolov3-spp",
    "faster_rcnn, training": "mask_rcnn, training",
    "conrec of two views": "conrec",
}
NO_GRADIENT = {"training": "no gradient flows through suppression", "jit": "nothing is trained"}

# Builders that no row is for, and why.
WITHOUT_ROW = {
    "models.rewrite.changed": "gives a copy of a model: tests/models/test_rewrite.py, and every file here",
    "models.rewrite.standard": "as `changed`",
    "models.rewrite.restored": "as `changed`",
    "encoders.taps.named": "the same model under another name: tests/encoders/test_taps.py",
    "models.adapter.encoder_of": "a copy of any model: tests/models/test_adapter.py",
    "models.applications.application": "a model of keras.applications: tests/runs/test_pretrained.py",
    "models.new_classes.with_classes": "a copy of any detector: tests/models/test_new_classes.py",
    "models.rewrite.with_policy": "a copy of any model: tests/models/test_new_classes.py",
    "models.labelenc.heads": "names parts of a detector: tests/recipes/test_labelenc.py",
    "models.labelenc.with_heads": "puts two parts together: tests/recipes/test_labelenc.py",
    "models.labelenc.distiller": "a graph of two detectors: tests/recipes/test_labelenc.py",
    "models.head_features.head_features": "a graph over parts of a detector: tests/models/test_head_features.py",
    "models.yolov1_cfg.yolov1_of_cfg": "full width alone: tests/models/test_yolov1_cfg.py",
}


def image():
    return (numbers(SIDE, SIDE, 3, low=0, high=255),)


def volume():
    return (numbers(4, 8, 4, 1, low=0, high=1),)


def narrow(table):
    """A table of an encoder with a sixteenth of its filters; four are the fewest."""

    def row(one):
        if one == encoders.POOL:
            return one
        if isinstance(one[0], tuple):
            return tuple(map(row, one))
        return (max(4, one[0] // 32), *one[1:])

    return tuple(tuple(map(row, stage)) for stage in table)


def encoder(name, **options):
    table = encoders.TABLES[name]
    return encoders.yolov1_encoder(narrow(table), activation=encoders.ACTIVATIONS[name], **options)


def residual(name, **options):
    """A narrow ResNet with a block in each stage, and two in the first. More filters would send the offsets of
    deformable convolutions beyond the map, where no gradient reaches them."""
    stages = ((4, 2), (4, 1), (5, 1), (6, 1))
    if resnet.NETS[name].get("block") == "basic":
        # oneDNN's gradient of a 1 x 1 convolution of stride 2 writes beyond its memory if it reads fewer channels.
        stages = ((16, 2), (17, 1), (18, 1), (19, 1))
    return resnet.resnet(**{**resnet.NETS[name], "stages": stages, **options})


def small_encoder():
    return encoders.yolov1_encoder(NARROW)


def grid_detector(name):
    return yolov1(encoder(name), CODEC, activation=encoders.ACTIVATIONS[name])


def darknet(name):
    text = darknet_nets.yolov3_cfg(name, num_classes=2, width=0.0625, image_size=SIDE, activation="relu6")
    return yolov3(darknet_cfg.parse(text))


def strided_encoder():
    """An encoder of stride 32."""
    return encoders.yolov1_encoder((*NARROW[:2], ((6, 3, 2),), ((6, 3, 2),), ((8, 3, 2),)))


def narrow_retinanet():
    return retinanet(strided_encoder(), retinanet_codec(2, LEVELS), channels=8, towers=1)


def supervised():
    detector = narrow_retinanet()
    return labelenc.trainer(detector, labelenc.label_network(detector, 2), reconstruct=True, seed=0)


def two_stages():
    codec = faster_rcnn.faster_rcnn_codec(2)
    return faster_rcnn.faster_rcnn(strided_encoder(), codec, channels=8, hidden=6, proposals=5), codec


def masked_stages():
    codec = MaskedBoxes(faster_rcnn.faster_rcnn_codec(2), MaskCodec(28, 6), 4)
    sizes = {"channels": 8, "hidden": 6, "proposals": 5, "filters": 4, "convs": 1}
    return mask_rcnn.mask_rcnn(strided_encoder(), codec, **sizes), codec


def learning(module, field, network, codec):
    return reading.trainer(network, module.learner(network, codec, proposals=8, seed=0), ("boxes", field))


def pyramid_maps(*names):
    return ({name: numbers(4, 6, 8) for name in names},)


def small_darknet():
    """A detector with a grid at each of two strides, and its codec."""
    found = darknet_cfg.anchors_of(darknet_cfg.parse(CFG))
    return yolov3(CFG), YoloV3Codec(2, found.anchors, found.levels)


def masked():
    """The detector of `small_darknet` with a mask branch, and its codec."""
    detector, codec = small_darknet()
    return yolo_mask.yolo_mask(detector, 2, fine=("c2",), filters=6, convs=1, pool=4, mask_size=8), codec


def boxed():
    """What a network with a mask branch reads: an image, boxes and their levels."""
    return ({"image": image()[0], "boxes": boxes(4), "levels": integers(4, below=2)},)


def annotated():
    """What a mask branch is trained on."""
    labels = integers(4, below=2)
    labels[0, 3] = -1
    crops = (numbers(4, 10, 10) > -1) * 255
    own = {"boxes": boxes(4), "labels": labels, "masks": crops.astype("uint8"), "frames": boxes(4)}
    return ({"image": image()[0], **own},)


ANY_SIZE = functools.partial(Case, unknown=(1, 2), standard=True)
VOLUMES = functools.partial(Case, unknown=(1, 2, 3), standard=True)
DETECTOR = functools.partial(ANY_SIZE, inputs=image, float32=True, close=0.05)
MODELS = {
    # image to taps
    "encoder yolov1": ANY_SIZE(lambda: encoder("yolov1"), image, covers=(encoders.yolov1_encoder,), slow=True),
    "encoder fast_yolo": ANY_SIZE(lambda: encoder("fast_yolo"), image, covers=(encoders.fast_yolo_encoder,)),
    "encoder small": ANY_SIZE(lambda: encoder("small"), image, covers=(encoders.small_encoder,), slow=True),
    "encoder, a trous": ANY_SIZE(
        lambda: encoders.yolov1_encoder(NARROW, strides=[2, 1, 1], dilate=True), image, standard=False
    ),
    "encoder resnet18": ANY_SIZE(
        lambda: residual("resnet18"), image, covers=(resnet.resnet, resnet.resnet18), close=0.05
    ),
    "encoder resnet34": ANY_SIZE(
        lambda: residual("resnet34", preprocessing="torch"), image, covers=(resnet.resnet34,), close=0.05, slow=True
    ),
    "encoder resnet50": ANY_SIZE(
        lambda: residual("resnet50", stride_in="3x3", preprocessing="unit"),
        image,
        covers=(resnet.resnet50,),
        close=0.05,
        slow=True,
    ),
    "encoder resnet101": ANY_SIZE(
        lambda: residual("resnet101", epsilon=1e-3, preprocessing="tf"),
        image,
        covers=(resnet.resnet101,),
        close=0.05,
        slow=True,
    ),
    "encoder resnet101_dcn": ANY_SIZE(
        lambda: residual("resnet101_dcn"),
        image,
        covers=(resnet.resnet101_dcn,),
        standard=False,
        close=0.05,
        slow=True,
    ),
    "encoder unet": ANY_SIZE(
        lambda: unet_encoders.unet_encoder(4, 3, preprocessing="tf"), image, covers=(unet_encoders.unet_encoder,)
    ),
    # label maps to taps
    "label encoder": ANY_SIZE(
        # Of the channels, see `residual`.
        lambda: label_encoders.labelenc(2, {"c3": (8, 16), "c4": (16, 32)}),
        lambda: (numbers(32, 48, 2, low=0, high=1),),
        covers=(label_encoders.labelenc,),
    ),
    "label network": ANY_SIZE(
        lambda: labelenc.label_network(narrow_retinanet(), 2),
        lambda: (numbers(SIDE, SIDE, 2, low=0, high=1),),
        covers=(labelenc.label_network,),
        lacks=dict.fromkeys(("training", "jit"), "bottlenecks of one channel may give nothing but 0"),
        slow=True,
    ),
    "labelenc, training": Case(
        supervised,
        lambda: ({"image": image()[0], **{name: annotated()[0][name] for name in ("boxes", "labels")}},),
        covers=(labelenc.trainer,),
        unknown=(1,),
        trained=("p3_classes", "p3_boxes", "feature_p3"),
        lacks={
            **dict.fromkeys(("training", "jit"), "tests/models/test_labelenc.py"),
            "half precision": "raw predictions are float32, and maps are not",
        },
        slow=True,
    ),
    # taps to maps
    "decoder segnet": ANY_SIZE(
        lambda: segnet_decoder.segnet(CHANNELS, STRIDES, widths=(6, 5)),
        lambda: ({"c3": numbers(4, 6, 6)},),
        covers=(segnet_decoder.segnet,),
    ),
    "decoder unet": ANY_SIZE(
        lambda: unet_decoder.unet(CHANNELS, STRIDES, widths=(7, 6, 5)),
        lambda: ({"c1": numbers(16, 24, 4), "c2": numbers(8, 12, 5), "c3": numbers(4, 6, 6)},),
        covers=(unet_decoder.unet,),
    ),
    "decoder unet_plain": ANY_SIZE(
        lambda: plain_unet.unet(CHANNELS, STRIDES, widths=(7, 6, 5)),
        lambda: ({"c1": numbers(16, 24, 4), "c2": numbers(8, 12, 5), "c3": numbers(4, 6, 6)},),
        covers=(plain_unet.unet,),
        trained=("pixels",),
    ),
    "decoder deeplab": ANY_SIZE(
        lambda: deeplab.deeplab(CHANNELS, STRIDES, widths=(16,)),
        lambda: ({"c3": numbers(4, 6, 6)},),
        covers=(deeplab.deeplab,),
    ),
    "decoder deeplab_aspp": ANY_SIZE(
        lambda: deeplab.pyramid(CHANNELS, STRIDES, widths=(7,)),
        lambda: ({"c3": numbers(16, 18, 6)},),
        covers=(deeplab.pyramid,),
    ),
    "decoder fpn": ANY_SIZE(
        lambda: fpn.fpn({"c3": 4, "c4": 5, "c5": 6}, {"c3": 8, "c4": 16, "c5": 32}, filters=6),
        lambda: ({"c3": numbers(8, 12, 4), "c4": numbers(4, 6, 5), "c5": numbers(2, 3, 6)},),
        covers=(fpn.fpn,),
    ),
    "decoder adaption": ANY_SIZE(
        lambda: adaption.adaption({"p3": 4, "p4": 5}),
        lambda: ({"p3": numbers(4, 6, 4), "p4": numbers(2, 3, 5)},),
        covers=(adaption.adaption,),
    ),
    # maps to raw predictions
    "head fully_conv": ANY_SIZE(
        lambda: grid_heads.fully_conv(6, 7, hidden=(5, 4), dilation=2, activation="relu6"),
        lambda: ({"c5": numbers(4, 6, 6)},),
        covers=(grid_heads.fully_conv,),
        float32=True,
    ),
    "head paper_fc": Case(
        lambda: grid_heads.paper_fc(6, 7, grid=2, hidden=5),
        lambda: ({"c5": numbers(2, 2, 6)},),
        covers=(grid_heads.paper_fc,),
        float32=True,
        standard=True,
    ),
    "head darknet_local": Case(
        lambda: grid_heads.darknet_local(6, 7, grid=2, hidden=5),
        lambda: ({"c5": numbers(2, 2, 6)},),
        covers=(grid_heads.darknet_local,),
        float32=True,
    ),
    "head retinanet": ANY_SIZE(
        lambda: pyramid.retinanet(("p3", "p4"), 2, 3, channels=8, towers=1),
        lambda: pyramid_maps("p3", "p4"),
        covers=(pyramid.retinanet,),
        float32=True,
    ),
    "head fcos": ANY_SIZE(
        lambda: pyramid.fcos(("p3", "p4"), 2, channels=8, towers=1),
        lambda: pyramid_maps("p3", "p4"),
        covers=(pyramid.fcos,),
        float32=True,
        standard=False,
    ),
    "head proposals": ANY_SIZE(
        lambda: pyramid.proposals(("p3", "p4"), 3, channels=8),
        lambda: pyramid_maps("p3", "p4"),
        covers=(pyramid.proposals,),
        float32=True,
    ),
    "head two_layers": Case(
        lambda: box.two_layers(5, 2, pool=3, hidden=6),
        lambda: ({"rois": numbers(4, 3, 3, 5)},),
        covers=(box.two_layers,),
        unknown=(1,),
        float32=True,
        standard=True,
    ),
    "head pooled": ANY_SIZE(
        lambda: classes.pooled(6, 3, tap="c3", dropout=0.3),
        lambda: ({"c3": numbers(4, 6, 6)},),
        covers=(classes.pooled,),
        float32=True,
    ),
    "head attention": ANY_SIZE(
        lambda: embedding.pooling(16, "attention", tap="c3"),
        lambda: ({"c3": numbers(4, 6, 16)},),
        covers=(embedding.pooling,),
        float32=True,
        lacks=dict.fromkeys(("training", "jit"), "dropout may leave a channel without a gradient"),
    ),
    "head projection": Case(
        lambda: embedding.projection(6, width=5, size=4),
        lambda: (numbers(6),),
        covers=(embedding.projection,),
        standard=True,
    ),
    "head transposed": ANY_SIZE(
        lambda: pixels.transposed(6, 3),
        lambda: ({"pixels": numbers(4, 6, 6)},),
        covers=(pixels.transposed,),
        float32=True,
    ),
    "head pointwise": ANY_SIZE(
        lambda: pixels.pointwise(6, 3),
        lambda: ({"pixels": numbers(4, 6, 6)},),
        covers=(pixels.pointwise,),
        float32=True,
    ),
    "head interpolated": ANY_SIZE(
        lambda: pixels.interpolated(6, 3, 4),
        lambda: ({"pixels": numbers(4, 6, 6)},),
        covers=(pixels.interpolated,),
        float32=True,
    ),
    "head mask": Case(
        lambda: mask.fcn(5, 2, pool=4, mask_size=4, convs=2, filters=6, activation="relu6", batch_norm=True),
        lambda: ({"rois": numbers(4, 4, 4, 5)},),
        covers=(mask.fcn,),
        unknown=(1,),
        float32=True,
    ),
    # image to raw predictions
    "detector small": DETECTOR(lambda: grid_detector("small"), covers=(yolov1, passing_on)),
    "detector fast_yolo": DETECTOR(lambda: grid_detector("fast_yolo"), slow=True),
    "detector yolov1": DETECTOR(lambda: grid_detector("yolov1"), slow=True),
    "detector yolov3-tiny": DETECTOR(lambda: darknet("yolov3-tiny"), covers=(yolov3,)),
    "detector yolov3-small": DETECTOR(lambda: darknet("yolov3-small"), slow=True),
    "detector yolov3": DETECTOR(lambda: darknet("yolov3"), slow=True),
    "detector yolov3-spp": DETECTOR(lambda: darknet("yolov3-spp"), slow=True),
    "detector retinanet": DETECTOR(
        narrow_retinanet,
        covers=(retinanet, joined),
        slow=True,
    ),
    "detector fcos": DETECTOR(
        # In groups of three channels: alone at one place, a channel is always 0.
        lambda: fcos(strided_encoder(), FcosCodec(2, LEVELS), channels=12, towers=1),
        covers=(fcos,),
        standard=False,
        slow=True,
    ),
    "detector faster_rcnn": Case(
        lambda: two_stages()[0],
        image,
        covers=(faster_rcnn.faster_rcnn, faster_rcnn.box_branch),
        trained=("classes", "boxes"),
        unknown=(1, 2),
        float32=True,
        lacks={"close": CHOOSES, "training": LEARNS_FROM, "jit": LEARNS_FROM},
        slow=True,
    ),
    "faster_rcnn, training": Case(
        lambda: learning(faster_rcnn, "boxes", *two_stages()),
        lambda: ({"image": image()[0], **{name: annotated()[0][name] for name in ("boxes", "labels")}},),
        covers=(faster_rcnn.learner, reading.trainer),
        trained=(*(f"p{n}_{kind}" for n in range(2, 7) for kind in ("classes", "boxes")), "roi_classes", "roi_boxes"),
        unknown=(1,),
        float32=True,
        lacks={"close": CHOOSES, "graph": DRAWS, "file": DRAWS},
        slow=True,
    ),
    "detector mask_rcnn": Case(
        lambda: masked_stages()[0],
        lambda: ({name: boxed()[0][name] for name in ("image", "boxes")},),
        covers=(mask_rcnn.mask_rcnn, mask_rcnn.mask_branch),
        trained=("classes", "boxes", "masks"),
        unknown=(1,),
        float32=True,
        lacks={"close": CHOOSES, "training": LEARNS_FROM, "jit": LEARNS_FROM},
        slow=True,
    ),
    "mask_rcnn, training": Case(
        lambda: learning(mask_rcnn, "masks", *masked_stages()),
        annotated,
        covers=(mask_rcnn.learner,),
        trained=(
            *(f"p{n}_{kind}" for n in range(2, 7) for kind in ("classes", "boxes")),
            *("roi_classes", "roi_boxes", "masks"),
        ),
        unknown=(1,),
        float32=True,
        lacks={"close": CHOOSES, "graph": DRAWS, "file": DRAWS},
        slow=True,
    ),
    "mask_rcnn, instances": Case(
        lambda: mask_rcnn.instances(*masked_stages(), (SIDE, SIDE)),
        image,
        covers=(mask_rcnn.instances,),
        float32=True,
        lacks={**NO_GRADIENT, "close": CHOOSES},
        slow=True,
    ),
    "detector, dense": DETECTOR(lambda: dense(yolov1(small_encoder(), CODEC), 2), covers=(dense,), standard=False),
    "encoder, dilated": ANY_SIZE(lambda: dilated(small_encoder(), 2), image, covers=(dilated,), standard=False),
    "encoder resnet101_dcn, dilated": ANY_SIZE(
        lambda: dilated(residual("resnet101_dcn"), 16), image, standard=False, close=0.05, slow=True
    ),
    # image to logits
    "classifier": ANY_SIZE(
        lambda: classifier(small_encoder(), 3, dropout=0.3), image, covers=(classifier,), float32=True
    ),
    "segmenter segnet": ANY_SIZE(lambda: yolo_segnet(small_encoder(), 3), image, covers=(yolo_segnet,), float32=True),
    "segmenter unet": ANY_SIZE(lambda: yolo_unet(small_encoder(), 3), image, covers=(yolo_unet,), float32=True),
    "segmenter segnet_matched": ANY_SIZE(
        lambda: segmenter.segmenter(small_encoder(), "segnet_matched", 3),
        image,
        covers=(segmenter.segmenter,),
        float32=True,
        slow=True,
    ),
    "segmenter unet_plain": ANY_SIZE(
        lambda: segmenter.segmenter(small_encoder(), "unet_plain", 3), image, float32=True, slow=True
    ),
    "segmenter deeplab": ANY_SIZE(
        lambda: segmenter.segmenter(strided_encoder(), "deeplab", 3, widths=(16,)), image, float32=True
    ),
    "segmenter deeplab_aspp": ANY_SIZE(
        lambda: segmenter.segmenter(dilated(strided_encoder(), 8), "deeplab_aspp", 3),
        image,
        float32=True,
        slow=True,
    ),
    "unet": ANY_SIZE(lambda: unet(3, width=4, depth=3), image, covers=(unet,), float32=True),
    "segmenter behind its encoder": ANY_SIZE(
        lambda: segmenter.behind_encoder(yolo_unet(small_encoder(), 3)),
        lambda: ({tap: numbers(side, side, depth) for tap, (side, depth) in TAPS.items()},),
        covers=(segmenter.behind_encoder,),
        float32=True,
    ),
    # graphs around trained networks
    "segmenter by votes": Case(
        lambda: yolo_dense(yolov1(small_encoder(), CODEC), Vote(CODEC, 8, 16, (SIDE, SIDE)), [0.5, 1.0]),
        image,
        covers=(yolo_dense,),
        float32=True,
        lacks={"close": "rounding moves a box's edge over a pixel, and a vote is there or not"},
    ),
    "candidates": Case(
        lambda: predictor.candidates(*small_darknet()),
        image,
        covers=(predictor.candidates,),
        unknown=(1, 2),
        float32=True,
    ),
    "detections": Case(
        lambda: predictor.predictor(*small_darknet(), iou_threshold=0.6, max_detections=7),
        image,
        covers=(predictor.predictor,),
        unknown=(1, 2),
        float32=True,
        lacks={**NO_GRADIENT, "close": CHOOSES},
    ),
    "probabilities": ANY_SIZE(
        lambda: predictor.probabilities(yolo_segnet(small_encoder(), 3)),
        image,
        covers=(predictor.probabilities,),
        float32=True,
    ),
    "class probabilities": ANY_SIZE(
        lambda: predictor.class_probabilities(classifier(small_encoder(), 3)),
        image,
        covers=(predictor.class_probabilities,),
        float32=True,
    ),
    # what learns without labels
    "conrec": ANY_SIZE(
        lambda: conrec.conrec(
            unet_encoders.unet_encoder(4, 3), tasks=("colours", "altered", "blackened"), contrast="average"
        ),
        image,
        covers=(conrec.conrec,),
        close=0.05,
        lacks={"half precision": "what is compared is in half precision, and logits are not"},
    ),
    "conrec of two views": Case(
        lambda: conrec.of_two_views(conrec.conrec(unet_encoders.unet_encoder(4, 3), contrast="average")),
        lambda: ({"first": image()[0], "second": image()[0][::-1].copy()},),
        covers=(conrec.of_two_views,),
        unknown=(1, 2),
        standard=True,
        lacks={"half precision": "as `conrec`"},
    ),
    # volumes
    "genesis encoder": VOLUMES(
        lambda: genesis_encoders.genesis_encoder(4, 3),
        volume,
        covers=(genesis_encoders.genesis_encoder,),
        lacks=NO_POOLING,
    ),
    "genesis decoder": VOLUMES(
        lambda: genesis_decoders.genesis_decoder(CHANNELS),
        lambda: ({"c1": numbers(4, 8, 4, 4), "c2": numbers(2, 4, 2, 5), "c3": numbers(1, 2, 1, 6)},),
        covers=(genesis_decoders.genesis_decoder,),
    ),
    "genesis head": VOLUMES(
        lambda: voxels.voxelwise(5, 2, activation="sigmoid"),
        lambda: ({"voxels": numbers(4, 8, 4, 5)},),
        covers=(voxels.voxelwise,),
        float32=True,
    ),
    "genesis": VOLUMES(
        lambda: genesis.genesis(width=3, depth=2),
        volume,
        covers=(genesis.genesis,),
        float32=True,
        lacks=NO_POOLING,
        slow=True,
    ),
    "genesis segmenter": VOLUMES(
        lambda: genesis.genesis_segmenter(3, width=3, depth=2),
        volume,
        covers=(genesis.genesis_segmenter,),
        float32=True,
        lacks=NO_POOLING,
        slow=True,
    ),
    # with a mask branch
    "yolo_mask": Case(lambda: masked()[0], boxed, covers=(yolo_mask.yolo_mask,), unknown=(1,), float32=True),
    "mask branch": Case(
        lambda: yolo_mask.branch(
            {"p3": 5, "p4": 6}, {"c2": 4}, 2, filters=6, pool=4, mask_size=8, convs=1, batch_norm=True
        ),
        lambda: (
            {
                "p3": numbers(4, 6, 5),
                "p4": numbers(2, 3, 6),
                "c2": numbers(8, 12, 4),
                "boxes": boxes(4),
                "levels": integers(4, below=2),
            },
        ),
        covers=(yolo_mask.branch,),
        unknown=(1,),
        float32=True,
    ),
    "yolo_mask, training": Case(
        lambda: yolo_mask.trainer(*masked(), MASK, proposals=6),
        annotated,
        covers=(yolo_mask.trainer,),
        trained=("p3", "p4", "masks"),
        unknown=(1,),
        float32=True,
        lacks={"close": CHOOSES},
    ),
    "instances": Case(
        lambda: yolo_mask.instances(*masked(), MASK, (SIDE, SIDE), max_detections=7),
        image,
        covers=(yolo_mask.instances,),
        float32=True,
        lacks={**NO_GRADIENT, "close": CHOOSES},
        slow=True,
    ),
}
COMPILED = {name: case for name, case in MODELS.items() if COMPILED_AS.get(name) not in MODELS}


@ON_TENSORFLOW
@pytest.mark.parametrize("case", harness.parameters(MODELS, "config"))
@pytest.mark.slow
def test_config(case):
    harness.check_config(case)


@ON_TENSORFLOW
@pytest.mark.parametrize("case", harness.parameters(MODELS, "file"))
@pytest.mark.slow
def test_file(case, tmp_path):
    harness.check_file(case, tmp_path / "model.keras")


@ON_TENSORFLOW
@pytest.mark.parametrize("case", harness.parameters(MODELS, "symbolic"))
def test_symbolic(case):
    harness.check_symbolic(case)


@pytest.mark.slow
@ON_TENSORFLOW
@pytest.mark.parametrize("case", harness.parameters(MODELS, "graph"))
def test_graph(case):
    harness.check_graph(case)


@pytest.mark.slow
@ON_TENSORFLOW
@pytest.mark.parametrize("policy", harness.HALF)
@pytest.mark.parametrize("case", harness.parameters(MODELS, "half precision"))
def test_half_precision(case, policy):
    harness.check_policy(case, policy)


@pytest.mark.parametrize("case", harness.parameters(MODELS, "training"))
def test_training(case):
    """On TensorFlow without a graph, which would take most of the time; the next test makes one."""
    harness.check_training(case, eager=harness.ON_TENSORFLOW)


@pytest.mark.slow
@ON_TENSORFLOW
@pytest.mark.parametrize("case", harness.parameters(COMPILED, "jit"))
def test_training_compiled(case):
    harness.check_training(case, jit=True)


def builders():
    """{"room.module.name": function}: the public functions of the rooms that give a model."""
    found = {}
    for room in ("encoders", "decoders", "heads", "models"):
        package = importlib.import_module(f"kerastransfer.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"kerastransfer.{room}."):
            module = importlib.import_module(module.name)
            for name, one in inspect.getmembers(module, inspect.isfunction):
                own = one.__module__ == module.__name__ and not name.startswith("_")
                if own and gives_a_model(one):
                    found[f"{module.__name__.removeprefix('kerastransfer.')}.{name}"] = one
    return found


def gives_a_model(function) -> bool:
    given = typing.get_type_hints(function).get("return")
    return keras.Model in (given, *typing.get_args(given))


def test_every_builder_has_a_row():
    covered = {one for case in MODELS.values() for one in case.covers}
    found = builders()
    assert len(found) > 25
    assert set(WITHOUT_ROW) <= set(found)
    missing = [name for name, one in found.items() if one not in covered and name not in WITHOUT_ROW]
    assert not missing, f"give {missing} a row in {__file__}"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("encoder", ENCODERS),
        ("head", grid_heads.HEADS),
        ("detector", detectors.FAMILY),
        ("segmenter", segmenter.DECODERS),
    ],
)
def test_every_name_in_a_table_has_a_row(kind, names):
    missing = [name for name in names if f"{kind} {name}" not in MODELS]
    assert len(names) > 2 and not missing, f"give {kind} {missing} a row in {__file__}"
