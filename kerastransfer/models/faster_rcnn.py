"""Faster R-CNN (Ren et al. 2015) on any encoder, with a feature pyramid (Lin et al. 2017, section 4.2).

`faster_rcnn` is the network, from image to proposals and what it says of them; `learner` gives what its loss reads, for
`models.reading.trainer`, a graph over its parts that learns from a sample of the proposals.
"""

from collections.abc import Mapping

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
from kerastransfer.models.reading import Reading

# (name, stride) of the maps of its feature pyramid; boxes are pooled from all but the last.
LEVELS = (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32), ("p6", 64))
POOLED = tuple(name for name, _ in LEVELS[:-1])
# Names of its layers behind the pyramid.
PARTS = ("head", "candidates", "proposals", "levels", "branch")
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
    parts = {
        "head": pyramid.proposals([name for name, _ in first.levels], len(first.shapes[0]), channels=channels),
        "candidates": Candidates(first, name="candidates"),
        "proposals": Suppress(OVERLAP, 0.0, proposals, name="proposals"),
        "levels": PyramidLevels(codec, name="levels"),
        "branch": box_branch(channels, codec.num_classes, hidden=hidden),
    }
    image = keras.Input(encoder.input.shape[1:], name="image")
    return keras.Model(image, predicted(parts, feed(decoder, encoder(image)), image), name="faster_rcnn")


def predicted(parts: Mapping[str, keras.layers.Layer], maps: Mapping, image) -> dict:
    """The raw predictions of a network with these PARTS, from the maps of its decoder."""
    rois = _proposed(parts, feed(parts["head"], maps))
    return {"rois": rois, **_described(parts, maps, rois, image)}


def box_branch(channels: int, num_classes: int, *, pool: int = 7, hidden: int = 1024) -> keras.Model:
    """From {"p2": (B, h, w, D), ..., "p5", "boxes": (B, N, 4), "levels": (B, N)} to the outputs of
    `heads.box.two_layers`."""
    inputs = branch_inputs(channels)
    maps = [inputs[name] for name in POOLED]
    pooled = PyramidRoIAlign(pool, name="pyramid")(maps, inputs["boxes"], inputs["levels"])
    head = box.two_layers(channels, num_classes, pool=pool, hidden=hidden)
    return keras.Model(inputs, feed(head, {"rois": pooled}), name="branch")


def branch_inputs(channels: int) -> dict[str, keras.KerasTensor]:
    """What branches read that pool boxes from the pyramid: its maps but the last, and the boxes and their levels."""
    inputs = {name: keras.Input((None, None, channels), name=name) for name in POOLED}
    inputs["boxes"] = keras.Input((None, 4), name="boxes", dtype="float32")
    inputs["levels"] = keras.Input((None,), name="levels", dtype="int32")
    return inputs


def learner(network: keras.Model, codec: FasterRcnnCodec, *, proposals: int = 200, seed: int | None = None) -> Reading:
    """What `network` learns from: the raw maps of the first stage, "anchor_state" and "anchor_boxes" of a sample of
    anchors, "rois", "roi_labels" and "roi_targets" of a sample of proposals and true boxes, "roi_classes" and
    "roi_boxes", what the second stage says of them, and "proposals", those that the sample was drawn from."""
    parts = {name: network.get_layer(name) for name in PARTS}
    parts["proposals"] = Suppress(OVERLAP, 0.0, proposals, name="learnt_proposals")
    draw_anchors = AnchorTargets(codec.proposals, seed=seed, name="anchor_targets")
    draw_boxes = BoxTargets(codec, seed=seed, name="box_targets")

    def learn(maps, annotations, image):
        raw = feed(parts["head"], maps)
        anchors = draw_anchors(annotations, raw)
        proposed = _proposed(parts, raw)
        rois = draw_boxes(annotations, proposed)
        return {
            **raw,
            **{f"anchor_{name}": value for name, value in anchors.items()},
            "rois": rois["rois"],
            **{f"roi_{name}": rois[name] for name in ("labels", "targets")},
            **{f"roi_{name}": value for name, value in _described(parts, maps, rois["rois"], image).items()},
            "proposals": proposed,
        }

    return learn


def _proposed(parts, raw):
    """The boxes (B, N, 4) that remain of the best anchors, padded with zeros."""
    return parts["proposals"](parts["candidates"](raw))["boxes"]


def _described(parts, maps, rois, image):
    """What the second stage says of boxes."""
    return feed(parts["branch"], {**maps, "boxes": rois, "levels": parts["levels"](rois, image)})
