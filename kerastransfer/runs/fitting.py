"""What all recipes do around `fit`: data, optimizer, callbacks, and phases that start from the seed."""

import dataclasses
import functools
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from kerastransfer.data import splits
from kerastransfer.data.dataset import BadSampleError, Dataset
from kerastransfer.errors import UserError
from kerastransfer.flags import flag, require_positive
from kerastransfer.runs import image_cache
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig, RunConfig, one_of, variable
from kerastransfer.training import optimizers

# Largest number of objects in an image that are trained on.
MOST_OBJECTS = 400
# Decoded images are kept larger than the input by this factor, so that crops are not blurred.
STORED = 1.2
# Fewer images than a batch are repeated to fill one; a batch above both of these is taken for a slip.
LARGEST_BATCH, MOST_REPEATS = 256, 16


@dataclasses.dataclass
class FitConfig(RunConfig):
    """The flags of all recipes that train, whatever their data."""

    CHOSEN: ClassVar = {"optim": ("optimizer", optimizers.settings_of)}

    learning_rate: float = 2e-3
    """Peak learning rate, reached after the warm-up."""
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    """Learning rate schedule after the warm-up: a cosine down to a hundredth of the peak, a division by ten at 2/3 and
    at 8/9 of the training (`steps`), or none (`constant`)."""
    warmup_epochs: int = 3
    """Number of epochs in which the learning rate rises from 0 to its peak; at most a quarter of all epochs."""
    optimizer: str = "adamw"
    """Optimizer: adamw, adam, sgd or lars."""
    optim: one_of(optimizers.OPTIMIZERS) = None
    """Settings of --optimizer."""
    ema: float = 0.99
    """Momentum of an exponential moving average of the weights, which replaces them after training; 0 turns it off. In
    the first steps it is smaller, so that a short training does not end with its first weights."""
    loader_threads: int = variable(0)
    """Number of threads that make batches; the batches are the same. With 0 it is chosen: all cores but one beside a
    GPU; beside a CPU one, or all cores if images are decoded while training."""
    tensorboard: bool = False
    """Write logs for TensorBoard to logs/."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{flag(name)} is {value}; it must be a finite number")
        require_positive(self, "learning_rate")
        if self.loader_threads < 0:
            raise UserError(f"--loader-threads is {self.loader_threads}; it must be at least 0")
        if self.jit and self.strategy != "none":
            raise UserError(f"--jit does not work with --strategy {self.strategy}; leave one of them out")
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError("--tensorboard needs TensorBoard; install it with pip install 'kerastransfer[tensorboard]'")
        if not 0 <= self.ema < 1:
            raise UserError(f"--ema is {self.ema}; it must be at least 0 and below 1")


@dataclasses.dataclass
class TrainingConfig(FitConfig, CommonConfig):
    """The flags of all recipes that train on images."""

    flip: float = 0.5
    """Augmentation: probability that an image is mirrored horizontally."""
    scale: tuple[float, ...] = (0.6, 1.25)
    """Augmentation: smallest and largest side of the window that is cropped from an image, as a share of the image's
    side; above 1, the image is surrounded by grey."""
    resize: Literal["stretch", "letterbox"] = "stretch"
    """How images are brought to --image-size, in training, in scoring and in exported files: by stretching them, or by
    padding them with grey so that they keep their aspect ratio (`letterbox`, as in Darknet)."""
    aspect: float = 1.25
    """Augmentation: largest factor by which the aspect ratio of the window changes."""
    colour: float = 0.3
    """Augmentation: largest relative change of brightness and contrast; that of saturation is 1.5 times as large."""
    mosaic: float = 0.25
    """Augmentation of detectors: share of a batch that are mosaics of four images; there are none in the last eighth of
    the epochs."""
    cache: Literal["auto", "memory", "disk", "none"] = variable("auto")
    """Where decoded images are kept: in memory, in files on disk, or nowhere (`none`): then they are decoded while
    training. `auto` takes memory if there is room, else the disk, else `none`. The batches are the same."""
    validation: float = 0.0
    """Share of the training images to hold out for validation; the weights of the epoch with the lowest validation loss
    are kept. With 0, all images are used for training."""
    early_stopping: int = 0
    """Stop training when the validation loss has not improved for this many epochs; 0 never stops early."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "aspect")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(
                f"--scale is {' '.join(map(str, self.scale))}; give the smallest and the largest side, such as 0.7 1.2"
            )
        if not 0 <= self.validation < 1:
            raise UserError(f"--validation is {self.validation}; it must be at least 0 and below 1")
        if self.early_stopping < 0:
            raise UserError(f"--early-stopping is {self.early_stopping}; it must be at least 0")
        if self.early_stopping and not self.validation:
            raise UserError(
                f"--early-stopping {self.early_stopping} needs images to validate on; add --validation 0.1, or leave "
                "it out"
            )


