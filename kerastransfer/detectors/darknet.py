"""Detectors trained with Darknet: a network from a cfg file and a .weights file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError
from kerastransfer.presets import PRESETS
from kerastransfer.presets.preset import Preset
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras


def converted(
    cfg: Path, weights: Path, names: Path | None = None, layers: int | None = None
) -> "tuple[keras.Model, About, dict[str, list[str]]]":
    """The network, its `About`, and {"copied", "fresh": names of layers; "advice": sentences about cfg and weights that
    do not belong together}.

    names: a file of class names, one per line; the default is class0, class1, ...
    layers: number of sections whose weights are read; by default all.
    Raises UserError for files that cannot be read or do not fit together.
    """
    labels = None
    if names is not None:
        labels = [line.strip() for line in _text(names).splitlines() if line.strip()]
    network, about, done = built(_text(cfg), weights, labels, layers)
    # Only YOLOv3's anchors are in the cfg.
    advice = _advice(weights, about.decoder) if hasattr(about.decoder, "anchors") else []
    return network, about, {**done, "advice": advice}


def built(
    cfg: str, weights: Path, labels: Sequence[str] | None = None, layers: int | None = None
) -> "tuple[keras.Model, About, dict[str, list[str]]]":
    """As `converted`, from the text of a cfg and the names of the classes."""
    from kerastransfer.export import darknet_weights
    from kerastransfer.models import darknet_cfg

    sections = darknet_cfg.parse(cfg)
    # Resize images as Darknet does: YOLOv1 stretches them, YOLOv3 letterboxes them.
    first = sections[-1].kind == "detection"
    network, codec = _yolov1(sections) if first else _yolov3(sections)
    if labels is None:
        labels = [f"class{number}" for number in range(codec.num_classes)]
    if len(labels) != codec.num_classes:
        raise UserError(
            f"--names: {len(labels)} names for the {codec.num_classes} classes of the cfg; give one per line"
        )
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
        # A device or a pipe may have no end.
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is not a file; give the path of a file of text")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give another file") from error


def _advice(weights: Path, codec: Any) -> list[str]:
    """What a user must know about published weights that were trained with other anchors than the cfg has."""
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [
        f"{weights} is the published {name}, which was trained with mask={','.join(map(str, trained))} for the map of "
        f"stride {stride}, but the cfg has mask={','.join(map(str, mask))}, so boxes there have wrong sizes; change it"
        for name, preset in PRESETS.items()
        if isinstance(preset, Preset) and preset.weights.sha256 == digest and preset.masks
        for (_, stride, mask), trained in zip(codec.levels, reversed(preset.masks), strict=True)
        if mask != trained
    ]
