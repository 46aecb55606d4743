"""YOLOv3 with a branch that predicts a mask in each box (YOLO-Mask, sections 3 and 4).

There is one network, from {"image", "boxes", "levels"} to raw maps and logits of masks, and two graphs around its
parts: `trainer`, which selects the boxes to learn from among the true boxes and the detections, and `instances`, which
is exported.
"""

from collections.abc import Sequence

import keras

from kerastransfer.codecs.layers import Decode, DecodeMasks, Levels, Rois
from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.heads.mask import fcn
from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.layers.roi_align import RoIAlign
from kerastransfer.layers.suppress import Suppress
from kerastransfer.models.parts import feed
from kerastransfer.models.reading import annotations

# The parts of the detector, to which the mask branch is added.
DETECTOR = ("encoder", "decoder", "head")


def yolo_mask(
    detector: keras.Model, num_classes: int, *, fine: Sequence[str] = (), filters: int = 256, **options
) -> keras.Model:
    """From {"image": (B, H, W, 3), "boxes": (B, N, (y1, x1, y2, x2)), "levels": (B, N)} to the detector's raw maps and
    "masks": logits (B, N, M, M, num_classes). The detector's parts are shared, and the new one is called "branch".

    levels: for each box the index of its map, from the finest: the one whose grid found the box (YOLO-Mask, section
        3.4), or that of `ops.fpn.fpn_level`.
    num_classes: number of classes of the masks; 1 for class-agnostic masks.
    fine: taps of the encoder ("c2", "c3") from which every box is pooled as well (ours), because the detector's maps
        are coarse.
    filters: number of filters in the branch. options: for `heads.mask.fcn` (pool, mask_size, convs, activation,
        batch_norm).
    """
    encoder, decoder, head = (detector.get_layer(part) for part in DETECTOR)
    image = keras.Input(encoder.input.shape[1:], name="image")
    boxes = keras.Input((None, 4), name="boxes", dtype="float32")
    levels = keras.Input((None,), name="levels", dtype="int32")
    taps = encoder(image)
    maps = feed(decoder, taps)
    part = branch(
        {name: decoder.output[name].shape[-1] for name in sorted(decoder.output)},
        {name: encoder.output[name].shape[-1] for name in fine},
        num_classes,
        filters=filters,
        **options,
    )
    masks = feed(part, {**maps, **taps, "boxes": boxes, "levels": levels})
    inputs = {"image": image, "boxes": boxes, "levels": levels}
    return keras.Model(inputs, {**feed(head, maps), "masks": masks}, name="yolo_mask")


def branch(
    maps: dict[str, int], fine: dict[str, int], num_classes: int, *, filters: int = 256, pool: int = 14, **options
) -> keras.Model:
    """From {"p3": (B, h, w, D), ..., "boxes": (B, N, 4), "levels": (B, N)} to logits (B, N, M, M, num_classes).

    maps: channels of the detector's maps, from one of which a box is pooled. fine: channels of taps from which every
    box is pooled. Each map passes through a 1 x 1 convolution first, because the channels differ; pooled features are
    summed.
    """
    inputs = {name: keras.Input((None, None, depth), name=name) for name, depth in {**maps, **fine}.items()}
    inputs["boxes"] = keras.Input((None, 4), name="boxes", dtype="float32")
    inputs["levels"] = keras.Input((None,), name="levels", dtype="int32")

    def lateral(name):
        return keras.layers.Conv2D(filters, 1, name=f"lateral_{name}")(inputs[name])

    pooled = PyramidRoIAlign(pool, name="pyramid")([lateral(name) for name in maps], inputs["boxes"], inputs["levels"])
    for name in fine:
        also = RoIAlign(pool, name=f"pool_{name}")(lateral(name), inputs["boxes"])
        pooled = keras.layers.Add(name=f"with_{name}")([pooled, also])
    masks = fcn(filters, num_classes, pool=pool, filters=filters, name="masks", **options)
    return keras.Model(inputs, feed(masks, {"rois": pooled}), name="branch")


def trainer(network: keras.Model, codec, mask_codec: MaskCodec, *, proposals: int = 50) -> keras.Model:
    """A graph over the parts of `network` for training them: from {"image", "boxes", "labels", "masks", "frames"} (the
    batches of `data.pipeline`) to the raw maps, "masks": logits, and "labels" and "targets" of `MaskCodec.encode`.

    The branch learns from the true boxes, and from those of `proposals` detections that overlap a true box.
    """
    image = keras.Input(network.input["image"].shape[1:], name="image")
    truths = annotations(("boxes", "masks"))
    taps, maps, raw = _detect(network, image)
    found, levels = _found(codec, mask_codec, raw, Suppress(0.6, 0.01, proposals, numbered=True, name="proposals"))
    rois = Rois(codec, mask_codec, name="rois")(truths, found["boxes"], levels, raw)
    part = network.get_layer("branch")
    masks = feed(part, {**maps, **taps, "boxes": rois["boxes"], "levels": rois["levels"]})
    outputs = {**raw, "masks": masks, "labels": rois["labels"], "targets": rois["targets"]}
    return keras.Model({"image": image, **truths}, outputs, name=network.name)


def instances(
    network: keras.Model,
    codec,
    mask_codec: MaskCodec,
    image_size: tuple[int, int] | None = None,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.001,
    max_detections: int = 100,
) -> keras.Model:
    """From image (B, H, W, 3) to {"boxes": (B, N, 4), "scores": (B, N), "labels": (B, N), "masks": (B, N, M, M) in
    0..1, "count": (B,)}, N = max_detections rows by descending score, padded with zeros and label -1."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    taps, maps, raw = _detect(network, image)
    suppress = Suppress(iou_threshold, score_threshold, max_detections, numbered=True, name="suppress")
    found, levels = _found(codec, mask_codec, raw, suppress)
    part = network.get_layer("branch")
    logits = feed(part, {**maps, **taps, "boxes": found["boxes"], "levels": levels})
    masks = DecodeMasks(mask_codec, name="masks")(logits, found["labels"])
    return keras.Model(image, {**found, "masks": masks}, name=network.name)


def _found(codec, mask_codec, raw, suppress):
    """The detections in raw maps, and the level (B, N) that each is pooled from."""
    found = suppress(Decode(codec, name="decode")(raw))
    numbered = {"boxes": found["boxes"], "candidates": found.pop("candidates")}
    return found, Levels(codec, mask_codec.level, name="levels")(numbered, raw)


def _detect(network, image):
    """The taps, maps and raw maps of the detector in `network`."""
    encoder, decoder, head = (network.get_layer(part) for part in DETECTOR)
    taps = encoder(image)
    maps = feed(decoder, taps)
    return taps, maps, feed(head, maps)
