"""Everything that a run needs to continue after a kill, in one file that is written atomically."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.training import arrays

_NOTES = "notes.json"
_BESIDE = "beside/"


def save(path: str | Path, model: keras.Model, notes: dict[str, Any], beside: Mapping[str, np.ndarray] = {}) -> None:
    """Write weights, batch statistics, random states, and the optimizer with its averages.

    notes: plain JSON (epoch, history, states of callbacks). beside: further arrays.
    """
    state = {name: keras.ops.convert_to_numpy(variable) for name, variable in _state(model).items()}
    state |= {_BESIDE + name: array for name, array in beside.items()}
    arrays.write(path, {**state, _NOTES: np.frombuffer(json.dumps(notes).encode(), "uint8")})


def restore(path: str | Path, model: keras.Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Restore a compiled model to the state that `save` wrote, and return (notes, beside).

    Raises UserError if the file is damaged or belongs to another model; the model is then unchanged.
    """
    saved = arrays.read(path, "remove it to train this phase from the start")
    notes = saved.pop(_NOTES, None)
    beside = {name.removeprefix(_BESIDE): saved.pop(name) for name in [*saved] if name.startswith(_BESIDE)}
    state = _state(model)
    if (
        notes is None
        or saved.keys() != state.keys()
        or any(saved[name].shape != tuple(state[name].shape) for name in state)
    ):
        raise UserError(
            f"{path}: this is the checkpoint of another model or optimizer; resume with the settings it was made with"
        )
    for name, variable in state.items():
        variable.assign(saved[name])
    return json.loads(notes.tobytes()), beside


def _state(model):
    """Every variable in a fixed order; the number distinguishes variables with the same name."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    variables = [v for v in variables if not any(v is m for metric in model.metrics for m in metric.variables)]
    return {f"{index}:{_name(variable.path)}": variable for index, variable in enumerate(variables)}


def _name(path):
    """The part of a variable's path that is the same in every process: Keras numbers unnamed objects by how many were
    built before ("adamw_1/..."), and the path in a loss-scaling optimizer is longer if `fit` built it."""
    scope, _, name = path.rpartition("/")
    return re.sub("_[0-9]+$", "", scope.rpartition("/")[-1]) + "/" + name
