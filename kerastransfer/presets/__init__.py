"""Published weights by name: `--encoder NAME`, `kt.encoder("NAME")`. To add one, add a row here."""

from kerastransfer.errors import UserError
from kerastransfer.flags import nearest
from kerastransfer.presets.labels import COCO, VOC
from kerastransfer.presets.preset import Application, File, Preset

DARKNET = "https://pjreddie.com/media/files"
FASTEST = "https://github.com/dog-qiuqiu/Yolo-Fastest/raw/master/ModelZoo/yolo-fastest-1.1_coco"
PUBLIC_DOMAIN = "Darknet's, public domain"

PRESETS: dict[str, Preset | Application] = {
    "yolov3-tiny": Preset(
        File(
            f"{DARKNET}/yolov3-tiny.weights",
            35_434_956,
            "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
        ),
        "yolov3-tiny",
        COCO,
        "COCO boxes, 416 px",
        PUBLIC_DOMAIN,
        masks=((3, 4, 5), (1, 2, 3)),
    ),
    "yolov3": Preset(
        File(
            f"{DARKNET}/yolov3.weights",
            248_007_048,
            "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
        ),
        "yolov3",
        COCO,
        "COCO boxes, 416 px",
        PUBLIC_DOMAIN,
    ),
    "yolov3-spp": Preset(
        File(
            f"{DARKNET}/yolov3-spp.weights",
            252_209_544,
            "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
        ),
        "yolov3-spp",
        COCO,
        "COCO boxes, 608 px",
        PUBLIC_DOMAIN,
    ),
    "yolov1": Preset(
        File(
            f"{DARKNET}/yolov1/yolov1.weights",
            789_312_988,
            "df414df832ed10e3f2788df1e0e0ae573976573b97b5eec2c824ab9e5a8ae6d6",
        ),
        File(
            "https://github.com/pjreddie/darknet/raw/master/cfg/yolov1.cfg",
            2_740,
            "8b4b951dd646478ea4214cb389d152793ca98e5c6e67266884908ba084b6211e",
        ),
        VOC,
        "VOC boxes, 448 px",
        PUBLIC_DOMAIN,
    ),
    "yolo-fastest-1.1-xl": Preset(
        File(
            f"{FASTEST}/yolo-fastest-1.1-xl.weights",
            3_693_964,
            "fac5fb41786c1f38f04972a658443b189f48720d7d117f9a044100e98a35b0c5",
        ),
        File(
            f"{FASTEST}/yolo-fastest-1.1-xl.cfg",
            9_696,
            "c458427acc4fbeabceff4528ef7b65b066c0308ce599460f8ba299eba63abad3",
        ),
        COCO,
        "COCO boxes, 320 px",
        "YOLO LICENSE, do what you want",
    ),
    "mobilenet-v2": Application("MobileNetV2", "tf"),
    "mobilenet-v3-small": Application("MobileNetV3Small", "none"),
    "mobilenet-v3-large": Application("MobileNetV3Large", "none"),
    "resnet-50": Application("ResNet50", "caffe"),
    "resnet-101": Application("ResNet101", "caffe"),
    "efficientnet-b0": Application("EfficientNetB0", "none"),
    "efficientnet-b3": Application("EfficientNetB3", "none", "ImageNet classes, 300 px"),
}


# The beginning of names that keras-hub knows.
HUB = "hub:"
DETECTORS = tuple(name for name, row in PRESETS.items() if isinstance(row, Preset))


def detector(name: str) -> Preset:
    """The preset of this name. Raises UserError as `preset` does, and for one that is not a detector."""
    if name.startswith(HUB):
        raise UserError(f"{name} is a backbone, not a detector; give it as --encoder")
    found = preset(name)
    if isinstance(found, Application):
        raise UserError(
            f"{name} is a classifier ({found.trained_on}), not a detector; give it as --encoder, or one of "
            f"{', '.join(DETECTORS)} here"
        )
    return found


def preset(name: str) -> Preset | Application:
    """The preset of this name. Raises UserError, naming the nearest, for an unknown one."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name}; choose {', '.join(PRESETS)} (nearest: {nearest(name, PRESETS)})")
    return PRESETS[name]
