"""The encoder of the 3-D U-Net of Models Genesis (Zhou et al. 2019)."""

import keras

from kerastransfer.layers.blocks import volume_conv


def genesis_encoder(width: int = 32, depth: int = 4, *, name: str = "encoder") -> keras.Model:
    """From volume (B, D, H, W, 1) in 0..1 to taps {"c1".."c4"}: two 3 x 3 x 3 convolutions at each level, of which the
    second is twice as wide as the first, and a maximum over 2 x 2 x 2 voxels between levels.

    width: channels of the very first convolution; those of level d = 0, 1, ... have width * 2 ** d and twice as many.
    depth: number of levels; D, H and W are multiples of 2 ** (depth - 1), the stride of the last. As published, 32 and
    4, it has 7,030,656 weights, statistics included.
    """
    volume = keras.Input((None, None, None, 1), name="volume")
    x, maps = volume, {}
    for level in range(depth):
        tap, filters = f"c{level + 1}", width * 2**level
        if level:
            x = keras.layers.MaxPooling3D(2, name=f"{tap}_pool")(x)
        x = volume_conv(x, filters, name=f"{tap}_1")
        x = maps[tap] = volume_conv(x, 2 * filters, name=f"{tap}_2")
    return keras.Model(volume, maps, name=name)
