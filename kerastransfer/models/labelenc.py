"""LabelEnc (Hao et al. 2020): a label encoder supervises the features of any detector while it trains.

`trainer` is the graph of both steps. What is used afterwards is the detector, which has not changed.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
from keras import ops

from kerastransfer.codecs.labelenc import LabelMap
from kerastransfer.decoders.adaption import adaption
from kerastransfer.encoders import taps
from kerastransfer.encoders.labelenc import labelenc
from kerastransfer.errors import UserError
from kerastransfer.losses.labelenc import distance
from kerastransfer.models.parts import feed, freeze
from kerastransfer.models.reading import Reading, annotations

# Before the names of outputs and terms that come from the label map.
CODES = "codes_"
# Before the names of the detector's maps, adapted, and of the codes that they are compared with.
FEATURES, TARGETS = "feature_", "code_"
# The name of raw predictions that are one tensor.
ONLY = "raw"


def label_network(detector: keras.Model, num_classes: int) -> keras.Model:
    """From label maps (B, H, W, num_classes) to {"p3": ...}, the maps that the detector's head reads, with random
    weights: a "label_encoder", and as "label_decoder" a copy of the architecture of the detector's decoder.

    Raises UserError if the decoder reads maps that a label encoder does not have.
    """
    encoder, decoder = (detector.get_layer(part) for part in ("encoder", "decoder"))
    strides, channels = taps.strides(encoder), taps.channels(encoder)
    if other := [name for name in decoder.input if name not in strides]:
        raise UserError(
            f"the decoder of {detector.name!r} reads {', '.join(other)} from inside its encoder, which has no label "
            "encoder's counterpart; choose a net whose decoder reads stages, such as retinanet"
        )
    label_encoder = labelenc(num_classes, {name: (strides[name], channels[name]) for name in decoder.input})
    label_decoder = decoder.__class__.from_config(decoder.get_config() | {"name": "label_decoder"})
    label_map = keras.Input((None, None, num_classes), name="label_map")
    return keras.Model(label_map, feed(label_decoder, label_encoder(label_map)), name="label_network")


def trainer(
    detector: keras.Model,
    label_network: keras.Model,
    *,
    reconstruct: bool,
    masks: bool = False,
    seed: int | None = None,
    reading: Reading | None = None,
    fields: Sequence[str] = ("boxes",),
) -> keras.Model:
    """A graph over the parts of a detector: from {"image", "boxes", "labels"} (`reading.annotations` of `fields`) to
    the detector's raw predictions, its maps as FEATURES + name, adapted by a new part called "adaption", and the codes
    of the label map as TARGETS + name.

    reconstruct: also give CODES + name, what the detector's head predicts from the codes; the label map is then varied
    (step 1). label_network: from `label_network`; freeze it for step 2. masks: the label map shows masks, not boxes.
    reading: what the detector's loss reads, in place of raw predictions (`detectors.detector.Detector.reading`).
    """
    encoder, decoder, head = (detector.get_layer(part) for part in ("encoder", "decoder", "head"))
    image = keras.Input(encoder.input.shape[1:], name="image")
    truths = annotations(fields)

    def predicted(maps):
        return _named(feed(head, maps)) if reading is None else reading(maps, truths, image)

    layer = LabelMap(label_network.input.shape[-1], vary=reconstruct, masks=masks, seed=seed, name="label_map")
    codes = label_network(layer(truths, image))
    maps = feed(decoder, encoder(image))
    read = {name: maps[name] for name in head.input}
    adapted = adaption({name: one.shape[-1] for name, one in read.items()})(read)
    outputs = predicted(maps) | {f"{FEATURES}{name}": one for name, one in adapted.items()}
    outputs |= {f"{TARGETS}{name}": codes[name] for name in read}
    if reconstruct:
        outputs |= {f"{CODES}{name}": one for name, one in predicted(codes).items()}
    return keras.Model({"image": image, **truths}, outputs, name=detector.name)


def _named(raw):
    return dict(raw) if isinstance(raw, Mapping) else {ONLY: raw}


def raw_of(outputs: Mapping, prefix: str = ""):
    """What the detector's head gave, out of the outputs of `trainer`: with the prefix CODES from the codes, else from
    the image."""
    others = (CODES, FEATURES, TARGETS)
    if prefix:
        found = {name.removeprefix(prefix): one for name, one in outputs.items() if name.startswith(prefix)}
    else:
        found = {name: one for name, one in outputs.items() if not name.startswith(others)}
    return found[ONLY] if list(found) == [ONLY] else found


def labelenc_terms(of_detector: Callable, *, reconstruct: bool) -> Callable[[Mapping, Mapping], dict]:
    """Terms of both steps: those of the detector, `of_detector(annotations, raw predictions)`, from the image; with
    `reconstruct` also from the codes, as CODES + name; and "distance".

    The gradient of the terms from the codes reaches the label network and the head, that of the others the detector,
    and that of the distance the detector's maps and the adaption.
    """

    def terms(annotations, outputs):
        found = dict(of_detector(annotations, raw_of(outputs)))
        if reconstruct:
            codes = of_detector(annotations, raw_of(outputs, CODES))
            found |= {f"{CODES}{name}": value for name, value in codes.items()}
        pairs = [
            {name.removeprefix(prefix): one for name, one in outputs.items() if name.startswith(prefix)}
            for prefix in (FEATURES, TARGETS)
        ]
        return {**found, "distance": distance(*pairs)}

    return terms


@dataclasses.dataclass(frozen=True)
class Warmup:
    """Of step 1: its first `steps`, in which the distance does not count and the adaption rests: from the start, the
    features and codes would both become constant (Hao et al. 2020, section 3.2). size: the weight afterwards."""

    steps: int
    size: float = 1.0

    def resting(self, step):
        """Whether the adaption rests."""
        return step < self.steps

    def weight(self, step):
        """The weight of the distance."""
        return ops.where(self.resting(step), 0.0, self.size)


@dataclasses.dataclass(frozen=True)
class SwitchedOff:
    """Of step 2: the distance counts, with the weight `size`, for the first `steps`; at the end the detector is trained
    on its own (section 4.1)."""

    steps: int
    size: float = 1.0

    def weight(self, step):
        """The weight of the distance."""
        return ops.where(step < self.steps, self.size, 0.0)


def heads(detector: keras.Model) -> dict[str, keras.Model]:
    """The parts of a detector behind its decoder: "head", and of two stages "branch" and "mask_branch"."""
    parts = {layer.name: layer for layer in detector.layers if isinstance(layer, keras.Model)}
    return {name: part for name, part in parts.items() if name not in ("encoder", "decoder")}


def with_heads(label_network: keras.Model, detector: keras.Model) -> keras.Model:
    """What step 1 keeps: from label maps (B, H, W, num_classes), and what else the detector's heads read, such as
    "branch_boxes", to their raw predictions."""
    label_map = keras.Input(label_network.input.shape[1:], name="label_map")
    codes, inputs, outputs = label_network(label_map), {"label_map": label_map}, {}
    for name, part in heads(detector).items():
        others = {
            key: keras.Input(one.shape[1:], name=f"{name}_{key}", dtype=one.dtype)
            for key, one in part.input.items()
            if key not in codes
        }
        inputs |= {one.name: one for one in others.values()}
        outputs |= {f"{name}_{key}": one for key, one in _named(feed(part, {**codes, **others})).items()}
    return keras.Model(inputs, outputs, name="labelenc")


def channels_read(detector: keras.Model) -> dict[str, int]:
    """{"p3": 256, ...}: the channels of the maps that its head reads."""
    return {name: one.shape[-1] for name, one in detector.get_layer("head").input.items()}


def told(channels: Mapping[str, int]) -> str:
    """`channels_read` in words."""
    return ", ".join(f"{name} of {count} channels" for name, count in channels.items())


def require_teacher(detector: keras.Model, teacher: keras.Model, name: str = "the teacher") -> None:
    """Raises UserError unless `teacher`, called `name` in the message, is a detector whose head reads maps of the same
    names, channels and strides."""
    parts = {layer.name for layer in teacher.layers}
    if not {"encoder", "decoder", "head"} <= parts:
        raise UserError(f"{name} is no detector with an encoder, a decoder and a head; give one, such as a RetinaNet")
    ours, theirs = channels_read(detector), channels_read(teacher)
    if ours != theirs:
        raise UserError(
            f"the head of {name} reads {told(theirs)}, but the detector's reads {told(ours)}; give a teacher of the "
            "same levels and channels (--model, --net.channels)"
        )
    # Of images of one size, because a map may reach beyond a small image.
    sides = [side for one in (detector, teacher) for side in one.get_layer("encoder").input.shape[1:3] if side]
    ours, theirs = (_strides_read(one, (sides or [taps.SIDE])[0]) for one in (detector, teacher))
    if ours != theirs:
        raise UserError(
            f"the maps of {name} have the strides {_listed(theirs)}, the detector's {_listed(ours)}; give a teacher of "
            "the same strides"
        )


def _strides_read(detector, side):
    """{"p3": 8, ...}: the strides of the maps that its head reads, of an image of `side` x `side` pixels, or of its own
    size."""
    encoder, decoder, head = (detector.get_layer(part) for part in ("encoder", "decoder", "head"))
    height, width = (own or side for own in encoder.input.shape[1:3])
    maps = feed(decoder, encoder(keras.Input((height, width, 3))))
    return {name: round(height / maps[name].shape[1]) for name in head.input}


def _listed(strides):
    return ", ".join(f"{stride} ({name})" for name, stride in strides.items())


def distiller(
    detector: keras.Model,
    teacher: keras.Model,
    *,
    reading: Reading | None = None,
    fields: Sequence[str] = ("boxes",),
) -> keras.Model:
    """A graph like `trainer`'s, in which the maps of another detector, frozen, take the place of the codes: knowledge
    distillation. Without `reading` it reads the image (B, H, W, 3) alone.

    Raises UserError as `require_teacher` does.
    """
    require_teacher(detector, teacher)
    encoder, decoder, head = (detector.get_layer(part) for part in ("encoder", "decoder", "head"))
    theirs = [teacher.get_layer(part) for part in ("encoder", "decoder")]
    image = keras.Input(encoder.input.shape[1:], name="image")
    maps = feed(decoder, encoder(image))
    read = {name: maps[name] for name in head.input}
    # Models that are nested under one name would be taken for one.
    frozen = keras.Model(image, feed(theirs[1], theirs[0](image)), name="teacher")
    freeze(frozen)
    targets = frozen(image)
    adapted = adaption({name: one.shape[-1] for name, one in read.items()})(read)
    inputs = image
    if reading is None:
        outputs = _named(feed(head, maps))
    else:
        truths = annotations(fields)
        outputs, inputs = reading(maps, truths, image), {"image": image, **truths}
    outputs |= {f"{FEATURES}{name}": one for name, one in adapted.items()}
    return keras.Model(inputs, outputs | {f"{TARGETS}{name}": targets[name] for name in read}, name=detector.name)
