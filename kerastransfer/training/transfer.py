"""Weight transfer between models: strict, by name, only between equal architectures, and reported."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.flags import some
from kerastransfer.training import architecture, arrays

# Name of the array that holds the architecture of a part in a file that `save` wrote; files of version 0.1 lack it.
ARCHITECTURE = "__architecture__"


def weights(part: keras.Model) -> dict[str, np.ndarray]:
    """{"c1_1_conv/kernel": array, ...}: the weights of a part by layer and variable, batch statistics included."""
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(part).items()}


def checksum(part: keras.Model) -> str:
    """SHA-256 of the names, types, shapes and bytes of all weights, batch statistics included."""
    return checksum_of(weights(part))


def checksum_of(values: Mapping[str, np.ndarray]) -> str:
    """The `checksum` of weights that `weights` returned."""
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        digest.update(f"{name}{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def compared(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> dict:
    """Which weights of a part training changed:
    {"frozen": [names], "moved": [names], "checksum_before": ..., "checksum_after": ...}."""
    moved = sorted(name for name in before if not np.array_equal(before[name], after[name]))
    return {
        "frozen": sorted(set(before) - set(moved)),
        "moved": moved,
        "checksum_before": checksum_of(before),
        "checksum_after": checksum_of(after),
    }


def same_architecture(ours: keras.Model, theirs: keras.Model, *, but: Collection[str] = ()) -> bool:
    """Whether two parts compute the same if their weights are equal: the classes, settings and connections of their
    layers agree. Names may differ, and so may the settings in `but`, such as "strides"."""
    return architecture.difference(architecture.description(ours), architecture.description(theirs), but) is None


def save(part: keras.Model, path: str | Path) -> None:
    """Write the weights, with the architecture, as an .npz file that can be read without Keras. The write is atomic."""
    described = json.dumps(architecture.description(part)).encode()
    arrays.write(path, {**weights(part), ARCHITECTURE: np.frombuffer(described, "uint8")})


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Weights by name from a file that `save` wrote. Raises UserError if it is missing or damaged."""
    return _read(path)[0]


def load(
    part: keras.Model,
    source: str | Path | keras.Model | Mapping[str, np.ndarray],
    *,
    fresh: Sequence[str] = (),
    but: Collection[str] = (),
) -> dict:
    """Copy weights into `part`, and return what happened:
    {"copied": [names], "fresh": [names], "source": ..., "checksum": of the part after loading}.

    source: a file that `save` wrote, a part, or weights by name, for which the architecture is not checked.
    fresh: names of layers that keep their initial weights; `source` must not have them. All other layers must be in
        both, and all shapes must agree. If any layers are fresh, only those that are copied must be equal.
    but: settings of layers in which the architectures may differ, such as "strides".
    Raises UserError that says what does not fit; the part is then unchanged.
    """
    saved, described, label = _opened(source)
    variables = _variables(part)
    kept = {name for name in variables if name.split("/")[0] in fresh}
    missing, unknown = variables.keys() - saved.keys() - kept, saved.keys() - (variables.keys() - kept)
    if missing or unknown:
        raise UserError(
            f"{label} does not fit {part.name!r}: it lacks {some(sorted(missing)) or 'nothing'} and has unknown "
            f"{some(sorted(unknown)) or 'nothing'}; "
            "build the part as it was trained (--model), or list the layers that start fresh"
        )
    wrong = [
        f"{name} {saved[name].shape} for {tuple(variables[name].shape)}"
        for name in saved
        if tuple(saved[name].shape) != tuple(variables[name].shape)
    ]
    if wrong:
        raise UserError(
            f"{label} does not fit {part.name!r}: shapes differ, {some(sorted(wrong))}; give weights of the same width"
        )
    if described is not None:
        own = architecture.description(part)
        copied = {name.split("/")[0] for name in saved}
        found = (
            architecture.difference_by_name(own, described, copied, but)
            if fresh
            else architecture.difference(own, described, but)
        )
        if found:
            raise UserError(
                f"{label} does not fit {part.name!r}, although its weights would: {found}; build the part as the "
                "trained one was (--model, --activation)"
            )
    for name, value in saved.items():
        variables[name].assign(value)
    return {"source": label, "copied": sorted(saved), "fresh": sorted(kept), "checksum": checksum(part)}


def _opened(source):
    """(weights by name, architecture or None, a description for messages) of the `source` of `load`."""
    if isinstance(source, Mapping):
        return source, None, "the given weights"
    if isinstance(source, keras.Model):
        return weights(source), architecture.description(source), f"the model {source.name!r}"
    return *_read(source), str(source)


def _read(path):
    """(weights by name, architecture or None)."""
    remedy = "give a .npz file that kerastransfer.training.transfer.save wrote"
    saved = arrays.read(path, remedy)
    described = saved.pop(ARCHITECTURE, None)
    try:
        return saved, None if described is None else json.loads(described.tobytes())
    except ValueError as error:
        raise UserError(f"{path}: the file is damaged (its architecture: {error}); {remedy}") from None


def _variables(part):
    """Every weight of a part, nested parts included, by "layer/variable"; random states are left out."""
    found = {}
    for layer in part._flatten_layers(include_self=False, recursive=True):
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if "seed_generator" in variable.path:
                continue
            name = f"{layer.name}/{variable.name}"
            if name in found:
                raise ValueError(f"{part.name!r} has two weights called {name}; give its layers different names")
            found[name] = variable
    return found
