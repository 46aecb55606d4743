"""Any image model as an encoder: a keras.applications model, a backbone, a converted net or a user's own model."""

import collections
import contextlib
import math
import re
from collections.abc import Callable, Mapping

import keras

from kerastransfer.encoders.preprocessing import function_of
from kerastransfer.encoders.taps import SIDE, named
from kerastransfer.errors import UserError
from kerastransfer.models.parts import quick_to_follow
from kerastransfer.models.rewrite import restored

LARGEST_STRIDE = 64


def encoder_of(
    model: keras.Model, preprocessing: str | Callable = "none", *, taps: Mapping[str, str] | None = None
) -> keras.Model:
    """An encoder, from image (B, H, W, 3) in 0..255 to its stages {"c1": (B, H / 2, W / 2, D), ...}, with copies of the
    layers of `model` and their weights. It takes images of any size if the layers do. Layers of nested models become
    layers of the encoder, as PARENT_LAYER where a name occurs twice; `BatchNormalization` becomes `layers.BatchNorm`.

    model: from one image (B, H, W, 3), of a fixed or a variable size, to anything. What follows the last map is left
        out.
    preprocessing: what the model was trained to read: a name in `encoders.preprocessing`, or a function of pixels in
        0..255; "none" for a model that scales pixels itself.
    taps: {"c3": name of a layer, ...}, for layers of other stages than the last map of each stride.
    A model that already gives {"c1": ..., "c2": ...} is not copied, unless preprocessing or taps are given.
    Raises UserError for a model that does not read one image, or whose stages cannot be found.
    """
    prepare = function_of(preprocessing)
    model = _traced(model)
    if preprocessing == "none" and taps is None and isinstance(model.output, dict) and _are_stages(model.output):
        return named(model)
    sides = tuple(side or SIDE for side in model.input.shape[1:3])
    copies = _Copies(model)
    # Traced at two sizes, to find the maps, which grow with the image.
    traced, larger = copies.run(keras.Input((*sides, 3))), _traced_larger(copies, sides)
    found = _stages(traced, larger, sides) if taps is None else _named(traced, taps, model)
    last = max(found.values())
    any_size = len(larger) > last and _grows(traced[last][1], larger[last][1])
    image = keras.Input((None, None, 3) if any_size else model.input.shape[1:], name="image")
    maps = copies.run(prepare(image), until=last)
    outputs = {name: maps[number][1] for name, number in found.items()}
    encoder = restored(keras.Model(image, outputs, name="encoder"))
    quick_to_follow(encoder)
    return encoder


def _traced_larger(copies, sides):
    """What an image of twice the size gives, up to the first layer that needs the size that the model was built for."""
    outputs = []
    with contextlib.suppress(TypeError, ValueError):
        copies.run(keras.Input((*(2 * side for side in sides), 3)), outputs=outputs)
    return outputs


def _grows(value, larger):
    """Whether a map is twice as large in an image of twice the size."""
    return len(value.shape) == 4 and tuple(larger.shape[1:3]) == tuple(2 * side for side in value.shape[1:3])


def _traced(model):
    """The model as a graph of layers. Raises UserError if it has none, or does not read one image."""
    if not isinstance(model, keras.Model) or not (_is_graph(model) and model.built):
        raise UserError(
            f"{type(model).__name__} has no graph of layers in which stages could be found; give a functional or a "
            "sequential keras.Model that was built"
        )
    model = _graph(model)
    if not isinstance(model.input, keras.KerasTensor) or len(model.input.shape) != 4 or model.input.shape[-1] != 3:
        raise UserError(f"the model {model.name!r} does not read one image (B, H, W, 3); give one that does")
    return model


def _is_graph(model):
    return hasattr(model, "_run_through_graph") or isinstance(model, keras.Sequential)


def _graph(model):
    return model._functional if isinstance(model, keras.Sequential) else model


class _EnoughError(Exception):
    """The last stage is reached; what follows is left out."""


class _Copies:
    """The layers of a model at any depth, each copied once, with its weights."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._copies: dict[int, keras.layers.Layer] = {}
        self._originals = {}
        counts = collections.Counter(layer.name for _, layer in _layers(model))
        self._names = {
            id(layer): f"{parent.name}_{layer.name}" if counts[layer.name] > 1 and parent is not model else layer.name
            for parent, layer in _layers(model)
        }

    def run(self, image, *, until: int | None = None, outputs: list | None = None) -> list:
        """(name of the layer, output) of every operation with one output, in the order in which they run; the last one
        is number `until`. outputs: a list to add them to."""
        outputs = [] if outputs is None else outputs
        with contextlib.suppress(_EnoughError):
            self._through(self._model, image, outputs, until)
        self._copy_weights()
        return outputs

    def _through(self, model, inputs, outputs, until):
        def called(operation):
            if _is_graph(operation):
                return lambda inputs, *_, **__: self._through(operation, inputs, outputs, until)

            def call(*arguments, **options):
                options.pop("training", None)
                value = self._copy(operation)(*arguments, **options)
                if isinstance(value, keras.KerasTensor):
                    outputs.append((operation.name, value))
                    if len(outputs) - 1 == until:
                        raise _EnoughError
                return value

            return call

        return _graph(model)._run_through_graph(inputs, operation_fn=called)

    def _copy(self, operation):
        if not isinstance(operation, keras.layers.Layer):
            return operation
        if id(operation) not in self._copies:
            config = operation.get_config() | {"name": self._names[id(operation)]}
            self._copies[id(operation)] = type(operation).from_config(config)
            self._originals[id(operation)] = operation
        return self._copies[id(operation)]

    def _copy_weights(self):
        for key, original in self._originals.items():
            self._copies[key].set_weights(original.get_weights())
        self._originals = {}


def _layers(model):
    """(model, layer) of the layers at any depth that are not models."""
    for layer in model.layers:
        if _is_graph(layer):
            yield from _layers(layer)
        else:
            yield model, layer


def _stages(traced, larger, sides):
    """{"c1": number of the operation, ...}: the last map of each stride."""
    found = {}
    for number, (_, value) in enumerate(traced):
        if len(value.shape) != 4 or None in value.shape[1:]:
            continue
        # A map of a single place, such as in squeeze and excitation, is no stage, whatever the image's size.
        if not _grows(value, larger[number][1]) if len(larger) > number else value.shape[1:3] == (1, 1):
            continue
        height, width = value.shape[1:3]
        stride = round(sides[0] / height)
        exact = stride <= LARGEST_STRIDE and math.log2(stride).is_integer()
        if stride > 1 and exact and (height, width) == tuple(-(-side // stride) for side in sides):
            found[f"c{int(math.log2(stride))}"] = number
    if not found:
        raise UserError(
            "the model has no maps (B, H / 2, W / 2, D), (B, H / 4, W / 4, D), ... of the image; name its stages with "
            'taps={"c2": layer, ...}'
        )
    return dict(sorted(found.items()))


def _are_stages(names):
    return bool(names) and all(re.fullmatch(r"c\d+", name) for name in names)


def _named(traced, taps, model):
    """{stage: number of the operation} of layers given by name."""
    if not _are_stages(taps):
        raise UserError(f'taps is {dict(taps)}; give {{"c2": layer, "c3": layer, ...}}')
    last = {name: number for number, (name, value) in enumerate(traced) if len(value.shape) == 4}
    if missing := [name for name in taps.values() if name not in last]:
        known = ", ".join(list(last)[-5:])
        raise UserError(f"{model.name!r} has no map of a layer {missing[0]!r}; its last ones are {known}")
    return {stage: last[name] for stage, name in taps.items()}
