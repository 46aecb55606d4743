"""Faster R-CNN (Ren et al. 2015) on any encoder, with a feature pyramid (Lin et al. 2017, section 4.2).

`faster_rcnn` is the network, from image to proposals and what it says of them; `trainer` is a graph over its parts,
which reads annotations and learns from a sample of the proposals.
"""

import keras

from kerastransfer.codecs.anchors import shapes
from kerastransfer.codecs.faster_rcnn import AnchorTargets, BoxTargets, Candidates, FasterRcnnCodec, PyramidLevels
from kerastransfer.codecs.retinanet import AnchorCodec
from kerastransfer.decoders.fpn import fpn
from kerastransfer.encoders import taps
from kerastransfer.heads import box, pyramid
from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.layers.suppress import Suppress
from kerastransfer.models.parts import feed

# (name, stride) of the maps of its feature pyramid; boxes are pooled from all but the last.
LEVELS = (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32), ("p6", 64))
POOLED = tuple(name for name, _ in LEVELS[:-1])
# In strides: anchors of 32 to 512 pixels.
SIZE = 8.0
RATIOS = (0.5, 1.0, 2.0)
# A proposal that overlaps a better one by more than this IoU is dropped.
OVERLAP = 0.7


def faster_rcnn_codec(num_classes: int, *, size: float = SIZE) -> FasterRcnnCodec:
    """The codec; `size`: side of the anchors of a level, in strides."""
    own = tuple(tuple(shapes(size * stride, (1.0,), RATIOS)) for _, stride in LEVELS)
    first = AnchorCodec(1, LEVELS, own, low=0.3, high=0.7, unit=(1.0, 1.0, 1.0, 1.0))
    return FasterRcnnCodec(num_classes, first)


def faster_rcnn(
    encoder: keras.Model, codec: FasterRcnnCodec, *, channels: int = 256, hidden: int = 1024, proposals: int = 100
) -> keras.Model:
    """From image (B, H, W, 3), H and W multiples of 32, to {"rois": (B, N, 4), "classes": (B, N, 1 + K), "boxes": (B,
    N, 4 * K)}, N = proposals. Its parts are "encoder"; "decoder", the pyramid; "head", which finds proposals; and
    "branch", which classifies and refines them.

    encoder: with taps of strides 4, 8, 16 and 32. channels: of the pyramid. hidden: units of the dense layers.
    Raises UserError if the encoder has no tap of one of these strides.
    """
    decoder = fpn(taps.channels(encoder), taps.strides(encoder), filters=channels, first=2, extra="pool")
    first = codec.proposals
    head = pyramid.proposals([name for name, _ in first.levels], len(first.shapes[0]), channels=channels)
    branch = box_branch(channels, codec.num_classes, hidden=hidden)
    image = keras.Input(encoder.input.shape[1:], name="image")
    maps = feed(decoder, encoder(image))
    rois = _proposed(first, feed(head, maps), proposals)
    levels = PyramidLevels(codec, name="levels")(rois, image)
    found = feed(branch, {**maps, "boxes": rois, "levels": levels})
    return keras.Model(image, {"rois": rois, **found}, name="faster_rcnn")


def box_branch(channels: int, num_classes: int, *, pool: int = 7, hidden: int = 1024) -> keras.Model:
    """From {"p2": (B, h, w, D), ..., "p5", "boxes": (B, N, 4), "levels": (B, N)} to the outputs of
    `heads.box.two_layers`."""
    inputs = {name: keras.Input((None, None, channels), name=name) for name in POOLED}
    inputs["boxes"] = keras.Input((None, 4), name="boxes", dtype="float32")
    inputs["levels"] = keras.Input((None,), name="levels", dtype="int32")
    maps = [inputs[name] for name in POOLED]
    pooled = PyramidRoIAlign(pool, name="pyramid")(maps, inputs["boxes"], inputs["levels"])
    head = box.two_layers(channels, num_classes, pool=pool, hidden=hidden)
    return keras.Model(inputs, feed(head, {"rois": pooled}), name="branch")


def trainer(
    network: keras.Model, codec: FasterRcnnCodec, *, proposals: int = 200, seed: int | None = None
) -> keras.Model:
    """A graph over the parts of `network` for training them: from {"image", "boxes", "labels"} to the raw maps of the
    first stage, "anchor_state" and "anchor_boxes" of a sample of anchors, "rois", "roi_labels" and "roi_targets" of a
    sample of proposals and true boxes, and "roi_classes" and "roi_boxes", what the second stage says of them."""
    encoder, decoder, head, branch = (network.get_layer(part) for part in ("encoder", "decoder", "head", "branch"))
    image = keras.Input(encoder.input.shape[1:], name="image")
    annotations = {
        "boxes": keras.Input((None, 4), name="boxes", dtype="float32"),
        "labels": keras.Input((None,), name="labels", dtype="int32"),
    }
    maps = feed(decoder, encoder(image))
    raw = feed(head, maps)
    anchors = AnchorTargets(codec.proposals, seed=seed, name="anchor_targets")(annotations, raw)
    rois = BoxTargets(codec, seed=seed, name="box_targets")(annotations, _proposed(codec.proposals, raw, proposals))
    levels = PyramidLevels(codec, name="levels")(rois["rois"], image)
    found = feed(branch, {**maps, "boxes": rois["rois"], "levels": levels})
    outputs = {
        **raw,
        **{f"anchor_{name}": value for name, value in anchors.items()},
        "rois": rois["rois"],
        **{f"roi_{name}": rois[name] for name in ("labels", "targets")},
        **{f"roi_{name}": value for name, value in found.items()},
    }
    return keras.Model({"image": image, **annotations}, outputs, name=network.name)


def _proposed(codec, raw, count):
    """The boxes (B, count, 4) that remain of the best anchors, padded with zeros."""
    suppress = Suppress(OVERLAP, 0.0, count, name="proposals")
    return suppress(Candidates(codec, name="candidates")(raw))["boxes"]
