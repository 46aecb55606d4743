"""What stands around `fit`: resume, a stop when the loss is lost, the rows of history.csv."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import keras

from kerastransfer.errors import UserError
from kerastransfer.training import checkpoint

# What EarlyStopping and ReduceLROnPlateau of Keras count. Their settings stay as they are given: they turn the sign of
# `min_delta` in each `fit`.
_COUNTERS = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


class Resume(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch, and takes up the one that is there.

    After construction with a compiled model, `first_epoch` is the epoch to begin with (`initial_epoch` of `fit`, and
    the data's). It comes last in the list of callbacks, after `others`, whose own state is kept where they offer
    `state() -> dict` and `set_state(dict)`, and the counters of Keras's EarlyStopping and ReduceLROnPlateau.

    on_epoch: called with all rows of history so far, {"epoch": 1, "loss": ..., "seconds": ...}, after each epoch.
    every: epochs between checkpoints (the last epoch always has one).
    writes: False for a worker that only takes up what another one writes.
    """

    def __init__(
        self,
        path: str | Path,
        model: keras.Model,
        *,
        others: tuple[keras.callbacks.Callback, ...] = (),
        every: int = 1,
        on_epoch: Callable[[list[dict]], None] | None = None,
        writes: bool = True,
    ):
        super().__init__()
        self.path, self.others, self.every, self.on_epoch = Path(path), others, every, on_epoch
        self.writes = writes
        self.rows, self.first_epoch = [], 0
        self._states = {}
        if self.path.exists():
            notes = checkpoint.restore(self.path, model)
            self.first_epoch, self.rows, self._states = notes["epoch"], notes["history"], notes["callbacks"]

    def on_train_begin(self, logs=None):
        for number, other in enumerate(self.others):
            _set_state(other, self._states.get(f"{number}:{type(other).__name__}", {}))

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self._started, 3)
        self.rows.append({"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}, "seconds": seconds})
        if self.on_epoch:
            self.on_epoch(self.rows)
        due = (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"] or self.model.stop_training
        if due and self.writes:
            states = {f"{number}:{type(other).__name__}": _state(other) for number, other in enumerate(self.others)}
            notes = {"epoch": epoch + 1, "history": self.rows, "callbacks": states}
            checkpoint.save(self.path, self.model, notes)


class StopOnNonFinite(keras.callbacks.Callback):
    """Ends the run with a clear word at the first step whose loss is not finite; the checkpoint of the last whole
    epoch stays as it is."""

    def __init__(self, kept: str | Path):
        super().__init__()
        self.kept, self.epoch = kept, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            where = f"epoch {self.epoch + 1}, step {batch + 1}"
            last = (
                f"the weights of epoch {self.epoch} are kept in {self.kept}" if self.epoch else "no epoch was finished"
            )
            raise UserError(
                f"the loss became {loss} in {where}; {last}: lower --learning-rate or use --precision float32"
            )


def _state(callback):
    """What a callback would lose in a kill."""
    if hasattr(callback, "state"):
        return callback.state()
    return {name: vars(callback)[name] for name in _COUNTERS if vars(callback).get(name) is not None}


def _set_state(callback, state):
    if hasattr(callback, "set_state"):
        callback.set_state(state)
    else:
        vars(callback).update(state)
