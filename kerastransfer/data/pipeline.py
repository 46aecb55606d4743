"""Decoded examples to batches for `fit`, the same for the same seed."""

import os
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerastransfer.data.decoded import Decoded
from kerastransfer.data.fields import PADDING
from kerastransfer.data.on_demand import take
from kerastransfer.data.views import STILL, View, augmented, widened

# An epoch that never comes.
END = np.iinfo("int32").max
# Darknet's random=1 (examples/detector.c) draws another size every ten batches.
STEPS_OF_A_SIZE = 10


def training_batches(
    decoded: Decoded,
    *,
    view: View,
    size: tuple[int, int],
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    plain_from: int | None = None,
    plain: View | None = None,
    share: tuple[int, int] = (0, 1),
    sides: Sequence[int] = (),
    threads: int = 0,
) -> tf.data.Dataset:
    """(inputs, targets) of a view without end, from `first_epoch` on; `steps_per_epoch` of them are an epoch.

    Order and augmentation are a function of (seed, epoch, step) alone, so a run that resumes at an epoch sees what the
    undisturbed run saw. Each epoch is a permutation of the samples; what does not fill a batch is left out of that
    epoch. Fewer samples than a batch are repeated to fill one.

    size: (H, W) of inputs.
    share: (i, n) gives the i-th of n equal parts of every batch, the same images in the same way as in the whole batch
        (except mosaics), so that workers that each ask for theirs train on what one would; no other image is touched.
    sides: of square inputs, of which every ten steps another is drawn in place of `size`; all shares draw the same.
        Height and width of images and maps are then not known before.
    threads: see `at_once`; the batches do not depend on it.
    plain_from: the epoch from which no sides are drawn and `plain` takes the place of `view` (the same without
        mosaics), so that the last epochs see pictures as they are. Its boxes are padded to the number of the view's.
    """
    part = batch_size // share[1]
    steps = steps_per_epoch(len(decoded), batch_size)
    parallel = at_once(threads, on_demand=decoded.on_demand)

    def made(view, sides):
        def make(epoch, step, rows):
            rows = rows[share[0] * part : (share[0] + 1) * part]
            now = _size(sides, seed, epoch * steps + step) if sides else size
            return view(gather(decoded.arrays, rows), step_seed(seed, epoch, step), now, share)

        return make

    def span(first, last, view, sides):
        rows = rows_of_epochs(len(decoded), batch_size, seed, first, last)
        return rows.map(made(view, sides), num_parallel_calls=parallel, deterministic=True)

    plain_from = END if plain_from is None or not (plain or sides) else plain_from
    batches = span(first_epoch, plain_from, view, sides)
    if plain_from < END:
        spec = batches.element_spec
        last = span(max(first_epoch, plain_from), END, plain or view, ())
        batches = batches.concatenate(last.map(lambda *batch: tuple(map(_padded, batch, spec))))
    return ahead(batches, threads)


def evaluation_batches(
    decoded: Decoded,
    *,
    size: tuple[int, int],
    batch_size: int,
    view: View | None = None,
    share: tuple[int, int] = (0, 1),
    threads: int = 0,
) -> tf.data.Dataset:
    """(inputs, targets, weights (B,) float32) of every sample once, in order. The last batch is padded with samples of
    weight 0, so that all have one size, which a strategy and XLA want.

    view: of samples; by default (image, the other fields), as they are. What a view draws is the same each time.
    """
    view = view or augmented(STILL)
    part, count = batch_size // share[1], len(decoded)
    rows = np.arange(-(-count // batch_size) * batch_size, dtype="int32").reshape(-1, batch_size)

    def make(step, rows):
        rows = rows[share[0] * part : (share[0] + 1) * part]
        inputs, targets = view(gather(decoded.arrays, rows % count), step_seed(0, 0, step), size, share)
        return inputs, targets, tf.cast(rows < count, "float32")

    batches = tf.data.Dataset.from_tensor_slices(rows).enumerate()
    parallel = at_once(threads, on_demand=decoded.on_demand)
    return ahead(batches.map(make, num_parallel_calls=parallel, deterministic=True), threads)


def without_padding(batches: tf.data.Dataset) -> tf.data.Dataset:
    """(inputs, targets) of `evaluation_batches` without images of weight 0, for a plain `fit`: Keras divides losses by
    the number of images, whatever their weight."""

    def kept(inputs, targets, weights):
        count = tf.math.count_nonzero(weights, dtype="int32")
        return tf.nest.map_structure(lambda value: value[:count], (inputs, targets))

    return batches.map(kept)


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
        lambda rows: [np.ascontiguousarray(value) for value in take(arrays, rows).values()],
        [rows],
        [tf.as_dtype(arrays[name].dtype) for name in names],
        stateful=False,
    )
    for name, value in zip(names, values, strict=True):
        value.set_shape((rows.shape[0], *arrays[name].shape[1:]))
    return dict(zip(names, values, strict=True))


def at_once(threads: int = 0, *, on_demand: bool = False) -> int:
    """The number of batches that are made at the same time, which are the same for every number.

    threads: so many; with 0 one beside a training on the CPU, which needs the cores itself, all but one of the cores
        beside a GPU, which otherwise waits, and with images that are decoded `on_demand` all of them beside a CPU: the
        training rests where it would wait for them.
    """
    if threads:
        return threads
    if _beside_gpu():
        return max(1, cores() - 1)
    return cores() if on_demand else 1


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _beside_gpu():
    """Whether Keras computes on a GPU or a TPU. On JAX, TensorFlow does not see it."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    return bool(tf.config.list_physical_devices("GPU"))


def ahead(batches: tf.data.Dataset, threads: int = 0) -> tf.data.Dataset:
    """The batches, made while the training step before them runs. threads: so many make them, if it is not 0."""
    options = tf.data.Options()
    if threads:
        options.threading.private_threadpool_size = threads
        # An operation on a whole batch otherwise takes more threads than were given.
        options.threading.max_intra_op_parallelism = 1
    # Two batches ahead are enough, and more threads only take cores from the training.
    options.autotune.enabled = False
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


def _padded(value, spec, name=None):
    """Inputs or targets with their boxes padded to the number in `spec`."""
    if isinstance(value, Mapping):
        return {name: _padded(inner, spec[name], name) for name, inner in value.items()}
    return widened(value, name, spec.shape[1]) if name in PADDING else value
