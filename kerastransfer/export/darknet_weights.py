"""Darknet's .weights files, to and from Keras models.

A file tells neither names nor shapes: a header, then float32 numbers, layer after layer in order of the cfg. What reads
it must know the net, so sizes are checked to the byte, and nothing changes unless everything fits.
"""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool
from kerastransfer.layers.locally_connected import LocallyConnected

FLOAT = np.dtype("<f4")
WEIGHTED = (keras.layers.Conv2D, LocallyConnected, keras.layers.Dense)
# What counts in Darknet's numbering of a net that is a chain, such as YOLOv1.
COUNTED = (*WEIGHTED, keras.layers.MaxPooling2D, DilatedMaxPool, keras.layers.Dropout)


class Header(NamedTuple):
    """Of a file. seen: images that the net was trained on; 8 bytes from version 0.2 on, 4 before."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def layout(self) -> str:
        """Of the header, for `struct`."""
        long = self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000
        return "<iiiQ" if long else "<iiiI"

    @property
    def transposed(self) -> bool:
        """Whether connected layers are stored [in][out]."""
        return self.major > 1000 or self.minor > 1000


NOW = Header()


class Place(NamedTuple):
    """Where a variable stands in a file: as an array of `shape`, which turned by `axes` has the variable's order."""

    variable: Any
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def to_keras(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.reshape(self.shape).transpose(self.axes).reshape(self.variable.shape)

    def to_file(self) -> np.ndarray:
        value = keras.ops.convert_to_numpy(self.variable).reshape([self.shape[axis] for axis in self.axes])
        return value.transpose(np.argsort(self.axes)).astype(FLOAT).ravel()


def read(path: str | Path, model: keras.Model, *, layers: int | None = None) -> dict:
    """Copy the numbers of a .weights file into `model`, and return what happened: {"source", "header", "copied": names
    of layers, "fresh": names of those that keep what they had}.

    model: a net of `models.yolov3` or its encoder, a `models.yolov1` with head "darknet_local", or any chain of
        convolutions of this package.
    layers: only the first so many sections are read, as Darknet's cut-offs (75: the trunk of yolov3); the rest of the
        model stays as it is, and the file may go on.
    Raises UserError, and changes nothing, when the file is shorter or longer than the net needs, or has numbers that no
    net has: it names layer and byte.
    """
    header, numbers = _opened(path)
    start = struct.calcsize(header.layout)
    at, taken, fresh = 0, [], []
    for index, name, places in _order(model, header):
        if layers is not None and index >= layers:
            fresh.append(name)
            continue
        needed = sum(math.prod(place.shape) for place in places)
        byte = start + FLOAT.itemsize * at
        if at + needed > len(numbers):
            raise UserError(
                f"{path}: ends inside layer {name}, which begins at byte {byte} and needs {FLOAT.itemsize * needed}, "
                f"but {FLOAT.itemsize * (len(numbers) - at)} remain: the file is cut off or of another net; give its "
                "cfg, or for a trunk's file the number of its layers"
            )
        for place in places:
            size = math.prod(place.shape)
            part = numbers[at : at + size]
            _check_numbers(path, name, place.variable, part, start + FLOAT.itemsize * at)
            taken.append((name, place, part))
            at += size
    if layers is None and at < len(numbers):
        raise UserError(
            f"{path}: goes on after the last layer {name}, at byte {start + FLOAT.itemsize * at}, with "
            f"{FLOAT.itemsize * (len(numbers) - at)} bytes: it is of another net; give its cfg, or the number of "
            "layers to read"
        )
    for _, place, part in taken:
        place.variable.assign(place.to_keras(part))
    copied = list(dict.fromkeys(name for name, *_ in taken))
    return {"source": str(path), "header": header, "copied": copied, "fresh": fresh}


def write(model: keras.Model, path: str | Path, *, layers: int | None = None, header: Header = NOW) -> None:
    """Write what `read` reads; with `layers` the first so many sections alone, as a trunk's file is.

    header: version 0.2 by default, of 20 bytes; YOLOv1's own is Header(0, 1), of 16.
    """
    order = [places for index, _, places in _order(model, header) if layers is None or index < layers]
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack(header.layout, *header))
        for places in order:
            for place in places:
                place.to_file().tofile(file)


