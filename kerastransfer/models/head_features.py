"""What the second stage of a detector makes of a whole image: the features that linear probes compare with those of its
encoder (Li et al. 2019, section 4, Table 7)."""

import keras
import numpy as np
from keras import ops

from kerastransfer.layers.roi_align import RoIAlign
from kerastransfer.models.parts import feed
from kerastransfer.ops.fpn import fpn_level


def head_features(network: keras.Model, image_size: tuple[int, int]) -> keras.Model | None:
    """From image (B, H, W, 3) to {"proj": (B, h, w, D), the map of the pyramid that the head reads, "fc1" and "fc2":
    (B, hidden), its two dense layers on the whole image as one box}; None for a detector of one stage.

    network: one of `models.faster_rcnn` or `models.mask_rcnn`. Li et al. probe a detector without a pyramid, whose map
    is a projection of two stages of its encoder.
    image_size: (H, W) in pixels. The map is the one from which the detector pools boxes as large as the image: that of
        stride 16 for 224 x 224 pixels, of stride 8 for half as many (Lin et al. 2017, equation 1). Its dense layers
        have learnt from other maps only what smaller or larger objects look like.
    """
    parts = {layer.name: layer for layer in network.layers}
    # The branch of other networks predicts masks.
    if "branch" not in parts or "box_head" not in [layer.name for layer in parts["branch"].layers]:
        return None
    encoder, decoder, head = parts["encoder"], parts["decoder"], parts["branch"].get_layer("box_head")
    image = keras.Input(encoder.input.shape[1:], name="image")
    level = int(fpn_level(np.float32([0, 0, 1, 1]), image_size, smallest=2, largest=5))
    maps = feed(decoder, encoder(image))[f"p{level}"]
    # A box for each image, from its first corner to its last.
    whole = ops.zeros_like(ops.cast(image[:, :1, 0, :1], "float32")) + ops.convert_to_tensor([[[0.0, 0.0, 1.0, 1.0]]])
    pool = head.input["rois"].shape[2]
    pooled = RoIAlign(pool, name="whole_image")(maps, whole)
    outputs = {name: head.get_layer(layer).output for name, layer in (("fc1", "dense1"), ("fc2", "dense2"))}
    found = feed(keras.Model(head.input, outputs), {"rois": pooled})
    return keras.Model(image, {"proj": maps, **{name: values[:, 0] for name, values in found.items()}})
