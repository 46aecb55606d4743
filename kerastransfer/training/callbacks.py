"""Callbacks for `fit`: resuming, validation, stopping at a non-finite loss or weight, and the rows of history.csv."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.training import checkpoint


class Validation(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest validation loss, and stops when the loss no longer improves.

    `fit` needs `validation_data`. If the optimizer averages the weights, the averages are validated and kept: they
    replace the weights in the model while Keras evaluates. Call `put_back` after `fit`.

    patience: training stops after this many epochs without a new lowest loss; with 0 it never stops early.
    """

    def __init__(self, patience: int = 0):
        super().__init__()
        self.patience = patience
        self.best, self.best_epoch, self.wait = math.inf, 0, 0
        self._weights: list[np.ndarray] = []
        self._epoch, self._trained = 0, []

    @property
    def stopped(self) -> bool:
        """Whether the loss has not improved for `patience` epochs."""
        return 0 < self.patience <= self.wait

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_test_begin(self, logs=None):
        # Keras's SwapEMAWeights swaps by adding and subtracting, which changes the last bits of the trained weights.
        self._trained = [(variable, _value(variable)) for variable, _ in averages(self.model)]
        for variable, average in averages(self.model):
            variable.assign(_value(average))

    def on_test_end(self, logs=None):
        loss = float(logs["loss"])
        if loss < self.best:
            self.best, self.best_epoch, self.wait = loss, self._epoch + 1, 0
            self._weights = [_value(weight) for weight in self.model.network.weights]
        else:
            self.wait += 1
        for variable, value in self._trained:
            variable.assign(value)
        self._trained = []

    def on_epoch_end(self, epoch, logs=None):
        if self.stopped:
            self.model.stop_training = True

    def put_back(self, network: keras.Model) -> None:
        """Load the weights of the best epoch into `network`. Raises UserError if no epoch had a finite loss."""
        if not self._weights:
            raise UserError("the validation loss was never a number; lower --learning-rate or use --precision float32")
        for weight, value in zip(network.weights, self._weights, strict=True):
            weight.assign(value)

    def state(self) -> dict:
        """The state to keep in a checkpoint: numbers, and arrays."""
        weights = {f"weight {number}": value for number, value in enumerate(self._weights)}
        return {"best": self.best, "best_epoch": self.best_epoch, "wait": self.wait, **weights}

    def set_state(self, state: dict) -> None:
        """Restore a `state`."""
        self.best, self.best_epoch, self.wait = (state[name] for name in ("best", "best_epoch", "wait"))
        self._weights = [state[f"weight {number}"] for number in range(len(state) - 3)]


class Resume(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch; on construction, restores the checkpoint if there is one.

    Construct it with a compiled model. `first_epoch` is then the epoch to start with, for `initial_epoch` of `fit` and
    for the data. Put it last in the list of callbacks, after `others`.

    others: callbacks with `state() -> dict` (JSON values and arrays) and `set_state(dict)`. The checkpoint also holds
        their state, which is restored on construction.
    on_epoch: called after each epoch with all rows of the history, {"epoch": 1, "loss": ..., "seconds": ...}.
    every: epochs between checkpoints; the last epoch always writes one.
    writes: False for a worker that only restores the checkpoints that another one writes.
    """

    def __init__(
        self,
        path: str | Path,
        model: keras.Model,
        *,
        others: Sequence[keras.callbacks.Callback] = (),
        every: int = 1,
        on_epoch: Callable[[list[dict]], None] | None = None,
        writes: bool = True,
    ):
        super().__init__()
        self.path, self.every, self.on_epoch = Path(path), every, on_epoch
        self.others = {f"{number}:{type(other).__name__}": other for number, other in enumerate(others)}
        self.writes = writes
        self.rows, self.first_epoch = [], 0
        if self.path.exists():
            notes, arrays = checkpoint.restore(self.path, model)
            self.first_epoch, self.rows = notes["epoch"], notes["history"]
            for key, other in self.others.items():
                own = {name.removeprefix(f"{key}/"): a for name, a in arrays.items() if name.startswith(f"{key}/")}
                other.set_state(notes["callbacks"][key] | own)

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self._started, 3)
        self.rows.append({"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}, "seconds": seconds})
        if self.on_epoch:
            self.on_epoch(self.rows)
        due = (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"] or self.model.stop_training
        if due and self.writes:
            plain, arrays = {}, {}
            for key, other in self.others.items():
                state = other.state()
                plain[key] = {name: value for name, value in state.items() if not isinstance(value, np.ndarray)}
                arrays |= {f"{key}/{name}": state[name] for name in state.keys() - plain[key].keys()}
            notes = {"epoch": epoch + 1, "history": self.rows, "callbacks": plain}
            checkpoint.save(self.path, self.model, notes, arrays)


class StopOnNonFinite(keras.callbacks.Callback):
    """Ends the run with a clear message at the first step whose loss is not finite, or after an epoch whose weights are
    not finite (the loss of the last step does not show what that step did to the weights).

    Put it before `Resume` in the list of callbacks, so that the checkpoint of the last good epoch is kept.

    kept: path of that checkpoint.
    """

    def __init__(self, kept: str | Path):
        super().__init__()
        self.kept, self.epoch = kept, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self._stop(f"the loss became {loss} in epoch {self.epoch + 1}, step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        for variable in (*self.model.network.weights, *(average for _, average in averages(self.model))):
            if not np.isfinite(_value(variable)).all():
                self._stop(f"weights became NaN or infinite in epoch {epoch + 1} ({variable.path})")

    def _stop(self, what):
        last = f"the weights of epoch {self.epoch} are kept in {self.kept}" if self.epoch else "no epoch was finished"
        raise UserError(f"{what}; {last}; lower --learning-rate or use --precision float32")


def averages(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """[(weight, its running average in the optimizer), ...]; empty if the optimizer does not average."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        return []
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True))


def _value(variable):
    return np.array(keras.ops.convert_to_numpy(variable))
