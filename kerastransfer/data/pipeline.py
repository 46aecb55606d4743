"""Decoded examples to batches for `fit`, the same for the same seed."""

import numpy as np
import tensorflow as tf

from kerastransfer.data.decoded import Decoded
from kerastransfer.data.transforms import Augmentation, augment


def training_batches(
    decoded: Decoded,
    *,
    size: tuple[int, int],
    batch_size: int,
    how: Augmentation,
    seed: int,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """(image (B, H, W, 3) float32, targets) without end, from `first_epoch` on; `steps_per_epoch` of them are an epoch.

    Order and augmentation are a function of (seed, epoch, step) alone, so a run that resumes at an epoch sees what the
    undisturbed run saw. Each epoch is a permutation of the samples; what does not fill a batch is left out of that
    epoch. Fewer samples than a batch are repeated to fill one.
    """
    steps = steps_per_epoch(decoded, batch_size)

    def epoch_of(epoch):
        order = tf.argsort(tf.random.stateless_uniform((len(decoded),), _seed(seed, epoch, 0)))
        order = tf.gather(order, tf.range(steps * batch_size) % len(decoded))
        batches = tf.data.Dataset.from_tensor_slices(tf.reshape(order, (steps, batch_size)))
        return batches.enumerate().map(lambda step, rows: (epoch, step, rows))

    def make(epoch, step, rows):
        batch = _gather(decoded, rows)
        batch = augment(batch, _seed(seed, epoch, step + 1), how, size)
        return batch.pop("image"), batch

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo("int32").max)
    options = tf.data.Options()
    options.autotune.enabled = False  # one batch ahead is enough, and more threads only take cores from the training
    return (
        epochs.flat_map(epoch_of).map(make, num_parallel_calls=1, deterministic=True).prefetch(2).with_options(options)
    )


def steps_per_epoch(decoded: Decoded, batch_size: int) -> int:
    """Whole batches in the data, at least one."""
    return max(1, len(decoded) // batch_size)


def _seed(seed, epoch, step):
    """Two int32 numbers for a stateless operation, different for each (seed, epoch, step)."""
    return tf.stack([tf.cast(seed, "int32"), tf.cast(epoch, "int32") * 100_003 + tf.cast(step, "int32")])


def _gather(decoded, rows):
    """Rows of every array; through numpy, because as constants of the graph the images would be copied into it."""
    names = list(decoded.arrays)
    values = tf.numpy_function(
        lambda rows: [np.ascontiguousarray(decoded.arrays[name][rows]) for name in names],
        [rows],
        [tf.as_dtype(decoded.arrays[name].dtype) for name in names],
        stateful=False,
    )
    for name, value in zip(names, values, strict=True):
        value.set_shape((rows.shape[0], *decoded.arrays[name].shape[1:]))
    return dict(zip(names, values, strict=True))
