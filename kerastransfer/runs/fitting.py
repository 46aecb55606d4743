"""What every recipe does around `fit`: data, optimizer, callbacks, phases that begin from the seed."""

import dataclasses
import functools
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from kerastransfer.data import splits
from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError
from kerastransfer.flags import flag, require_positive
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig, one_of
from kerastransfer.training import optimizers

# Objects of an image that are trained on
MOST_OBJECTS = 400
# Decoded images are kept this much larger than the input, so that a cut-out is not blurred.
STORED = 1.2


@dataclasses.dataclass
class TrainingConfig(CommonConfig):
    """Flags of every recipe that trains."""

    CHOSEN: ClassVar = {"optim": ("optimizer", optimizers.settings_of)}

    learning_rate: float = 2e-3
    """Peak learning rate, reached after the warm-up."""
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    """Schedule of the learning rate after the warm-up."""
    warmup_epochs: int = 3
    """Epochs of the warm-up, in which the learning rate rises from 0."""
    optimizer: str = "adamw"
    """Optimizer: adamw, adam, sgd or lars."""
    optim: one_of(optimizers.OPTIMIZERS) = None
    """Settings of --optimizer."""
    ema: float = 0.99
    """Momentum of the moving average of the weights, which is kept in place of the last weights; 0 keeps the last."""
    flip: float = 0.5
    """Probability that an image is mirrored."""
    scale: tuple[float, ...] = (0.6, 1.25)
    """Smallest and largest side of the window that is cut out of an image, as a share of the image's side."""
    resize: Literal["stretch", "letterbox"] = "stretch"
    """How an image is brought to --image-size, in training, scores and exported files alike: stretched, or with its
    aspect ratio kept and grey around it (`letterbox`, as in Darknet)."""
    aspect: float = 1.25
    """Largest factor by which the height and width of the window differ."""
    colour: float = 0.3
    """Share by which brightness and contrast vary; saturation varies by half as much again."""
    mosaic: float = 0.25
    """Share of a detector's batch that are mosaics of four images; there are none in the last eighth of the epochs."""
    cache: Literal["memory", "disk"] = "memory"
    """Where decoded images are kept: in memory, or in files on disk for data larger than memory."""
    validation: float = 0.0
    """Share of the training images to hold out for validation; the weights of the epoch with the lowest validation loss
    are kept. 0 trains on all images."""
    early_stopping: int = 0
    """Stop when the validation loss has not improved for this many epochs; 0 never stops early."""
    tensorboard: bool = False
    """Also write logs/ for TensorBoard."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{flag(name)} is {value}; it must be a finite number")
        require_positive(self, "learning_rate", "aspect")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(
                f"--scale {' '.join(map(str, self.scale))}: give the smallest and the largest side, as 0.7 1.2"
            )
        if self.jit and self.strategy != "none":
            raise UserError(f"--jit does not work with --strategy {self.strategy}; leave one of them out")
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError("--tensorboard needs the package: pip install 'kerastransfer[tensorboard]'")
        for name in ("ema", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.early_stopping < 0:
            raise UserError(f"--early-stopping is {self.early_stopping}; it must be at least 0")
        if self.early_stopping and not self.validation:
            raise UserError(
                f"--early-stopping {self.early_stopping} needs images to validate on: add --validation 0.1, or leave "
                "it out"
            )


def phase(config: CommonConfig, run: RunFolder, name: str, work: Callable[[], dict]) -> dict:
    """The result of a training phase, at once when it was finished before. Each begins from the seed, so that it comes
    to the same whether the phases before it were trained in this process or in an earlier one."""

    def from_the_seed() -> dict:
        from kerastransfer.training import strategy

        strategy.prepare(precision=config.precision, deterministic=config.deterministic, seed=config.seed)
        try:
            return work()
        finally:
            strategy.prepare()  # what follows, scoring and export, computes in float32

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
    """Input sizes of --multi-scale: the multiples of 32 (of `stride`, if that is larger) from about three to five
    quarters of image_size."""
    step = max(32, stride)
    first, last = image_size * 3 // (4 * step), -(-image_size * 5 // (4 * step))
    return tuple(step * number for number in range(max(1, first), last + 1))


def some_images(train: Dataset, config: CommonConfig, batches: int = 8):
    """A few batches (B, H, W, 3) of training images as they are, at the input's size."""
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
    """What `fit` trains, on which annotations, and towards what.

    network: a keras.Model, trained in place.
    terms, weights, resting: of `training.terms.TermModel`.
    fields: the annotations that it is trained on; samples that lack one are left out.
    epochs, learning_rate: how long, and the peak of the learning rate.
    view: what a batch shows the network, as a function of the augmentation: `views.annotated`, or
        `functools.partial(views.distorted_and_clean, distort=...)`. By default `views.augmented`. Validation images get
        the view of `views.STILL`.
    mosaic: share of a batch in which four images stand in one.
    sides: of square inputs, where they are to vary.
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


def fit(
    objective: Objective,
    train: Dataset,
    config: TrainingConfig,
    run: RunFolder,
    phase: str,
    *,
    validation: Dataset | None = None,
) -> None:
    """Train on images that are decoded once and augmented anew in every epoch.

    validation: samples to validate on; without any, --validation takes its share of `train`.
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
        )

    def to_validate(share):
        return evaluation_batches(held, view=view(views.STILL), size=size, batch_size=config.batch_size, share=share)

    fit_on(batches, len(decoded), objective, config, run, phase, validation=None if held is None else to_validate)


