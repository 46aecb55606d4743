"""Detectors trained with Darknet: a network from a cfg file and a .weights file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras


def converted(
    cfg: Path, weights: Path, names: Path | None = None, layers: int | None = None
) -> "tuple[keras.Model, About, dict[str, list[str]]]":
    """The network, its `About`, and the names of layers that were {"copied": [...]} or stay {"fresh": [...]}.

    names: a file of class names, one per line; the default is class0, class1, ...
    layers: number of sections whose weights are read; by default all.
    Raises UserError for files that cannot be read or do not fit together.
    """
    from kerastransfer.export import darknet_weights
    from kerastransfer.models import darknet_cfg

    sections = darknet_cfg.parse(_text(cfg))
    # Resize images as Darknet does: YOLOv1 stretches them, YOLOv3 letterboxes them.
    first = sections[-1].kind == "detection"
    network, codec = _yolov1(sections) if first else _yolov3(sections)
    labels = [f"class{number}" for number in range(codec.num_classes)]
    if names is not None:
        labels = [line.strip() for line in _text(names).splitlines() if line.strip()]
    if len(labels) != codec.num_classes:
        raise UserError(f"{names}: {len(labels)} names for the {codec.num_classes} classes of {cfg}; give one per line")
    done = darknet_weights.read(weights, network, layers=layers)
    resize = "stretch" if first else "letterbox"
    return network, About("detection", tuple(labels), darknet_cfg.image_size(sections), resize, codec), done


def _yolov1(sections: list) -> tuple["keras.Model", Any]:
    from kerastransfer.models.yolov1_cfg import yolov1_of_cfg

    return yolov1_of_cfg(sections)


def _yolov3(sections: list) -> tuple["keras.Model", Any]:
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.models.darknet_cfg import anchors_of
    from kerastransfer.models.yolov3 import yolov3

    found = anchors_of(sections)
    return yolov3(sections), YoloV3Codec(found.num_classes, found.anchors, found.levels, sway=found.scales)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give another file") from error
