"""The nets of the YOLOv3 family as Darknet's cfg text (Redmon and Farhadi 2018), and one of ours for small machines."""

from collections.abc import Sequence

from kerastransfer.errors import UserError

# The tables. A row is a convolution, (filters, kernel) or (filters, kernel, stride); ("maxpool", kernel, stride);
# ("route", sections...); "shortcut", from the third section back; "upsample"; or "yolo", which is the linear
# convolution and [yolo].


def _stage(filters, blocks):
    return ((filters, 3, 2), *((filters // 2, 1), (filters, 3), "shortcut") * blocks)


def _neck(filters, pairs=3):
    return (*((filters, 1), (2 * filters, 3)) * pairs, "yolo")


def _up(tap, filters, joined):
    return (("route", tap), (filters, 1), "upsample", ("route", -1, joined))


_DARKNET53 = ((32, 3), *_stage(64, 1), *_stage(128, 2), *_stage(256, 8), *_stage(512, 8), *_stage(1024, 4))
_POOLS = (
    *(("maxpool", 5, 1), ("route", -2), ("maxpool", 9, 1), ("route", -4), ("maxpool", 13, 1)),
    ("route", -1, -3, -5, -6),
)
_HALVE = ("maxpool", 2, 2)
TABLES = {
    "yolov3": (*_DARKNET53, *_neck(512), *_up(79, 256, 61), *_neck(256), *_up(91, 128, 36), *_neck(128)),
    "yolov3-spp": (
        *(*_DARKNET53, *_neck(512)[:3], *_POOLS, *_neck(512)[2:]),
        *(*_up(86, 256, 61), *_neck(256), *_up(98, 128, 36), *_neck(128)),
    ),
    "yolov3-tiny": (
        *((16, 3), _HALVE, (32, 3), _HALVE, (64, 3), _HALVE, (128, 3), _HALVE, (256, 3), _HALVE, (512, 3)),
        *(("maxpool", 2, 1), (1024, 3), (256, 1), (512, 3), "yolo", *_up(13, 128, 8), (256, 3), "yolo"),
    ),
    # Like yolov3, but with fewer blocks, a quarter of the filters and no layer of stride 1: it trains as fast as a
    # yolov3-tiny of half width, and has shortcuts and a grid of stride 8.
    "yolov3-small": (
        *((16, 3, 2), *_stage(32, 1), *_stage(64, 2), *_stage(128, 3), *_stage(256, 2)),
        *(*_neck(128, 2), *_up(31, 64, 21), *_neck(64, 2), *_up(41, 32, 11), *_neck(32, 2)),
    ),
}
_ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
ANCHORS = {
    "yolov3": _ANCHORS,
    "yolov3-spp": _ANCHORS,
    "yolov3-small": _ANCHORS,
    "yolov3-tiny": ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)),
}
_NET = """[net]
batch=64
subdivisions=16
width={width}
height={height}
channels=3
momentum=0.9
decay=0.0005
angle=0
saturation=1.5
exposure=1.5
hue=.1
learning_rate=0.001
burn_in=1000
max_batches=500200
policy=steps
steps=400000,450000
scales=.1,.1
"""


def yolov3_cfg(
    name: str,
    *,
    num_classes: int = 80,
    anchors: Sequence[tuple[float, float]] | None = None,
    masks: Sequence[Sequence[int]] | None = None,
    width: float = 1.0,
    image_size: int | tuple[int, int] = 416,
    activation: str = "leaky",
) -> str:
    """The Darknet cfg text of a net in TABLES, which Darknet and OpenCV can also read.

    anchors: (w, h) in pixels of the network's input, from small to large; by default the published ones.
    masks: indices of the anchors of each [yolo], in the order of the cfg, coarsest first; by default equal shares from
        the largest: (6, 7, 8), (3, 4, 5), (0, 1, 2). The published yolov3-tiny.weights were trained with
        ((3, 4, 5), (1, 2, 3)).
    width: factor for all numbers of filters except those of the linear convolutions; they are rounded to a multiple of
        8 and are at least 8.
    image_size: side in pixels, or (H, W).
    Raises UserError for an unknown name, or a size that is not a multiple of 32.
    """
    if name not in TABLES:
        raise UserError(f"unknown net {name!r} of the YOLOv3 family; choose {', '.join(TABLES)}")
    anchors = ANCHORS[name] if anchors is None else anchors
    levels = TABLES[name].count("yolo")
    share = len(anchors) // levels
    if masks is None:
        masks = [range(share * level, share * (level + 1)) for level in reversed(range(levels))]
    if len(masks) != levels:
        raise UserError(f"{len(masks)} masks came for the {levels} [yolo] sections of {name}; give one for each")
    height, across = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height % 32 or across % 32:
        raise UserError(f"image size {height} x {across}: {name} needs multiples of 32; choose such")

    blocks, remaining = [_NET.format(width=across, height=height)], iter(masks)
    for row in TABLES[name]:
        if row == "shortcut":
            blocks.append(_section("shortcut", {"from": -3, "activation": "linear"}))
        elif row == "upsample":
            blocks.append(_section("upsample", {"stride": 2}))
        elif row == "yolo":
            mask = tuple(next(remaining))
            linear = {"size": 1, "stride": 1, "pad": 1, "filters": len(mask) * (5 + num_classes)}
            blocks.append(_section("convolutional", {**linear, "activation": "linear"}))
            blocks.append(_section("yolo", _yolo(mask, anchors, num_classes)))
        elif row[0] == "route":
            blocks.append(_section("route", {"layers": row[1:]}))
        elif row[0] == "maxpool":
            blocks.append(_section("maxpool", {"size": row[1], "stride": row[2]}))
        else:
            filters, size, stride = (*row, 1)[:3]
            scaled = filters if width == 1 else max(8, 8 * round(filters * width / 8))
            options = {"batch_normalize": 1, "filters": scaled, "size": size, "stride": stride, "pad": 1}
            blocks.append(_section("convolutional", {**options, "activation": activation}))
    return "\n".join(blocks)


def _yolo(mask, anchors, num_classes):
    numbers = [f"{value:g}" for anchor in anchors for value in anchor]
    return {
        "mask": mask,
        "anchors": numbers,
        "classes": num_classes,
        "num": len(anchors),
        "jitter": ".3",
        "ignore_thresh": ".7",
        "truth_thresh": 1,
        "random": 1,
    }


def _section(kind, options):
    lines = (
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple | list) else value}"
        for key, value in options.items()
    )
    return "\n".join((f"[{kind}]", *lines, ""))
