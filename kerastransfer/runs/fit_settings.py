"""The flags of what trains: on anything (`FitConfig`), and on images (`TrainingConfig`)."""

import dataclasses
import importlib.util
import math
from typing import ClassVar, Literal

from kerastransfer.errors import UserError
from kerastransfer.flags import flag, require_positive
from kerastransfer.runs.settings import CommonConfig, RunConfig, one_of, variable
from kerastransfer.training import optimizers


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
