"""What supervises a detector of LabelEnc, and what it may begin with: a file of step 1, or a trained detector."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.flags import some
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.runs import trained

if TYPE_CHECKING:
    import keras

# Settings of nets in which step 1 and step 2 may differ.
NOT_OF_THE_HEAD = ("encoder", "random", "norms", "loss")


def teacher(
    source: str | Path,
    detector: "keras.Model",
    config: DetectorConfig,
    classes: tuple[str, ...],
    *,
    initialise: bool = False,
) -> "keras.Model":
    """The network of a trained detector, which is to teach another. Raises UserError if its maps do not fit, or with
    `initialise` its head or classes."""
    from kerastransfer.models import labelenc

    network, about = trained.detector(source) if trained.is_name(source) else trained.stored(source)
    source = f"--teacher {source}"
    labelenc.require_teacher(detector, network, source)
    sides = network.get_layer("encoder").input.shape[1:3]
    if None not in sides and sides != (config.image_size, config.image_size):
        raise UserError(f"{source} takes images of {sides[0]} x {sides[1]} pixels only; give --image-size {sides[0]}")
    if not initialise:
        return network
    remedy = "leave out --initialise-from-teacher"
    if about.labels != classes:
        raise UserError(f"{source} knows {some(about.labels)}, but the data has {some(classes)}; {remedy}")
    if not _same_heads(detector, labelenc.heads(network)):
        raise UserError(f"{source} has another head than the detector; give its --model and --net.towers, or {remedy}")
    return network


def opened(
    source: str | Path, detector: "keras.Model", classes: tuple[str, ...]
) -> "tuple[keras.Model, dict[str, keras.Model]]":
    """The label network, and by their names the detector's heads, in a file of step 1. Raises UserError if they do not
    fit the detector."""
    from kerastransfer.export.loading import load_keras
    from kerastransfer.models.labelenc import channels_read, heads, told
    from kerastransfer.models.parts import thaw

    model = load_keras(source)
    names = [layer.name for layer in model.layers]
    if not {"label_network", "head"} <= set(names):
        raise UserError(f"{source} holds no label encoder; give RUN/models/labelenc.keras of the recipe labelenc_step1")
    thaw(model)
    parts = heads(model)
    network = parts.pop("label_network")
    known = network.input.shape[-1]
    if known != len(classes):
        raise UserError(
            f"{source} was trained for {known} classes, but the data has {len(classes)}; train step 1 on this data"
        )
    labels = files.read_json(Path(source).with_suffix(".json"), {}).get("labels", classes)
    if tuple(labels) != classes:
        raise UserError(
            f"{source} was trained for the classes {some(labels)}, but the data has {some(classes)}; train step 1 on "
            "this data"
        )
    if parts.keys() != heads(detector).keys():
        raise UserError(
            f"{source} has the heads {', '.join(parts)}, but the detector has {', '.join(heads(detector))}; train "
            "step 1 with the same --model"
        )
    ours, theirs = channels_read(detector), channels_read(model)
    if ours != theirs:
        raise UserError(
            f"{source} is for a head that reads {told(theirs)}, but the detector's reads {told(ours)}; train step 1 "
            "with the same --model and --net.channels"
        )
    return network, parts


def made_for(config: DetectorConfig, classes: tuple[str, ...]) -> dict:
    """What is beside the file of step 1, so that a file that does not fit can be told from one that does."""
    return {"labels": list(classes), "model": config.model, "net": dataclasses.asdict(config.net)}


def _same_heads(detector, theirs):
    """Whether heads {name: part} compute what those of the detector do."""
    from kerastransfer.models.labelenc import heads
    from kerastransfer.training import transfer

    ours = heads(detector)
    return ours.keys() == theirs.keys() and all(transfer.same_architecture(ours[part], theirs[part]) for part in ours)


def require_heads(
    source: str | Path, detector: "keras.Model", theirs: "dict[str, keras.Model]", config: DetectorConfig
) -> None:
    """Raises UserError unless the detector has the heads of the file `source` of step 1."""
    if _same_heads(detector, theirs):
        return
    # Files of older versions have no json beside them.
    before = files.read_json(Path(source).with_suffix(".json"), {})
    ours, net = dataclasses.asdict(config.net), before.get("net", {})
    differ = [
        f"{_flag(name)} {net[name]} (here {value})"
        for name, value in ours.items()
        if name in net and name not in NOT_OF_THE_HEAD and net[name] != _plain(value)
    ]
    if before.get("model", config.model) != config.model:
        differ = [f"--model {before['model']} (here {config.model})", *differ]
    told = f", by {', '.join(differ)}" if differ else ""
    raise UserError(
        f"{source} was trained with another head than this detector's{told}; give the same --model and settings of the "
        "head, such as --net.towers, or --no-initialise"
    )


def _flag(name):
    return f"--net.{name.replace('_', '-')}"


def _plain(value):
    """As JSON reads it back."""
    return list(value) if isinstance(value, tuple) else value


def copied(
    source: str | Path, detector: "keras.Model", heads: "dict[str, keras.Model]", decoder: "keras.Model"
) -> dict:
    """Begin with the heads {name: part} and the decoder of step 1, or of a teacher; returns what happened to each."""
    from kerastransfer.training import transfer

    report = {part: transfer.load(detector.get_layer(part), theirs) for part, theirs in heads.items()}
    return report | {"decoder": _begun_with(source, detector.get_layer("decoder"), decoder)}


def _begun_with(source, decoder, other):
    """Give a decoder the weights of another, but for layers of another shape, such as those that read an encoder of
    another width."""
    from kerastransfer.training import transfer

    theirs, ours = transfer.weights(other), transfer.weights(decoder)
    if theirs.keys() != ours.keys():
        raise UserError(f"the decoder of {source} has other layers than this detector's; give the same --model")
    fresh = sorted({name.split("/")[0] for name in ours if ours[name].shape != theirs[name].shape})
    values = {name: value for name, value in theirs.items() if name.split("/")[0] not in fresh}
    return transfer.load(decoder, values, fresh=fresh)
