"""Mask R-CNN (He et al. 2017): Faster R-CNN with a branch that predicts a mask in each box.

As in `models.yolo_mask`, the network takes the boxes in which masks are predicted, and `instances` is the graph around
its parts that is exported, in which these are its own detections. `learner` gives what its loss reads, for
`models.reading.trainer`.
"""

import keras

from kerastransfer.codecs.layers import Decode, DecodeMasks, MaskTargets
from kerastransfer.codecs.masked_boxes import MaskedBoxes
from kerastransfer.heads.mask import fcn
from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.layers.suppress import Suppress
from kerastransfer.models import faster_rcnn
from kerastransfer.models.parts import feed
from kerastransfer.models.reading import Reading

# Name of the part that predicts masks.
MASKS = "mask_branch"
# Side of the features that a mask is predicted from.
POOL = 14


def mask_rcnn(
    encoder: keras.Model,
    codec: MaskedBoxes,
    *,
    channels: int = 256,
    filters: int = 256,
    convs: int = 4,
    class_agnostic: bool = False,
    **options,
) -> keras.Model:
    """From {"image": (B, H, W, 3), "boxes": (B, N, 4)} to the outputs of `faster_rcnn` and "masks": logits (B, N, M, M,
    K) in these boxes. Its parts are those of `faster_rcnn` and "mask_branch", which predicts them.

    channels: of the pyramid. filters, convs: of the mask branch. class_agnostic: one mask for all classes, K = 1.
    options: for `faster_rcnn`. Raises UserError if the encoder has no tap of strides 4, 8, 16 and 32.
    """
    detector = faster_rcnn.faster_rcnn(encoder, codec.codec, channels=channels, **options)
    kinds = 1 if class_agnostic else codec.codec.num_classes
    masks = mask_branch(channels, kinds, filters=filters, convs=convs, mask_size=codec.masks.mask_size)
    image = keras.Input(encoder.input.shape[1:], name="image")
    boxes = keras.Input((None, 4), name="boxes", dtype="float32")
    parts = _parts(detector)
    maps = feed(detector.get_layer("decoder"), encoder(image))
    found = faster_rcnn.predicted(parts, maps, image)
    logits = feed(masks, {**maps, "boxes": boxes, "levels": parts["levels"](boxes, image)})
    return keras.Model({"image": image, "boxes": boxes}, {**found, "masks": logits}, name="mask_rcnn")


def mask_branch(channels: int, num_classes: int, *, pool: int = POOL, **options) -> keras.Model:
    """From {"p2": (B, h, w, D), ..., "p5", "boxes": (B, N, 4), "levels": (B, N)} to logits (B, N, M, M, num_classes);
    options: for `heads.mask.fcn`."""
    inputs = faster_rcnn.branch_inputs(channels)
    maps = [inputs[name] for name in faster_rcnn.POOLED]
    pooled = PyramidRoIAlign(pool, name="pyramid")(maps, inputs["boxes"], inputs["levels"])
    head = fcn(channels, num_classes, pool=pool, name="fcn", **options)
    return keras.Model(inputs, feed(head, {"rois": pooled}), name=MASKS)


def learner(network: keras.Model, codec: MaskedBoxes, *, proposals: int = 200, seed: int | None = None) -> Reading:
    """What `network` learns from: what `faster_rcnn.learner` gives, "mask_labels" and "mask_targets" of the true boxes
    and of proposals that overlap one, up to `codec.masks.most`, and "masks", the logits in these boxes. Annotations
    have "masks" and "frames" too."""
    of_boxes = faster_rcnn.learner(network, codec.codec, proposals=proposals, seed=seed)
    draw = MaskTargets(codec.masks, seed=seed, name="mask_targets")
    level, masks = network.get_layer("levels"), network.get_layer(MASKS)

    def learn(maps, annotations, image):
        outputs = of_boxes(maps, annotations, image)
        rois = draw(annotations, outputs["proposals"])
        logits = feed(masks, {**maps, "boxes": rois["boxes"], "levels": level(rois["boxes"], image)})
        return {**outputs, "mask_labels": rois["labels"], "mask_targets": rois["targets"], "masks": logits}

    return learn


def instances(
    network: keras.Model,
    codec: MaskedBoxes,
    image_size: tuple[int, int] | None = None,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.001,
) -> keras.Model:
    """From image (B, H, W, 3) to the outputs of `yolo_mask.instances`, N = `codec.detections`."""
    parts = _parts(network)
    encoder, decoder, masks = (network.get_layer(part) for part in ("encoder", "decoder", MASKS))
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    maps = feed(decoder, encoder(image))
    candidates = Decode(codec.codec, name="decode")(faster_rcnn.predicted(parts, maps, image))
    found = Suppress(iou_threshold, score_threshold, codec.detections, name="suppress")(candidates)
    levels = parts["levels"](found["boxes"], image)
    logits = feed(masks, {**maps, "boxes": found["boxes"], "levels": levels})
    drawn = DecodeMasks(codec.masks, name="probabilities")(logits, found["labels"])
    return keras.Model(image, {**found, "masks": drawn}, name=network.name)


def _parts(network):
    return {name: network.get_layer(name) for name in faster_rcnn.PARTS}
