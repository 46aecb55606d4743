"""Reads and writes Darknet's .weights files, of YOLOv3 and YOLOv1 nets (as src/parser.c in Darknet does).

A file has neither names nor shapes: a header is followed by float32 numbers, layer after layer in the order of the cfg.
Its reader must know the net, so sizes are checked to the byte, and nothing is changed unless everything fits.
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
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, LocallyConnected, keras.layers.Dense)
# The layers that Darknet numbers in a net that is a chain, such as YOLOv1.
COUNTED = (*WEIGHTED, keras.layers.MaxPooling2D, DilatedMaxPool, keras.layers.Dropout)


class Header(NamedTuple):
    """The header of a file. seen: number of images that the net was trained on, stored in 8 bytes since version 0.2 and
    in 4 bytes before."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def layout(self) -> str:
        """The format of the header, for `struct`."""
        long = self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000
        return "<iiiQ" if long else "<iiiI"

    @property
    def transposed(self) -> bool:
        """Whether connected layers are stored [in][out]."""
        return self.major > 1000 or self.minor > 1000


NOW = Header()


class Place(NamedTuple):
    """How a variable is stored in a file: as an array of `shape`, which must be transposed by `axes` for Keras."""

    variable: Any
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def to_keras(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.reshape(self.shape).transpose(self.axes).reshape(self.variable.shape)

    def to_file(self) -> np.ndarray:
        value = keras.ops.convert_to_numpy(self.variable).reshape([self.shape[axis] for axis in self.axes])
        return value.transpose(np.argsort(self.axes)).astype(FLOAT).ravel()


def read(path: str | Path, model: keras.Model, *, layers: int | None = None) -> dict:
    """Copy the numbers in a .weights file into `model`, and return {"source", "header", "copied": names of layers,
    "fresh": names of the layers that were not changed}.

    model: a net of `models.yolov3` or its encoder, a `models.yolov1` with head "darknet_local", or any chain of
        convolutions of this package.
    layers: read only this many sections, like Darknet's cut-offs (75 is the trunk of yolov3). The rest of the model is
        not changed, and the file may be longer.
    Raises UserError, naming layer and byte, if the file is shorter or longer than the net needs, or has numbers that no
    net can have. The model is then unchanged.
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
                f"but {FLOAT.itemsize * (len(numbers) - at)} remain, so it is truncated or belongs to another net; "
                "give its cfg or, if it is the file of a trunk, the number of its layers"
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
            f"{FLOAT.itemsize * (len(numbers) - at)} bytes, so it belongs to another net; give its cfg, or the number "
            "of layers to read"
        )
    for _, place, part in taken:
        place.variable.assign(place.to_keras(part))
    copied = list(dict.fromkeys(name for name, *_ in taken))
    return {"source": str(path), "header": header, "copied": copied, "fresh": fresh}


def write(model: keras.Model, path: str | Path, *, layers: int | None = None, header: Header = NOW) -> None:
    """Write a file that `read` reads; with `layers`, only this many sections, as in the file of a trunk.

    header: by default that of version 0.2, with 20 bytes; published YOLOv1 files have Header(0, 1), with 16 bytes.
    """
    order = [places for index, _, places in _order(model, header) if layers is None or index < layers]
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack(header.layout, *header))
        for places in order:
            for place in places:
                place.to_file().tofile(file)


def _opened(path):
    """(header, all numbers of the file, memory-mapped)."""
    try:
        # A device or a pipe may have no end.
        if Path(path).exists() and not Path(path).is_file():
            raise UserError(f"{path}: is not a file; give the path of a .weights file")
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            begin = file.read(20)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a .weights file") from error
    if len(begin) < 16:
        raise UserError(f"{path}: has {size} bytes, fewer than a header needs; give a Darknet .weights file")
    layout = Header(*struct.unpack("<iii", begin[:12])).layout
    start = struct.calcsize(layout)
    if size < start or (size - start) % FLOAT.itemsize:
        raise UserError(f"{path}: {size} bytes are not a header of {start} and whole float32 numbers; copy it again")
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
        raise UserError(f"{model.name!r} has no convolutions; give a net that can be stored in a Darknet file")
    found = [(indices[layer.name], layer.name, _places(layer, by_name, before[layer.name], header)) for layer in order]
    placed = {id(place.variable) for *_, places in found for place in places}
    for layer in flat:
        if any(id(variable) not in placed for variable in _variables(layer)):
            raise UserError(f"{model.name!r}: layer {layer.name!r} has weights that Darknet files cannot hold")
    yield from found


def _flat(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of its parts, in the order of the graph."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _index(name: str, position: int) -> int:
    """Darknet's index of a layer: from its name if the net was built from a cfg, otherwise its place in the chain."""
    told = re.fullmatch(r"conv_(\d+)", name)
    return int(told[1]) if told else position


def _variables(layer: keras.layers.Layer) -> list:
    return [variable for variable in layer.weights if "seed_generator" not in variable.path]


def _places(layer, by_name, before: Sequence[keras.layers.Layer], header: Header) -> list[Place]:
    """How the variables of a layer are stored, those of its batch normalization included, in the order of the file."""
    if isinstance(layer, LocallyConnected):
        locations, filters = layer.bias.shape
        kernel = layer.kernel
        channels = layer.kernel_weights.shape[1] // kernel**2
        shape = (locations, filters, channels, kernel, kernel)
        return [Place(layer.bias, (filters, locations), (1, 0)), Place(layer.kernel_weights, shape, (0, 3, 4, 2, 1))]
    if isinstance(layer, keras.layers.Dense):
        return [_vector(layer.bias), _connected(layer, before, header)]
    height, width, read, filters = layer.kernel.shape
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # A group for each channel: its filters come one after the other.
        weights = Place(layer.kernel, (read, filters, height, width), (2, 3, 0, 1))
    else:
        weights = Place(layer.kernel, (filters, read, height, width), (2, 3, 1, 0))
    if layer.use_bias:
        return [_vector(layer.bias), weights]
    norm = by_name.get(f"{layer.name.removesuffix('_conv')}_bn")
    if norm is None:
        raise UserError(f"layer {layer.name!r} has neither a bias nor a batch norm, as Darknet files require")
    return [*map(_vector, (norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance)), weights]


def _vector(variable) -> Place:
    return Place(variable, tuple(variable.shape), (0,))


def _connected(layer, before, header) -> Place:
    """The kernel of a dense layer: Darknet flattens a map channel by channel, Keras position by position."""
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
    """Refuse numbers that can only come from a damaged file, or from the file of another net."""
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: numbers of layer {name} at byte {byte} are not finite; the file is damaged")
    if variable.name == "moving_variance" and numbers.min() < 0:
        raise UserError(f"{path}: a variance of layer {name} at byte {byte} is below zero; give the file of this net")
