"""The losses of a restored image and of the other decoding tasks (ConRec, Dippel et al. 2021; 2022, section 2.2)."""

from keras import ops


def mse(wanted, logits):
    """Mean squared error (B,) over all pixels and channels, of wanted (B, H, W, C) in 0..1 and logits of that shape,
    whose sigmoid is compared."""
    guess = ops.sigmoid(ops.cast(logits, "float32"))
    return ops.mean(ops.square(ops.cast(wanted, "float32") - guess), axis=(1, 2, 3))


def wanted(task: str, image, colours, altered):
    """What a decoding task of `models.conrec.TASKS` should give, (B, H, W, C) in 0..1.

    image, colours: the unaltered view, and the same window in the image's own colours, (B, H, W, 3) in 0..255.
    altered: where the input was altered, (B, H, W) of 0 and 1.
    """
    altered = ops.expand_dims(ops.cast(altered, "float32"), -1)
    image, colours = (ops.cast(one, "float32") / 255.0 for one in (image, colours))
    return {
        "reconstruction": image,
        "colours": colours,
        "altered": altered,
        "blackened": image * (1 - altered),
    }[task]
