"""Optimizers by name. Each is a class of settings, whose `build` makes the Keras optimizer.

Importing this module imports neither Keras nor TensorFlow, because the command line reads the settings.
"""

import dataclasses
import math

from kerastransfer.errors import UserError


@dataclasses.dataclass
class AdamW:
    """AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay of the kernels."""

    weight_decay: float = 1e-2
    """Weight decay: each step takes this share, times the learning rate, off the kernels; biases and normalization
    parameters do not decay."""
    beta_1: float = 0.9
    """Decay rate of the running mean of the gradient."""
    beta_2: float = 0.999
    """Decay rate of the running mean of the squared gradient."""

    def __post_init__(self) -> None:
        _require(self, "weight_decay")
        _require(self, "beta_1", "beta_2", below=1)

    def build(self, learning_rate, ema: float = 0.0):
        """The Keras optimizer.

        learning_rate: a number or a schedule. ema: momentum of a running average of the weights, which replaces them
        when training ends; 0 for no average.
        """
        from kerastransfer.training import adam

        optimizer = adam.AdamW(learning_rate, self.weight_decay, self.beta_1, self.beta_2, **_averaging(ema))
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer


@dataclasses.dataclass
class Adam:
    """Adam (Kingma and Ba 2015), without weight decay."""

    beta_1: float = 0.9
    """Decay rate of the running mean of the gradient."""
    beta_2: float = 0.999
    """Decay rate of the running mean of the squared gradient."""

    def __post_init__(self) -> None:
        _require(self, "beta_1", "beta_2", below=1)

    def build(self, learning_rate, ema: float = 0.0):
        """As `AdamW.build`."""
        from kerastransfer.training import adam

        return adam.Adam(learning_rate, self.beta_1, self.beta_2, **_averaging(ema))


@dataclasses.dataclass
class SGD:
    """Gradient descent with momentum. The defaults are those of Detectron, except for the factor for biases."""

    momentum: float = 0.9
    """Momentum: share of the previous step that is added to the next one."""
    nesterov: bool = False
    """Use Nesterov momentum."""
    weight_decay: float = 1e-4
    """Weight decay: this share of a kernel is added to its gradient; biases and normalization parameters do not
    decay."""
    bias_factor: float = 1.0
    """Learning rate of biases, as a multiple of that of the other weights; Detectron uses 2."""

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
    """Layer-wise adaptive rate scaling, LARS (You et al. 2017), as used for contrastive pre-training."""

    momentum: float = 0.9
    """Momentum: share of the previous step that is added to the next one."""
    weight_decay: float = 1e-4
    """Weight decay: this share of a kernel is added to its gradient; biases and normalization parameters do not
    decay."""
    trust: float = 1e-3
    """Trust coefficient: the length of a kernel's step, as a share of the kernel's norm and times the learning rate."""

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
    """Raises UserError unless each of these fields is at least 0 and below the limit."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < below:
            limit = f" and below {below}" if below < math.inf else " and finite"
            raise UserError(f"{name} of {type(settings).__name__} is {value}; it must be at least 0{limit}")
