"""YOLOv1 from Darknet's yolov1.cfg: a chain of convolutions and pools, then [local], [connected], [detection]."""

from collections.abc import Sequence

import keras

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, TABLES, layers_by_name, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.models.darknet_cfg import Section, shapes
from kerastransfer.models.yolov1 import yolov1

HEAD = ("local", "dropout", "connected", "detection")
# Darknet's defaults for options that a section lacks.
DEFAULTS = {
    "size": "1",
    "stride": "1",
    "pad": "0",
    "batch_normalize": "0",
    "activation": "logistic",
    "softmax": "0",
    "coords": "1",
}


def yolov1_of_cfg(sections: Sequence[Section]) -> tuple[keras.Model, YoloV1Codec]:
    """The net with the head "darknet_local", and the codec for its predictions.

    Its convolutions must be those of a table in `encoders.yolov1`, so that the package knows the encoder. Raises
    UserError, naming the section, for anything else.
    """
    body = [section for section in sections[1:] if section.kind in ("convolutional", "maxpool")]
    rest = sections[len(body) + 1 :]
    if tuple(section.kind for section in rest) != HEAD:
        needed = ", ".join(f"[{kind}]" for kind in HEAD)
        raise UserError(f"{sections[-1]}: read as YOLOv1 a cfg has convolutions and pools, then {needed}; fix it")
    local, _, connected, detection = rest
    rows = tuple(map(_row, body))
    stages = next((one for one in TABLES.values() if tuple(layers_by_name(one).values()) == rows), None)
    if stages is None:
        raise UserError(f"{body[-1]}: the net up to here is of no known table ({', '.join(TABLES)}); give one of these")
    _require(local, size=3, stride=1, pad=1, activation="leaky")
    _require(connected, activation="linear")
    _require(detection, softmax=0, coords=4)

    codec = YoloV1Codec(
        detection.integer("classes", 1),
        detection.integer("num", 1),
        sizes="root" if detection.integer("sqrt", 0) else "image",
        layout="darknet",
        score="product",
    )
    *grid, _, _ = shapes(sections[: len(body) + 1])[-1]
    side, outputs = detection.integer("side", 7), connected.integer("output", 1)
    if grid != [side, side] or outputs != side * side * codec.outputs:
        raise UserError(
            f"{detection}: side={side} with a map of {grid[0]} x {grid[1]} and output={outputs}; the map must be "
            f"side x side and output= {side} * {side} * {codec.outputs} = {side * side * codec.outputs}"
        )
    filters = local.integer("filters", 1)
    return yolov1(yolov1_encoder(stages), codec, head="darknet_local", grid=side, hidden=filters), codec


def _row(section):
    """A section in the form of a table's row."""
    if section.kind == "maxpool":
        _require(section, size=2, stride=2)
        return POOL
    size, stride = section.integer("size", 1), section.integer("stride", 1)
    _require(section, batch_normalize=1, activation="leaky", pad=1)
    return (section.integer("filters", 1), size, stride)[: 2 + (stride > 1)]


def _require(section, **options):
    for key, value in options.items():
        given = section.options.get(key, DEFAULTS[key])
        if given != str(value):
            raise UserError(f"{section}: {key}={given}, but YOLOv1's encoder and head have {key}={value}; give this")
