"""Learning rate schedules: a linear warm-up, then a cosine, steps, or a constant."""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops


def cosine(peak: float, steps: int, *, warmup: int = 0, final: float = 0.01) -> keras.optimizers.schedules.CosineDecay:
    """From 0 to `peak` in `warmup` steps, then along a half cosine to `final * peak` at step `steps`."""
    warmup = min(warmup, steps - 1)
    if warmup < 1:
        return keras.optimizers.schedules.CosineDecay(peak, max(1, steps), alpha=final)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, alpha=final, warmup_target=peak, warmup_steps=warmup
    )


@keras.saving.register_keras_serializable(package="kerastransfer")
class Steps(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 to `peak` in `warmup` steps, then multiplied by `factor` at each of `milestones` (in steps)."""

    def __init__(self, peak: float, milestones: Sequence[int], *, factor: float = 0.1, warmup: int = 0):
        self.peak, self.milestones, self.factor, self.warmup = peak, tuple(milestones), factor, warmup

    def __call__(self, step):
        step = ops.cast(step, "float32")
        passed = sum(ops.cast(step >= milestone, "float32") for milestone in self.milestones)
        rise = ops.minimum(1.0, step / self.warmup) if self.warmup else 1.0
        return self.peak * rise * self.factor**passed

    def get_config(self):
        return {"peak": self.peak, "milestones": self.milestones, "factor": self.factor, "warmup": self.warmup}


def schedule(
    kind: Literal["cosine", "steps", "constant"], peak: float, steps: int, *, warmup: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A schedule by name; "steps" falls to a tenth at 2/3 and to a hundredth at 8/9 of the run, "constant" stays at the
    peak after the warm-up."""
    if kind == "cosine":
        return cosine(peak, steps, warmup=warmup)
    return Steps(peak, [steps * 2 // 3, steps * 8 // 9] if kind == "steps" else [], warmup=warmup)
