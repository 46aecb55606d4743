"""What a decoder needs to know about any encoder: its taps, their strides and channels."""

import math
import re

import keras

from kerastransfer.errors import UserError

WANTED = (
    "give a keras.Model from an image (B, H, W, 3) to a dict of its stages {'c1': (B, h, w, D), ...}, such as "
    "keras.Model(backbone.input, {'c1': ..., 'c5': ...})"
)
SIDE = 1024


def taps(encoder: keras.Model) -> dict[str, keras.KerasTensor]:
    """{"c1": (B, h, w, D), ...}: the maps of an encoder, by stage; other outputs are ignored.

    Raises UserError if it is not an encoder.
    """
    if not isinstance(encoder, keras.Model):
        raise UserError(f"the encoder is a {type(encoder).__name__}, not a model; {WANTED}")
    if not isinstance(encoder.input, keras.KerasTensor) or len(encoder.input.shape) != 4:
        raise UserError(f"the encoder {encoder.name!r} does not read one image; {WANTED}")
    if not isinstance(encoder.output, dict):
        given = f"a {type(encoder.output).__name__}"
        raise UserError(f"the encoder {encoder.name!r} gives {given}, not a dict of maps; {WANTED}")
    found = {name: maps for name, maps in encoder.output.items() if re.fullmatch(r"c\d+", name)}
    if not found:
        raise UserError(f"the encoder {encoder.name!r} gives {', '.join(encoder.output)}; {WANTED}")
    if flat := [name for name, maps in found.items() if len(maps.shape) != 4]:
        raise UserError(f"the encoder {encoder.name!r} gives no map (B, h, w, D) as {flat[0]!r}; {WANTED}")
    return found


def named(encoder: keras.Model) -> keras.Model:
    """The same encoder under the name by which a model's encoder is found. Raises UserError as `taps` does."""
    taps(encoder)
    return encoder if encoder.name == "encoder" else keras.Model(encoder.input, encoder.output, name="encoder")


def channels(encoder: keras.Model) -> dict[str, int]:
    """{"c1": 64, ...}: the channels of each tap."""
    return {name: maps.shape[-1] for name, maps in taps(encoder).items()}


def strides(encoder: keras.Model) -> dict[str, int]:
    """{"c1": 4, ...}: the pixels of the image between two positions of each tap, rounded to powers of two."""
    names, (_, *sides, _) = list(taps(encoder)), encoder.input.shape
    if None in sides:
        sides = [side or SIDE for side in sides]
        shapes = encoder.compute_output_shape((1, *sides, 3))
    else:
        shapes = {name: encoder.output[name].shape for name in names}
    return {name: 2 ** round(math.log2(sides[0] / shapes[name][1])) for name in names}


def last(encoder: keras.Model) -> str:
    """The name of the deepest tap: the one of the largest stride, and of several the last."""
    of = strides(encoder)
    return max(of, key=lambda tap: (of[tap], tap))


def check_size(encoder: keras.Model) -> None:
    """Raises UserError if the encoder has a fixed image size that is not a multiple of its largest stride."""
    stride, (_, height, width, _) = max(strides(encoder).values()), encoder.input.shape
    if (height or 0) % stride or (width or 0) % stride:
        raise UserError(
            f"the encoder {encoder.name!r} reads images of {height} x {width} pixels, which is not a multiple of its "
            f"stride of {stride}; build it for another size, or for any: keras.Input((None, None, 3))"
        )
