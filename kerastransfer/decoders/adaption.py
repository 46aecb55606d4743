"""The feature adaption of LabelEnc (Hao et al. 2020, section 3.2): maps of the image, before they are compared."""

from collections.abc import Mapping

import keras


def adaption(channels: Mapping[str, int], *, name: str = "adaption") -> keras.Model:
    """From {"p3": (B, h, w, D), ...} to maps of the same names and sizes: three 3 x 3 convolutions with ReLU between
    them, shared by all maps of the same number of channels. With 256 channels they have 1,770,240 parameters.

    channels: of each map.
    """
    maps = {level: keras.Input((None, None, depth), name=level) for level, depth in channels.items()}
    layers = {depth: _layers(depth, len(set(channels.values())) > 1) for depth in dict.fromkeys(channels.values())}
    found = {}
    for level, x in maps.items():
        for layer in layers[channels[level]]:
            x = layer(x)
        found[level] = x
    return keras.Model(maps, found, name=name)


def _layers(depth, several):
    prefix = f"of_{depth}_" if several else ""
    bound = (9 * depth) ** -0.5
    found = []
    for number in (1, 2, 3):
        # PyTorch's own start, as in the authors' code.
        start = keras.initializers.RandomUniform(-bound, bound)
        found.append(
            keras.layers.Conv2D(
                depth,
                3,
                padding="same",
                kernel_initializer=start,
                bias_initializer=keras.initializers.RandomUniform(-bound, bound),
                name=f"{prefix}{number}",
            )
        )
        if number < 3:
            found.append(keras.layers.ReLU(name=f"{prefix}{number}_relu"))
    return found
