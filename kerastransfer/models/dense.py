"""A trained detector on other strides, for a prediction at every few pixels (spec/01 section 6)."""

from collections.abc import Iterator, Sequence

import keras

from kerastransfer.codecs.layers import Odds, Vote
from kerastransfer.encoders.yolov1 import stages_of, strides_to, tap_strides, yolov1_encoder
from kerastransfer.heads.yolov1 import fully_conv
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool
from kerastransfer.models.parts import feed


def dense(detector: keras.Model, output_stride: int = 1, *, dilate: bool = True, stages=None) -> keras.Model:
    """Image (B, H, W, 3) to raw predictions (B, H / s, W / s, C + 5 B), s = output_stride: a graph beside
    the detector's, with equal weights, copied by name.

    dilate: True: a trous (ours). Each stride taken away is carried by dilating what follows, the head included, so that
        every prediction is what the detector says of the image shifted by so many pixels (away from the border).
        False: the paper's dense mode, stride and pool become 1 and kernels stay as they are.
    stages: the encoder's table, where it is not one of `encoders.yolov1.TABLES`.
    Raises ValueError for a head that is not fully convolutional and an output stride that the encoder cannot have.
    """
    encoder, head = detector.get_layer("encoder"), detector.get_layer("head")
    hidden = [layer for layer in head.layers if layer.name.startswith("hidden") and layer.name.endswith("_conv")]
    if not hidden:
        raise ValueError("this head is not convolutional and knows one size of grid; train with --head fully_conv")
    activation = "relu6" if any(isinstance(layer, keras.layers.ReLU) for layer in encoder.layers) else "leaky"
    stages = stages or stages_of(encoder)

    rebuilt = yolov1_encoder(stages, strides=strides_to(stages, output_stride), dilate=dilate, activation=activation)
    channels = encoder.output["c5"].shape[-1]
    dense_head = fully_conv(
        channels,
        head.output.shape[-1],
        hidden=[layer.filters for layer in hidden],
        dilation=tap_strides(encoder)["c5"] // output_stride if dilate else 1,
        activation=activation,
    )
    copy_weights(encoder, rebuilt)
    copy_weights(head, dense_head)
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, feed(dense_head, rebuilt(image)), name=f"{detector.name}_dense")


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """All weights of one part into another of the same names and shapes. Raises ValueError when names differ."""
    given, wanted = ({w.path: w for w in part.weights} for part in (source, target))
    if given.keys() != wanted.keys():
        apart = sorted(given.keys() ^ wanted.keys())
        raise ValueError(f"{source.name!r} and its rebuilt copy differ in {len(apart)} weights, as {apart[0]!r}")
    for path, weight in wanted.items():
        weight.assign(given[path])


def receptive_radius(model: keras.Model) -> int:
    """How many pixels from its own position the input counts in an output, at most: half the receptive field of a chain
    of convolutions and pools, whose shortcuts see no further."""
    pixels, step = 0, 1  # a position of the current map is so many pixels of the image
    for layer in in_order(model):
        if isinstance(layer, keras.layers.Conv2D):
            pixels += step * layer.dilation_rate[0] * (layer.kernel_size[0] // 2)
            step *= layer.strides[0]
        elif isinstance(layer, keras.layers.MaxPooling2D):
            pixels += step * (layer.pool_size[0] - 1)
            step *= layer.strides[0]
        elif isinstance(layer, DilatedMaxPool):
            pixels += step * layer.dilation
    return pixels


def in_order(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, those of its parts in their place, each behind what it reads."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from in_order(layer)
        else:
            yield layer


def yolo_dense(network: keras.Model, vote: Vote, thresholds: Sequence[float]) -> keras.Model:
    """A segmenter that has seen no mask: image (B, H, W, 3) of the detector's own size to logits (B, H, W, 1 + K).

    network: of `dense`. thresholds: votes that make a pixel the class's, one for each.
    """
    image = keras.Input((*vote.image_size, 3), name="image")
    return keras.Model(image, Odds(thresholds, name="odds")(vote(network(image))), name="yolo_dense")
