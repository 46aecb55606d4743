"""What all recipes do around `fit`: data, optimizer, callbacks, and phases that start from the seed."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from kerastransfer.data import splits
from kerastransfer.data.dataset import BadSampleError, Dataset
from kerastransfer.errors import UserError
from kerastransfer.runs import image_cache
from kerastransfer.runs.fit_settings import FitConfig, TrainingConfig
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig, RunConfig

# Fewer images than a batch are repeated to fill one; a batch above both of these is taken for a slip.
LARGEST_BATCH, MOST_REPEATS = 256, 16


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
    decoded = image_cache.decode(train, objective.fields, config, run, phase, image_cache.side(largest))
    held = None
    if validation is not None:
        held = image_cache.decode(validation, objective.fields, config, run, f"{phase}-validation", config.image_size)
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
