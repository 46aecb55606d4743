"""The encoders that are built here, with random weights, by name: `kt.encoder("resnet18")`. To add one, add a row.

Names in `presets` are those of published weights: "resnet-50" is that of ImageNet, "resnet50" has random weights.
"""

from collections.abc import Callable

import keras

from kerastransfer.encoders.resnet import resnet18, resnet34, resnet50, resnet101, resnet101_dcn
from kerastransfer.encoders.unet import unet_encoder
from kerastransfer.encoders.yolov1 import fast_yolo_encoder, small_encoder, yolov1_encoder

ENCODERS: dict[str, Callable[..., keras.Model]] = {
    "yolov1": yolov1_encoder,
    "fast_yolo": fast_yolo_encoder,
    "small": small_encoder,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet101_dcn": resnet101_dcn,
    "unet": unet_encoder,
}
