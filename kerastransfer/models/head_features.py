"""What the second stage of a detector makes of a whole image: the features that linear probes compare with those of its
encoder (Li et al. 2019, section 4, Table 7)."""

import keras
from keras import ops

from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.models.parts import feed

# The map of stride 16, from which boxes as large as an image of 224 x 224 pixels are pooled (Lin et al. 2017).
MAP = "p4"


def head_features(network: keras.Model) -> keras.Model | None:
    """From image (B, H, W, 3) to {"proj": (B, H / 16, W / 16, D), the map of the pyramid that the head reads, "fc1" and
    "fc2": (B, hidden), its two dense layers on the whole image as one box}; None for a detector of one stage.

    network: one of `models.faster_rcnn` or `models.mask_rcnn`. Li et al. probe a detector without a pyramid, whose map
    is a projection of two stages of its encoder.
    """
    parts = {layer.name: layer for layer in network.layers}
    # The branch of other networks predicts masks.
    if "branch" not in parts or "box_head" not in [layer.name for layer in parts["branch"].layers]:
        return None
    encoder, decoder, head = parts["encoder"], parts["decoder"], parts["branch"].get_layer("box_head")
    image = keras.Input(encoder.input.shape[1:], name="image")
    maps = feed(decoder, encoder(image))[MAP]
    # A box for each image, from its first corner to its last.
    whole = ops.zeros_like(ops.cast(image[:, :1, 0, :1], "float32")) + ops.convert_to_tensor([[[0.0, 0.0, 1.0, 1.0]]])
    pool = head.input["rois"].shape[2]
    pooled = PyramidRoIAlign(pool, name="whole_image")([maps], whole, ops.cast(whole[..., 0], "int32"))
    outputs = {name: head.get_layer(layer).output for name, layer in (("fc1", "dense1"), ("fc2", "dense2"))}
    found = feed(keras.Model(head.input, outputs), {"rois": pooled})
    return keras.Model(image, {"proj": maps, **{name: values[:, 0] for name, values in found.items()}})
