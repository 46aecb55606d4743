"""What every recipe does around `fit`: data, optimizer, callbacks, phases that begin from the seed."""

import dataclasses
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal

from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig

MOST_OBJECTS = 400  # of an image
STORED = 1.2  # decoded images are kept this much larger than the input, so that a cut-out is not blurred


@dataclasses.dataclass
class TrainingConfig(CommonConfig):
    """Flags of every recipe that trains."""

    learning_rate: float = 2e-3
    """Its peak."""
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    """Of the learning rate, after the warm-up."""
    warmup_epochs: int = 3
    """Epochs in which the learning rate rises from 0."""
    weight_decay: float = 1e-2
    """Of AdamW; kernels only."""
    ema: float = 0.99
    """Momentum of the running average of the weights, which is what is kept; 0 keeps the last weights."""
    flip: float = 0.5
    """Probability of a mirror image."""
    scale: tuple[float, ...] = (0.6, 1.25)
    """Smallest and largest side of the window that is cut out, as a share of the image's."""
    resize: Literal["stretch", "letterbox"] = "stretch"
    """How an image comes to --image-size: stretched, or with its aspect kept and grey around it (Darknet), in training,
    scores and exported files alike."""
    aspect: float = 1.25
    """Largest factor by which the window's height and width differ."""
    colour: float = 0.3
    """Brightness and contrast vary by this share, saturation by more."""
    mosaic: float = 0.25
    """Share of a detector's batch in which four images stand in one; none in the last eighth of the epochs."""
    cache: Literal["memory", "disk"] = "memory"
    """Where decoded images are kept."""
    tensorboard: bool = False
    """Write logs/ for TensorBoard too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "learning_rate", "aspect")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(
                f"--scale {' '.join(map(str, self.scale))}: give the smallest and the largest side, as 0.7 1.2"
            )
        if self.jit and self.strategy != "none":
            raise UserError(f"--jit does not work with --strategy {self.strategy}: leave one of them out")
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError("--tensorboard needs the package: pip install 'kerastransfer[tensorboard]'")
        if not 0 <= self.ema < 1:
            raise UserError(f"--ema is {self.ema}: it must be at least 0 and below 1")


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


def fit(
    network,
    terms: Callable,
    weights: Mapping[str, float],
    train: Dataset,
    config: TrainingConfig,
    run: RunFolder,
    *,
    phase: str,
    fields: tuple[str, ...],
    epochs: int,
    mosaic: float = 0.0,
    annotated: bool = False,
    sides: tuple[int, ...] = (),
    **options,
) -> None:
    """Train `network` in place on the samples that have `fields`. annotated: it reads the annotations too, beside
    "image". sides: of inputs, where they are to vary. options: of `fit_on`."""
    from kerastransfer.data.pipeline import training_batches

    decoded = decode(train, fields, config, run, phase, round(max((config.image_size, *sides)) * STORED))

    def batches(first_epoch, share):
        made = training_batches(
            decoded,
            size=(config.image_size, config.image_size),
            batch_size=config.batch_size,
            how=augmentation(config, mosaic=mosaic),
            seed=config.seed,
            first_epoch=first_epoch,
            plain_from=epochs - epochs // 8,
            share=share,
            sides=sides,
        )
        return made.map(lambda image, targets: ({"image": image, **targets}, targets)) if annotated else made

    fit_on(batches, len(decoded), network, terms, weights, config, run, phase=phase, epochs=epochs, **options)


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
    network,
    terms: Callable,
    weights: Mapping[str, float],
    config: TrainingConfig,
    run: RunFolder,
    *,
    phase: str,
    epochs: int,
    learning_rate: float,
) -> None:
    """Train `network` in place on `batches(first_epoch, share)` of so many images, or go on where the run folder's
    checkpoint stands. learning_rate: its peak."""
    import keras

    from kerastransfer.data.pipeline import steps_per_epoch
    from kerastransfer.training import callbacks, schedules, strategy

    steps = steps_per_epoch(images, config.batch_size)
    rate = schedules.schedule(
        config.schedule, learning_rate, epochs * steps, warmup=min(config.warmup_epochs, epochs // 4) * steps
    )
    averaging = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **averaging)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model = strategy.model(config.strategy, network, terms, weights)
    model.compile(optimizer, jit_compile=strategy.compiled(config.jit))

    checkpoint = run.checkpoints / f"{phase}.npz"
    resume = callbacks.Resume(
        checkpoint,
        model,
        on_epoch=lambda rows: run.append_history({"phase": phase, **row} for row in rows[-1:]),
        writes=run.leads,
    )
    logs = [keras.callbacks.TensorBoard(run.logs / phase)] if config.tensorboard and run.leads else []
    if not config.quiet:
        numbers = keras.mixed_precision.global_policy().compute_dtype
        length = f"{images} images, {epochs} epochs of {steps} steps"
        print(f"\n{phase}: {length}, {network.count_params():,} weights, in {numbers}")
    model.fit(
        strategy.distributed(config.strategy, functools.partial(batches, resume.first_epoch)),
        epochs=epochs,
        initial_epoch=resume.first_epoch,
        steps_per_epoch=steps,
        shuffle=False,  # the batches are shuffled already
        verbose=0 if config.quiet else 1 if sys.stdout.isatty() else 2,
        callbacks=[callbacks.StopOnNonFinite(checkpoint), resume, *logs],
    )
