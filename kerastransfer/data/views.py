"""What a batch shows a model: decoded images to what it reads, and what it is trained towards.

B images, H x W pixels at the input's size. A view is called in the pipeline's graph, with rows of what `decoded.decode`
gives, and all that it draws is a function of the seed.
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from kerastransfer.data.fields import PADDING
from kerastransfer.data.transforms import Augmentation, augment

Tensors = Mapping[str, tf.Tensor]
# (batch, seed (2,), size (H, W), share as in `augment`) -> (inputs, targets)
View = Callable[[Tensors, tf.Tensor, tuple, tuple[int, int]], tuple[tf.Tensor | Tensors, Tensors]]
# images (B, H, W, 3) float32 in 0..255, seed (2,), share -> the same form
Recolour = Callable[[tf.Tensor, tf.Tensor, tuple[int, int]], tf.Tensor]
# images, seed, share -> images that lack something, and where (B, H, W): 1 what was altered, 0 what was not
Distort = Callable[[tf.Tensor, tf.Tensor, tuple[int, int]], tuple[tf.Tensor, tf.Tensor]]

STILL = Augmentation(flip=0.0, scale=(1.0, 1.0), aspect=1.0, brightness=0.0, contrast=0.0, saturation=0.0, visible=0.0)


def augmented(how: Augmentation) -> View:
    """Image (B, H, W, 3) -> {the other fields}, moved with it. With mosaics there is room for four times the boxes in
    every batch, also where none of them is one."""

    def view(batch, seed, size, share=(0, 1)):
        room = batch["boxes"].shape[1] * (4 if how.mosaic else 1) if "boxes" in batch else 0
        batch = augment(batch, seed, how, size, share=share)
        return batch.pop("image"), {name: widened(value, name, room) for name, value in batch.items()}

    return view


def annotated(how: Augmentation) -> View:
    """{"image" and the other fields} -> {the other fields}: for networks that read annotations while they train."""

    def view(batch, seed, size, share=(0, 1)):
        image, targets = augmented(how)(batch, seed, size, share)
        return {"image": image, **targets}, targets

    return view


def two_crops(how: Augmentation, *, recolour: Recolour | None = None, distort: Distort | None = None) -> View:
    """{"first", "second"} -> {"first", "second", "first_colours", "second_colours"}: two windows of each image, drawn
    apart (SimCLR, Chen et al. 2020), and the same windows in the colours of the image.

    recolour: changes both windows, inputs and targets. distort: changes inputs alone, so that the targets are the clean
    windows (ConRec), and adds targets "first_altered" and "second_altered" (B, H, W).
    """

    def view(batch, seed, size, share=(0, 1)):
        inputs, targets = {}, {}
        for number, name in enumerate(("first", "second")):
            own = seed + 1009 * number
            image = augment({"image": batch["image"]}, own, how, size, share=share)["image"]
            targets[f"{name}_colours"] = image
            image = image if recolour is None else recolour(image, own + 503, share)
            inputs[name] = targets[name] = image
            if distort is not None:
                inputs[name], targets[f"{name}_altered"] = distort(image, own + 701, share)
        return inputs, targets

    return view


def distorted_and_clean(how: Augmentation, distort: Distort) -> View:
    """Image that lacks something -> {"image": the whole one, "altered" (B, H, W), and the other fields}."""

    def view(batch, seed, size, share=(0, 1)):
        clean, targets = augmented(how)(batch, seed, size, share)
        image, altered = distort(clean, seed + 701, share)
        return image, {**targets, "image": clean, "altered": altered}

    return view


def widened(value: tf.Tensor, name: str, room: int) -> tf.Tensor:
    """A field with a row per object (B, N, ...), padded to (B, room, ...); others as they are."""
    if name not in PADDING or value.shape[1] >= room:
        return value
    missing = [[0, 0], [0, room - value.shape[1]], *[[0, 0]] * (len(value.shape) - 2)]
    return tf.pad(value, missing, constant_values=PADDING[name])
