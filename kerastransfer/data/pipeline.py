"""Decoded examples to batches for `fit`, the same for the same seed."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kerastransfer.data.decoded import Decoded
from kerastransfer.data.fields import PADDING
from kerastransfer.data.transforms import Augmentation, augment

END = np.iinfo("int32").max  # an epoch that never comes
STEPS_OF_A_SIZE = 10  # Darknet's random=1 (examples/detector.c) draws another size every ten batches


def training_batches(
    decoded: Decoded,
    *,
    size: tuple[int, int],
    batch_size: int,
    how: Augmentation,
    seed: int,
    first_epoch: int = 0,
    plain_from: int | None = None,
    share: tuple[int, int] = (0, 1),
    sides: Sequence[int] = (),
) -> tf.data.Dataset:
    """(image (B, H, W, 3) float32, targets) without end, from `first_epoch` on; `steps_per_epoch` of them are an epoch.

    Order and augmentation are a function of (seed, epoch, step) alone, so a run that resumes at an epoch sees what the
    undisturbed run saw. Each epoch is a permutation of the samples; what does not fill a batch is left out of that
    epoch. Fewer samples than a batch are repeated to fill one.

    share: (i, n) gives the i-th of n equal parts of every batch, the same images in the same way as in the whole batch
    (but mosaics), so that workers that each ask for theirs train on what one would; no other image is touched.
    sides: of square inputs, of which every ten steps another is drawn in place of `size`; all shares draw the same.
        Height and width of images and maps are then not known before.
    plain_from: the epoch from which no mosaics are made and no sides drawn, so that the last epochs see pictures as
        they are.
    """
    part = batch_size // share[1]

    def made(how, sides):
        def make(epoch, step, rows):
            rows = rows[share[0] * part : (share[0] + 1) * part]
            now = _size(sides, seed, epoch * steps + step) if sides else size
            batch = augment(gather(decoded.arrays, rows), step_seed(seed, epoch, step), how, now, share=share)
            return batch.pop("image"), _widened(batch, boxes)

        return make

    def span(first, last, how, sides):
        rows = rows_of_epochs(len(decoded), batch_size, seed, first, last)
        return rows.map(made(how, sides), num_parallel_calls=1, deterministic=True)

    steps = steps_per_epoch(len(decoded), batch_size)
    plain_from = END if plain_from is None or not (how.mosaic or sides) else plain_from
    boxes = decoded.arrays["boxes"].shape[1] * (4 if how.mosaic else 1) if "boxes" in decoded.arrays else 0
    batches = span(first_epoch, plain_from, how, sides)
    if plain_from < END:
        plain = dataclasses.replace(how, mosaic=0.0)
        batches = batches.concatenate(span(max(first_epoch, plain_from), END, plain, ()))
    return ahead(batches)


def rows_of_epochs(count: int, batch_size: int, seed: int, first: int, last: int = END) -> tf.data.Dataset:
    """(epoch, step, rows (batch_size,)) of the epochs from `first` up to `last`: each is a permutation of `count`
    samples that is a function of (seed, epoch) alone."""
    steps = steps_per_epoch(count, batch_size)

    def epoch_of(epoch):
        order = tf.argsort(tf.random.stateless_uniform((count,), _seed(seed, epoch, 0)))
        order = tf.gather(order, tf.range(steps * batch_size) % count)
        batches = tf.data.Dataset.from_tensor_slices(tf.reshape(order, (steps, batch_size)))
        return batches.enumerate().map(lambda step, rows: (epoch, step, rows))

    return tf.data.Dataset.range(min(first, last), last).flat_map(epoch_of)


def step_seed(seed, epoch, step):
    """(2,) int32 for the stateless operations of a training step, different for each."""
    return _seed(seed, epoch, step + 1)


def gather(arrays: Mapping[str, np.ndarray], rows) -> dict[str, tf.Tensor]:
    """Rows of every array; through numpy, because as constants of the graph the images would be copied into it."""
    names = list(arrays)
    values = tf.numpy_function(
        lambda rows: [np.ascontiguousarray(arrays[name][rows]) for name in names],
        [rows],
        [tf.as_dtype(arrays[name].dtype) for name in names],
        stateful=False,
    )
    for name, value in zip(names, values, strict=True):
        value.set_shape((rows.shape[0], *arrays[name].shape[1:]))
    return dict(zip(names, values, strict=True))


def ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The batches, made while the training step before them runs."""
    options = tf.data.Options()
    options.autotune.enabled = False  # one batch ahead is enough, and more threads only take cores from the training
    return batches.prefetch(2).with_options(options)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in `count` images, at least one."""
    return max(1, count // batch_size)


def _seed(seed, epoch, step):
    """Two int32 numbers for a stateless operation, different for each (seed, epoch, step)."""
    return tf.stack([tf.cast(seed, "int32"), tf.cast(epoch, "int32") * 100_003 + tf.cast(step, "int32")])


def _size(sides, seed, step):
    """(side, side) of the block of steps that the `step`-th of the whole run is in."""
    block = tf.cast(step // STEPS_OF_A_SIZE, "int32")
    number = tf.random.stateless_uniform((), _seed(seed, 0, block) + 5, 0, len(sides), "int32")
    side = tf.constant(sides, "int32")[number]
    return side, side


def _widened(batch, boxes):
    """The batch with its boxes padded to a number that is the same in every batch, with mosaics or without."""

    def padded(name, value):
        if name not in PADDING:
            return value
        missing = [[0, 0], [0, boxes - value.shape[1]], *[[0, 0]] * (len(value.shape) - 2)]
        return tf.pad(value, missing, constant_values=PADDING[name])

    return {name: padded(name, value) for name, value in batch.items()}
