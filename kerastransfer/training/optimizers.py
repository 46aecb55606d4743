"""Optimizers by name. Each is its settings, and `build` makes it.

Importing this module imports neither Keras nor TensorFlow, because the command line reads the settings.
"""

import dataclasses
import math

from kerastransfer.errors import UserError


@dataclasses.dataclass
class AdamW:
    """AdamW (Loshchilov & Hutter 2019): Adam, and kernels shrink beside it."""

    weight_decay: float = 1e-2
    """Share of a kernel, times the learning rate, that it loses in each step; biases and norms lose nothing."""
    beta_1: float = 0.9
    """Momentum of the running mean of the gradient."""
    beta_2: float = 0.999
    """Momentum of the running mean of the gradient's square."""

    def __post_init__(self) -> None:
        _require(self, "weight_decay")
        _require(self, "beta_1", "beta_2", below=1)

    def build(self, learning_rate, ema: float = 0.0):
        """The Keras optimizer. learning_rate: a number or a schedule. ema: momentum of the running average of the
        weights, which takes their place when training ends; 0: none."""
        from kerastransfer.training import adam

        optimizer = adam.AdamW(learning_rate, self.weight_decay, self.beta_1, self.beta_2, **_averaging(ema))
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer


@dataclasses.dataclass
class Adam:
    """Adam (Kingma & Ba 2015), without weight decay."""

    beta_1: float = 0.9
    """Momentum of the running mean of the gradient."""
    beta_2: float = 0.999
    """Momentum of the running mean of the gradient's square."""

    def __post_init__(self) -> None:
        _require(self, "beta_1", "beta_2", below=1)

    def build(self, learning_rate, ema: float = 0.0):
        """As `AdamW.build`."""
        from kerastransfer.training import adam

        return adam.Adam(learning_rate, self.beta_1, self.beta_2, **_averaging(ema))


@dataclasses.dataclass
class SGD:
    """Gradient descent with momentum; by default that of Detectron, but for its factor of biases."""

    momentum: float = 0.9
    """Share of the last step that goes into the next one."""
    nesterov: bool = False
    """Take the gradient's step after the momentum's (Nesterov)."""
    weight_decay: float = 1e-4
    """Share of a kernel that is added to its gradient; biases and norms have none."""
    bias_factor: float = 1.0
    """Factor of the learning rate of biases; 2 is Detectron's."""

    def __post_init__(self) -> None:
        _require(self, "momentum", below=1)
        _require(self, "weight_decay", "bias_factor")

    def build(self, learning_rate, ema: float = 0.0):
        """As `AdamW.build`."""
        from kerastransfer.training import lars

        return lars.SGD(
            learning_rate, self.momentum, self.nesterov, self.weight_decay, self.bias_factor, **_averaging(ema)
        )


@dataclasses.dataclass
class LARS:
    """Layer-wise adaptive rate scaling (You et al. 2017), with which contrastive pretexts are trained."""

    momentum: float = 0.9
    """Share of the last step that goes into the next one."""
    weight_decay: float = 1e-4
    """Share of a kernel that is added to its gradient; biases and norms have none."""
    trust: float = 1e-3
    """A step of a kernel is as long as this share of the kernel, times the learning rate (trust coefficient)."""

    def __post_init__(self) -> None:
        _require(self, "momentum", below=1)
        _require(self, "weight_decay", "trust")

    def build(self, learning_rate, ema: float = 0.0):
        """As `AdamW.build`."""
        from kerastransfer.training import lars

        return lars.LARS(
            learning_rate, self.momentum, kernel_decay=self.weight_decay, trust=self.trust, **_averaging(ema)
        )


OPTIMIZERS = {"adamw": AdamW, "adam": Adam, "sgd": SGD, "lars": LARS}


def settings_of(name: str) -> type:
    """The class of an optimizer's settings. Raises UserError for an unknown name."""
    if name not in OPTIMIZERS:
        raise UserError(f"unknown --optimizer {name}; choose {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def _averaging(ema):
    return {"use_ema": True, "ema_momentum": ema} if ema else {}


def _require(settings, *names, below=math.inf):
    """Raises UserError unless the fields are numbers from 0 to below the limit."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < below:
            limit = f" and below {below}" if below < math.inf else " and finite"
            raise UserError(f"{name} of {type(settings).__name__} is {value}: it must be at least 0{limit}")
