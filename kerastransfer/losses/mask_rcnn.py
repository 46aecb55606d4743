"""Mask R-CNN's losses (He et al. 2017, section 3): those of Faster R-CNN, and that of the masks."""

from collections.abc import Callable, Mapping

from kerastransfer.losses import faster_rcnn
from kerastransfer.losses.mask import mask_loss

WEIGHTS = {**faster_rcnn.WEIGHTS, "mask": 1.0}


def mask_rcnn_loss(codec) -> Callable[[Mapping, Mapping], dict]:
    """Terms of the loss, as `faster_rcnn_loss`, for the outputs of `models.mask_rcnn.learner`; codec: a
    `MaskedBoxes`."""
    of_boxes = faster_rcnn.faster_rcnn_loss(codec.codec)

    def terms(annotations, outputs: Mapping) -> dict:
        masks = {name: outputs[f"mask_{name}"] for name in ("labels", "targets")}
        return {**of_boxes(annotations, outputs), **mask_loss(masks, outputs["masks"])}

    return terms