def phase(config: RunConfig, run: RunFolder, name: str, work: Callable[[], dict]) -> dict:
    """The result of a training phase, which is not repeated if it has finished before.

    Each phase starts from the seed, so that its result does not depend on whether the phases before it were trained in
    this process or in an earlier one.
    """

    def from_the_seed() -> dict:
        from kerastransfer.training import strategy

        strategy.prepare(precision=config.precision, deterministic=config.deterministic, seed=config.seed)
        try:
            return work()
        finally:
            # Scoring and export, which follow, compute in float32.
            strategy.prepare()

    return run.phase(name, from_the_seed, together=True)


def augmentation(config: TrainingConfig, *, mosaic: float = 0.0):
    from kerastransfer.data.transforms import Augmentation

    return Augmentation(
        flip=config.flip,
        scale=tuple(config.scale),
        aspect=config.aspect,
        brightness=config.colour,
        contrast=config.colour,
        saturation=min(1.0, 1.5 * config.colour),
        mosaic=mosaic,
    )


def sides(image_size: int, stride: int) -> tuple[int, ...]:
    """Input sizes of --multi-scale: the multiples of 32 (or of `stride`, if it is larger) from about 3/4 to 5/4 of
    image_size."""
    step = max(32, stride)
    first, last = image_size * 3 // (4 * step), -(-image_size * 5 // (4 * step))
    return tuple(step * number for number in range(max(1, first), last + 1))


def some_images(train: Dataset, config: CommonConfig, batches: int = 8):
    """A few batches (B, H, W, 3) of training images at the input size, without augmentation."""
    import numpy as np

    from kerastransfer.data.letterbox import placement

    def resized(sample):
        image = sample.read()["image"]
        return placement(image.shape[:2], (config.image_size, config.image_size), config.resize).image(image)

    few = train.samples[: batches * config.batch_size]
    for start in range(0, len(few), config.batch_size):
        yield np.stack([resized(sample) for sample in few[start : start + config.batch_size]]).astype("float32")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What `fit` trains, on which annotations, and with which loss.

    network: a keras.Model, trained in place.
    terms, weights, resting, rates: as in `training.terms.TermModel`.
    fields: the annotations to train on; samples that lack one of them are left out.
    epochs: number of epochs. learning_rate: peak learning rate.
    view: a function from the augmentation to what the network is shown of a batch, such as `views.annotated` or
        `functools.partial(views.distorted_and_clean, distort=...)`; the default is `views.augmented`. For validation it
        is called with `views.STILL`.
    mosaic: share of a batch that are mosaics of four images.
    sides: sides of the square inputs in pixels, if they vary.
    """

    network: Any
    terms: Callable
    weights: Mapping[str, float | Callable]
    fields: tuple[str, ...]
    epochs: int
    learning_rate: float
    view: Callable | None = None
    mosaic: float = 0.0
    sides: tuple[int, ...] = ()
    resting: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


def fit(
    objective: Objective,
    train: Dataset,
    config: TrainingConfig,
    run: RunFolder,
    phase: str,
    *,
    validation: Dataset | None = None,
) -> None:
    """Train on images that are decoded once and augmented differently in every epoch.

    validation: samples to validate on; by default, --validation's share of `train` is held out.
    """
    from kerastransfer.data import views
    from kerastransfer.data.pipeline import evaluation_batches, training_batches

    size = (config.image_size, config.image_size)
    train, validation = held_out(objective, train, config, validation)
    largest = max((config.image_size, *objective.sides))
    decoded = decode(train, objective.fields, config, run, phase, round(largest * STORED))
    held = None
    if validation is not None:
        held = decode(validation, objective.fields, config, run, f"{phase}-validation", config.image_size)
    view = objective.view or views.augmented

    def batches(first_epoch, share):
        return training_batches(
            decoded,
            view=view(augmentation(config, mosaic=objective.mosaic)),
            plain=view(augmentation(config)) if objective.mosaic else None,
            plain_from=objective.epochs - objective.epochs // 8,
            size=size,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            share=share,
            sides=objective.sides,
            threads=config.loader_threads,
        )

    def to_validate(share):
        return evaluation_batches(
            held,
            view=view(views.STILL),
            size=size,
            batch_size=config.batch_size,
            share=share,
            threads=config.loader_threads,
        )

    try:
        fit_on(batches, len(decoded), objective, config, run, phase, validation=None if held is None else to_validate)
    except Exception as error:
        # TensorFlow tells in its own words what was raised while a batch was made.
        for one in (decoded, held):
            if one is not None and one.trouble:
                raise UserError(one.trouble) from error
        raise


def held_out(
    objective: Objective, train: Dataset, config: TrainingConfig, validation: Dataset | None = None
) -> tuple[Dataset, Dataset | None]:
    """(train, validation) of the samples with the objective's fields. The validation samples are those given, or
    --validation's share of `train`, or None."""
    train = train.having(*objective.fields)
    if validation is not None:
        return train, validation.having(*objective.fields)
    if not config.validation:
        return train, None
    try:
        return splits.holdout(train, config.validation, config.seed)
    except BadSampleError as error:
        raise UserError(f"--validation needs the classes of every training image, but {error}; fix it") from error


