"""ConRec (Dippel et al. 2021): a U-Net that learns without labels, by contrast and by reconstruction.

With only `tasks` or only a projection it is the pretext of reconstruction, or SimCLR on the same encoder.
"""

from collections.abc import Sequence

import keras
from keras import ops

from kerastransfer.decoders.unet import unet as unet_decoder
from kerastransfer.encoders import taps
from kerastransfer.encoders.unet import unet_encoder
from kerastransfer.errors import UserError
from kerastransfer.heads.embedding import Pooling, pooling, projection
from kerastransfer.heads.pixels import pointwise
from kerastransfer.layers.blocks import double_conv
from kerastransfer.models.parts import feed

# The four decoding tasks (Dippel et al. 2022, section 2.2 and figure 3), and the channels of their outputs: the whole
# image, the whole image in its own colours, where it was altered, and the whole image with black there.
TASKS = {"reconstruction": 3, "colours": 3, "altered": 1, "blackened": 3}
EMBEDDING = "embedding"


def conrec(
    encoder: keras.Model | None = None,
    *,
    tasks: Sequence[str] = ("reconstruction",),
    contrast: Pooling | None = "attention",
    name: str = "conrec",
) -> keras.Model:
    """From image (B, H, W, 3) in 0..255 to {"embedding": (B, 128)}, and for each of the tasks, by its name, logits
    (B, H, W, its channels). On the encoder of `unet_encoder()`, the default, it has 8,651,716 parameters.

    tasks: of TASKS. The first has the whole decoder, "decoder", which is transferred, and "head". All others share the
        steps of the decoder but the last, and have two convolutions and an output of their own.
    contrast: how the last map is pooled for the embedding; None leaves out the embedding.
    Raises UserError for unknown tasks, and if there is neither a task nor an embedding.
    """
    if unknown := [task for task in tasks if task not in TASKS]:
        raise UserError(f"unknown decoding task {unknown[0]!r}; choose {', '.join(TASKS)}")
    if not tasks and contrast is None:
        raise UserError("a pretext needs a decoding task or a contrast; give at least one")
    encoder = unet_encoder() if encoder is None else taps.named(encoder)
    image = keras.Input(encoder.input.shape[1:], name="image")
    maps, outputs = encoder(image), {}
    channels, strides = taps.channels(encoder), taps.strides(encoder)
    if contrast is not None:
        last = taps.last(encoder)
        vector = feed(pooling(channels[last], contrast, tap=last), maps)
        outputs[EMBEDDING] = projection(channels[last])(vector)
    if tasks:
        decoder = unet_decoder(channels, strides)
        found = feed(decoder, maps)
        first, *others = tasks
        outputs[first] = feed(pointwise(found["pixels"].shape[-1], TASKS[first]), found)
        for task in others:
            outputs[task] = feed(_branch(decoder, task), found)
    return keras.Model(image, outputs, name=name)


def _branch(decoder, task):
    """From what the decoder's last convolutions read to the logits of another task."""
    joined, width = (decoder.output[name].shape[-1] for name in ("joined", "pixels"))
    maps = keras.Input((None, None, joined), name="joined")
    logits = keras.layers.Conv2D(TASKS[task], 1, dtype="float32", name="logits")
    return keras.Model({"joined": maps}, logits(double_conv(maps, width, name="last")), name=f"head_{task}")


def of_two_views(network: keras.Model) -> keras.Model:
    """From {"first", "second"}, two views of the same images (B, H, W, 3), to the network's outputs for both, as
    "first_NAME" and "second_NAME". Both views are one batch to the network, and to its batch normalization."""
    views = {name: keras.Input(network.input.shape[1:], name=name) for name in ("first", "second")}
    found = network(ops.concatenate(list(views.values()), axis=0))
    outputs = {}
    for name, value in found.items():
        outputs[f"first_{name}"], outputs[f"second_{name}"] = ops.split(value, 2, axis=0)
    return keras.Model(views, outputs, name=network.name)
