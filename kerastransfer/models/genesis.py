"""Models Genesis (Zhou et al. 2019): a 3-D U-Net that learns to restore deformed volumes, and then to segment them.

Both networks have the same encoder and decoder, whose weights `training.transfer` copies from one to the other; their
heads differ.
"""

import keras

from kerastransfer.decoders.genesis import genesis_decoder
from kerastransfer.encoders.genesis import genesis_encoder
from kerastransfer.heads.voxels import voxelwise
from kerastransfer.models.parts import feed


def genesis(*, width: int = 32, depth: int = 4, name: str = "genesis") -> keras.Model:
    """From deformed volume (B, D, H, W, 1) in 0..1 to the restored one, of the same shape and range.

    D, H and W are multiples of 2 ** (depth - 1). width, depth: as in `genesis_encoder`; as published, 32 and 4, it has
    16,324,929 weights, statistics included.
    """
    return _joined(1, "sigmoid", width, depth, name)


def genesis_segmenter(num_classes: int, *, width: int = 32, depth: int = 4, name: str = "segmenter") -> keras.Model:
    """From volume (B, D, H, W, 1) in 0..1 to logits (B, D, H, W, num_classes), of which class 0 is background; else as
    `genesis`."""
    return _joined(num_classes, None, width, depth, name)


def _joined(channels, activation, width, depth, name):
    encoder = genesis_encoder(width, depth)
    taps = {tap: maps.shape[-1] for tap, maps in encoder.output.items()}
    decoder, head = genesis_decoder(taps), voxelwise(taps["c1"], channels, activation=activation)
    volume = keras.Input(encoder.input.shape[1:], name="volume")
    return keras.Model(volume, feed(head, feed(decoder, encoder(volume))), name=name)