def _opened(path):
    """(header, all numbers of the file, not yet read from disk)."""
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            begin = file.read(20)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a .weights file") from error
    if len(begin) < 16:
        raise UserError(f"{path}: has {size} bytes, fewer than a header; give a Darknet .weights file")
    layout = Header(*struct.unpack("<iii", begin[:12])).layout
    start = struct.calcsize(layout)
    if size < start or (size - start) % FLOAT.itemsize:
        raise UserError(f"{path}: {size} bytes are no header of {start} and whole float32 numbers; copy it again")
    header = Header(*struct.unpack(layout, begin[:start]))
    if size == start:
        return header, np.empty(0, FLOAT)
    return header, np.memmap(path, FLOAT, "r", start)


def _order(model: keras.Model, header: Header) -> Iterator[tuple[int, str, list[Place]]]:
    """(Darknet's index, name, places in the file) of each layer with weights, in the file's order."""
    flat = list(_flat(model))
    by_name = {layer.name: layer for layer in flat}
    counted = [layer for layer in flat if isinstance(layer, COUNTED)]
    indices = {layer.name: _index(layer.name, position) for position, layer in enumerate(counted)}
    order = sorted((layer for layer in counted if isinstance(layer, WEIGHTED)), key=lambda layer: indices[layer.name])
    before = {layer.name: flat[: flat.index(layer)] for layer in order}
    if not order:
        raise UserError(f"{model.name!r} has no convolution; give a net that a Darknet file can hold")
    found = [(indices[layer.name], layer.name, _places(layer, by_name, before[layer.name], header)) for layer in order]
    placed = {id(place.variable) for *_, places in found for place in places}
    for layer in flat:
        if any(id(variable) not in placed for variable in _variables(layer)):
            raise UserError(f"{model.name!r}: layer {layer.name!r} has weights that no Darknet file has a place for")
    yield from found


def _flat(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of its parts, in order of the graph."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _index(name: str, position: int) -> int:
    """Darknet's index of a layer: told by the names of a net from a cfg, else its place in the chain."""
    told = re.fullmatch(r"conv_(\d+)", name)
    return int(told[1]) if told else position


def _variables(layer: keras.layers.Layer) -> list:
    return [variable for variable in layer.weights if "seed_generator" not in variable.path]


def _places(layer, by_name, before: Sequence[keras.layers.Layer], header: Header) -> list[Place]:
    """Where the variables of a layer stand, batch norm's among them, in the file's order."""
    if isinstance(layer, LocallyConnected):
        locations, filters = layer.bias.shape
        kernel = layer.kernel
        channels = layer.kernel_weights.shape[1] // kernel**2
        shape = (locations, filters, channels, kernel, kernel)
        return [Place(layer.bias, (filters, locations), (1, 0)), Place(layer.kernel_weights, shape, (0, 3, 4, 2, 1))]
    if isinstance(layer, keras.layers.Dense):
        return [_vector(layer.bias), _connected(layer, before, header)]
    height, width, read, filters = layer.kernel.shape
    weights = Place(layer.kernel, (filters, read, height, width), (2, 3, 1, 0))
    if layer.use_bias:
        return [_vector(layer.bias), weights]
    norm = by_name.get(f"{layer.name.removesuffix('_conv')}_bn")
    if norm is None:
        raise UserError(f"layer {layer.name!r} has neither a bias nor a batch norm: no Darknet file has a place for it")
    return [*map(_vector, (norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance)), weights]


def _vector(variable) -> Place:
    return Place(variable, tuple(variable.shape), (0,))


def _connected(layer, before, header) -> Place:
    """Darknet flattens a map channel by channel, Keras place by place."""
    read, units = layer.kernel.shape
    behind = next(one for one in reversed(before) if isinstance(one, keras.layers.Flatten | keras.layers.Dense))
    if isinstance(behind, keras.layers.Flatten):
        height, width, channels = behind.input.shape[1:]
    else:
        height, width, channels = 1, 1, read
    if header.transposed:
        return Place(layer.kernel, (channels, height, width, units), (1, 2, 0, 3))
    return Place(layer.kernel, (units, channels, height, width), (2, 3, 1, 0))


def _check_numbers(path, name, variable, numbers, byte):
    """Refuse what only a file of another net has at this place."""
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: numbers of layer {name} at byte {byte} are not finite; the file is damaged")
    if variable.name == "moving_variance" and numbers.min() < 0:
        raise UserError(f"{path}: a variance of layer {name} at byte {byte} is below zero: the file is of another net")