def held_out(
    objective: Objective, train: Dataset, config: TrainingConfig, validation: Dataset | None = None
) -> tuple[Dataset, Dataset | None]:
    """(train, validation) with the objective's fields: as given, or --validation's share of `train`, or none."""
    train = train.having(*objective.fields)
    if validation is not None:
        return train, validation.having(*objective.fields)
    return splits.holdout(train, config.validation, config.seed) if config.validation else (train, None)


def decode(train: Dataset, fields: tuple[str, ...], config: TrainingConfig, run: RunFolder, phase: str, size: int):
    """The samples that have `fields`, decoded at size x size to where --cache says."""
    from kerastransfer.data import decoded

    own = "" if run.leads else f"-{os.getpid()}"  # every worker keeps its own
    folder = run.checkpoints / f"{phase}-images{own}" if config.cache == "disk" else None
    found = decoded.decode(train, fields, (size, size), folder=folder, most=MOST_OBJECTS, resize=config.resize)
    if found.dropped and run.leads:
        told = f"{found.dropped} objects are left out: of an image the largest {MOST_OBJECTS} are trained on"
        print(f"warning: {told}", file=sys.stderr)
    return found


def fit_on(
    batches: Callable,
    images: int,
    objective: Objective,
    config: TrainingConfig,
    run: RunFolder,
    phase: str,
    *,
    validation: Callable | None = None,
) -> None:
    """Train on `batches(first_epoch, share)` of so many images, or go on where the run folder's checkpoint stands.

    validation: gives from a share the batches (inputs, targets, weights) to validate on after every epoch. The network
        then ends with the weights of the epoch with the least validation loss.
    """
    import keras

    from kerastransfer.data.pipeline import steps_per_epoch
    from kerastransfer.training import callbacks, schedules, strategy

    epochs, steps = objective.epochs, steps_per_epoch(images, config.batch_size)
    warmup = min(config.warmup_epochs, epochs // 4) * steps
    rate = schedules.schedule(config.schedule, objective.learning_rate, epochs * steps, warmup=warmup)
    model = strategy.model(
        config.strategy, objective.network, objective.terms, objective.weights, resting=objective.resting
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
        # The batches are shuffled already.
        shuffle=False,
        verbose=0 if config.quiet else 1 if sys.stdout.isatty() else 2,
        validation_data=strategy.distributed(config.strategy, validation) if validation else None,
        callbacks=[callbacks.StopOnNonFinite(checkpoint), *others, resume, *logs],
    )
    if best:
        best.put_back(objective.network)
        if not config.quiet:
            print(f"{phase}: the weights of epoch {best.best_epoch} are kept, validation loss {best.best:.4g}")
