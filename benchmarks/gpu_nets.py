"""The nets of gpu.py, for any backend of Keras, with the data for training and inference."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from graph import flatten, multiply_adds
from small_detector import NUM_CLASSES

ENCODERS = ("small", "fast_yolo", "yolov1")
# For each encoder.
DECODERS = ("detector", "segnet", "unet")
YOLOV3 = ("yolov3", "yolov3-tiny")
# For each net of the YOLOv3 family.
PARTS = ("detector", "mask branch", "instances")
# Side of the images, as published.
SIDES = dict.fromkeys(ENCODERS, 448) | dict.fromkeys(YOLOV3, 416)
# Number of classes of YOLOv3.
COCO = 80
# Number of boxes in a training image.
OBJECTS = 8
# Number of boxes in an image that get a mask.
DETECTIONS = 20
# Side of the masks that a branch is trained on, as in data/mask_crops.py, which imports TensorFlow.
CROP = 112
# Width of YOLOv3 and its branch for tiny sizes.
NARROW = 0.125


@dataclasses.dataclass(frozen=True)
class Net:
    """A net to measure.

    inference: the graph whose inference is timed, on the batch `given`.
    multiply_adds: a function that counts those of `inference` for one image, from the configs of its layers. It is
        called last, because Keras imports TensorFlow to write a config, if it is installed.
    network, terms, weights: what `TermModel` trains, on `inputs` and `targets`; network is None if nothing is trained.
    """

    inference: Any
    given: Any
    multiply_adds: Callable[[], int]
    network: Any = None
    terms: Callable | None = None
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    inputs: Any = None
    targets: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def net(base: str, part: str, image_size: int, batch_size: int, *, tiny: bool = False) -> Net:
    """The net for a base of ENCODERS and a part of DECODERS, or a base of YOLOV3 and a part of PARTS. tiny: make YOLOv3
    an eighth as wide."""
    if base in YOLOV3:
        return of_yolov3(base, part, image_size, batch_size, NARROW if tiny else 1.0)
    network, terms, weights = on_encoder(base, part)
    images, targets = batch(image_size, batch_size, NUM_CLASSES)
    return Net(network, images, lambda: count(network, image_size), network, terms, weights, images, targets)


def on_encoder(encoder: str, decoder: str):
    """The network, its loss and the weights of the terms."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders import ENCODERS as builders
    from kerastransfer.encoders.yolov1 import ACTIVATIONS
    from kerastransfer.losses.pixels import pixel_loss
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.segmenter import segmenter
    from kerastransfer.models.yolov1 import yolov1

    part = builders[encoder]()
    if decoder == "detector":
        codec = YoloV1Codec(NUM_CLASSES, sizes="root", score="product")
        return yolov1(part, codec, activation=ACTIVATIONS[encoder]), yolov1_loss(codec, "darknet"), WEIGHTS
    network = segmenter(part, decoder, NUM_CLASSES + 1)
    freeze(part)
    return network, pixel_loss, {"cross_entropy": 1.0, "dice": 1.0}


def of_yolov3(name: str, part: str, image_size: int, batch_size: int, width: float) -> Net:
    """The detector, to raw maps; the mask branch, from the detector's maps and boxes to logits, which is trained as in
    `recipes.yolo_mask`; or the whole graph from image to masks, suppression included, which is not trained."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.losses.mask import mask_loss
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.models import darknet_cfg, darknet_nets, yolo_mask
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.yolov3 import yolov3

    cfg = darknet_nets.yolov3_cfg(name, num_classes=COCO, width=width, image_size=image_size)
    found = darknet_cfg.anchors_of(darknet_cfg.parse(cfg))
    codec, detector = YoloV3Codec(COCO, found.anchors, found.levels), yolov3(cfg)
    images, targets = batch(image_size, batch_size, COCO)
    if part == "detector":
        terms, weights = yolov3_loss(codec), WEIGHTS["darknet"]
        return Net(detector, images, lambda: count(detector, image_size), detector, terms, weights, images, targets)

    network = yolo_mask.yolo_mask(detector, COCO, filters=round(256 * width))
    size = (image_size, image_size)
    instances = yolo_mask.instances(network, codec, MaskCodec(), size, max_detections=DETECTIONS)
    if part == "instances":
        return Net(instances, images, lambda: count(instances, image_size))
    for frozen in yolo_mask.DETECTOR:
        freeze(network.get_layer(frozen))
    return Net(
        network.get_layer("branch"),
        pyramid(network.get_layer("branch"), found.levels, image_size, batch_size),
        lambda: count(instances, image_size) - count(detector, image_size),
        yolo_mask.trainer(network, codec, MaskCodec()),
        lambda _, predictions: mask_loss(predictions, predictions["masks"]),
        {"mask": 1.0},
        {"image": images, **{name: targets[name] for name in ("boxes", "labels", "masks", "frames")}},
        targets,
    )


def count(model, image_size: int) -> int:
    """Multiply-adds for one image."""
    return multiply_adds(flatten(model, (1, image_size, image_size, 3)).steps)


def batch(image_size: int, batch_size: int, num_classes: int):
    """Random images (B, H, W, 3) float32, and the annotations for all losses."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (batch_size, image_size, image_size)
    boxes = drawn_boxes(rng, batch_size, OBJECTS)
    images = rng.uniform(0, 255, (*shape, 3)).astype("float32")
    return images, {
        "boxes": boxes,
        "labels": rng.integers(0, num_classes, boxes.shape[:2]).astype("int32"),
        "segmentation": rng.integers(0, num_classes + 1, shape).astype("uint8"),
        # Masks that fill their boxes.
        "masks": np.full((*boxes.shape[:2], CROP, CROP), 255, "uint8"),
        "frames": boxes,
    }


def pyramid(branch, levels, image_size: int, batch_size: int) -> dict:
    """Inputs of a mask branch: random maps of each level, boxes, and the level of each box."""
    import numpy as np

    rng = np.random.default_rng(1)
    given = {
        level.name: rng.normal(
            0, 1, (batch_size, *(image_size // level.stride,) * 2, branch.input[level.name].shape[-1])
        ).astype("float32")
        for level in levels
    }
    boxes = drawn_boxes(rng, batch_size, DETECTIONS)
    return {**given, "boxes": boxes, "levels": rng.integers(0, len(levels), boxes.shape[:2]).astype("int32")}


def drawn_boxes(rng, batch_size: int, number: int):
    """Boxes (B, N, 4) whose sides are from 0.1 to 0.4 of the image."""
    import numpy as np

    near = rng.uniform(0, 0.6, (batch_size, number, 2))
    return np.concatenate([near, near + rng.uniform(0.1, 0.4, near.shape)], -1).astype("float32")
