"""From pixels in 0..255 to what a model reads, by the names of `keras.applications.imagenet_utils`."""

from collections.abc import Callable

import keras

from kerastransfer.errors import UserError

DEVIATION = (0.229, 0.224, 0.225)
MEAN = (0.485, 0.456, 0.406)


def _torch(image):
    """Pixels as torchvision's models read them: mean 0 and deviation 1 over ImageNet."""
    scale = [1 / (255 * deviation) for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    return keras.layers.Rescaling(scale, offset, name="rescale")(image)


def _caffe(image):
    """Pixels as Caffe's models read them: BGR minus the mean colour of ImageNet."""
    return keras.layers.Rescaling(1.0, [-103.939, -116.779, -123.68], name="rescale")(image[..., ::-1])


def _symmetric(image):
    """Pixels from -1 to 1."""
    return keras.layers.Rescaling(1 / 127.5, -1.0, name="rescale")(image)


PREPROCESSING: dict[str, Callable] = {
    "none": lambda image: image,
    "tf": _symmetric,
    "caffe": _caffe,
    "torch": _torch,
    "unit": lambda image: keras.layers.Rescaling(1 / 255, name="rescale")(image),
}


def function_of(preprocessing: str | Callable) -> Callable:
    """The function of image (B, H, W, 3) with this name in PREPROCESSING, or the given function itself.

    Raises UserError for an unknown name.
    """
    if not isinstance(preprocessing, str):
        return preprocessing
    if preprocessing not in PREPROCESSING:
        raise UserError(f"unknown preprocessing {preprocessing!r}; choose {', '.join(PREPROCESSING)}, or a function")
    return PREPROCESSING[preprocessing]
