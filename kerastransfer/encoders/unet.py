"""The encoder of a U-Net (Ronneberger et al. 2015), as in Dippel et al. 2022, section 2.3."""

import keras

from kerastransfer.encoders.preprocessing import function_of
from kerastransfer.layers.blocks import double_conv


def unet_encoder(width: int = 64, depth: int = 4, *, preprocessing: str = "unit", name: str = "encoder") -> keras.Model:
    """From image (B, H, W, 3) in 0..255 to taps {"c1".."c4"}: two 3 x 3 convolutions at each level, with bias, batch
    normalization and ReLU, and a maximum over 2 x 2 pixels between levels.

    width: channels of the first level, which are doubled at each of the others. depth: number of levels; the strides
    are 1, 2, ..., 2 ** (depth - 1). As published, 64 and 4, it has 4,689,216 trainable parameters.
    """
    image = keras.Input((None, None, 3), name="image")
    x, maps = function_of(preprocessing)(image), {}
    for level in range(depth):
        tap = f"c{level + 1}"
        if level:
            x = keras.layers.MaxPooling2D(2, name=f"{tap}_pool")(x)
        x = maps[tap] = double_conv(x, width * 2**level, name=tap)
    return keras.Model(image, maps, name=name)