def decode(
    train: Dataset,
    fields: tuple[str, ...],
    config: TrainingConfig,
    run: RunFolder,
    phase: str,
    size: int,
    *,
    kept: bool = False,
):
    """The samples that have `fields` at size x size pixels, kept in memory or on disk or decoded on demand (--cache).

    kept: `auto` keeps them in any case. Raises UserError for --cache memory where there is too little."""
    from kerastransfer.data import decoded

    # Every worker keeps its own files.
    own = "" if run.leads else f"-{os.getpid()}"
    folder = run.checkpoints / f"{phase}-images{own}"
    where, told = image_cache.chosen(config.cache, image_cache.needed(train, fields, size), run.path, kept=kept)
    if told and run.leads and not config.quiet:
        print(f"{phase}: {told}")
    found = decoded.decode(
        train,
        fields,
        (size, size),
        folder=folder if where == "disk" else None,
        on_demand=where == "none",
        most=MOST_OBJECTS,
        resize=config.resize,
        remedy="use --cache none",
    )
    if found.dropped and run.leads:
        told = f"{found.dropped} objects are left out; only the largest {MOST_OBJECTS} of an image are trained on"
        print(f"warning: {told}", file=sys.stderr)
    return found


def fit_on(
    batches: Callable,
    images: int,
    objective: Objective,
    config: FitConfig,
    run: RunFolder,
    phase: str,
    *,
    validation: Callable | None = None,
) -> None:
    """Train on `batches(first_epoch, share)`, continuing from the checkpoint in the run's folder if there is one.

    images: number of images in an epoch. config: --early-stopping of a `TrainingConfig` is read if there is validation.
    validation: a function from a worker's share to the batches (inputs, targets, weights) to validate on after every
        epoch. The network then ends with the weights of the epoch with the lowest validation loss.
    """
    import keras

    from kerastransfer.data.pipeline import steps_per_epoch
    from kerastransfer.training import callbacks, schedules, strategy

    if config.batch_size > max(LARGEST_BATCH, MOST_REPEATS * images):
        raise UserError(
            f"--batch-size {config.batch_size} is more than {MOST_REPEATS} times the {images} training images, which "
            f"would be repeated to fill a batch; give {images} or less"
        )
    epochs, steps = objective.epochs, steps_per_epoch(images, config.batch_size)
    warmup = min(config.warmup_epochs, epochs // 4) * steps
    rate = schedules.schedule(config.schedule, objective.learning_rate, epochs * steps, warmup=warmup)
    model = strategy.model(
        config.strategy,
        objective.network,
        objective.terms,
        objective.weights,
        resting=objective.resting,
        rates=objective.rates,
    )
    model.compile(config.optim.build(rate, config.ema), jit_compile=strategy.compiled(config.jit))

    best = callbacks.Validation(config.early_stopping) if validation else None
    others = [best] if best else []
    checkpoint = run.checkpoints / f"{phase}.npz"
    resume = callbacks.Resume(
        checkpoint,
        model,
        others=others,
        on_epoch=lambda rows: run.append_history({"phase": phase, **row} for row in rows[-1:]),
        writes=run.leads,
    )
    if best and best.stopped:
        epochs = resume.first_epoch
    logs = [keras.callbacks.TensorBoard(run.logs / phase)] if config.tensorboard and run.leads else []
    if not config.quiet:
        numbers = keras.mixed_precision.global_policy().compute_dtype
        length = f"{images} images, {objective.epochs} epochs of {steps} steps"
        print(f"\n{phase}: {length}, {objective.network.count_params():,} weights, in {numbers}")
    model.fit(
        strategy.distributed(config.strategy, functools.partial(batches, resume.first_epoch)),
        epochs=epochs,
        initial_epoch=resume.first_epoch,
        steps_per_epoch=steps,
        # The batches are already shuffled.
        shuffle=False,
        verbose=0 if config.quiet else 1 if sys.stdout.isatty() else 2,
        validation_data=strategy.distributed(config.strategy, validation) if validation else None,
        callbacks=[callbacks.StopOnNonFinite(checkpoint), *others, resume, *logs],
    )
    if best:
        best.put_back(objective.network)
        if not config.quiet:
            print(f"{phase}: the weights of epoch {best.best_epoch} are kept, validation loss {best.best:.4g}")
