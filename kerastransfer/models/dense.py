"""A trained detector with other strides, for a prediction at every few pixels (dense inference: ElSedfy 2025, section
III-B; "a trous": DeepLab, Chen et al. 2018)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kerastransfer.codecs.layers import Odds, Vote
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool
from kerastransfer.models.rewrite import Config, changed, remade

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def dense(detector: keras.Model, output_stride: int = 1, *, dilate: bool = True) -> keras.Model:
    """From image (B, H, W, 3) to raw predictions (B, H / s, W / s, C + 5 B), s = output_stride: a copy of the detector
    with the same parts and copies of its weights.

    dilate: if True, "a trous" (ours): each stride that is removed is replaced by dilating all following layers, the
        head included. Away from the border, each prediction is then that of the detector for the shifted image. If
        False, the dense mode of ElSedfy 2025: strides and pools become 1, and kernels are not dilated.
    The encoder may consist of any convolutions, max-pools and pixelwise layers.
    Raises ValueError for a layer that has no dense form, such as a head for a fixed size of grid, and for an output
    stride that the network cannot have.
    """
    plan = _Plan(output_stride, dilate)
    (end,) = {grid.stride for grid in keras.tree.flatten(_through(detector, plan.of, _Grid(1, 1)))}
    if output_stride not in [1 << power for power in range(end.bit_length())]:
        choice = ", ".join(str(1 << power) for power in range(end.bit_length()))
        raise ValueError(f"output stride {output_stride}: choose one of {choice}")
    copy = changed(detector, plan.change)
    if copy is detector:
        copy = keras.models.clone_model(detector)
        copy.set_weights(detector.get_weights())
    return keras.Model(copy.input, copy.output, name=f"{detector.name}_dense")


def receptive_radius(model: keras.Model) -> int:
    """The largest distance in pixels at which the input affects an output: half the receptive field."""
    seen = keras.tree.flatten(_through(model, _see, _Seen(1, 0)))
    return max(one.pixels for one in seen)


def yolo_dense(network: keras.Model, vote: Vote, thresholds: Sequence[float]) -> keras.Model:
    """A segmenter that was trained without masks: from image (B, H, W, 3), of the size that the detector was trained
    on, to logits (B, H, W, 1 + K).

    network: a result of `dense`. thresholds: for each class, the votes that make a pixel belong to it.
    """
    image = keras.Input((*vote.image_size, 3), name="image")
    return keras.Model(image, Odds(thresholds, name="odds")(vote(network(image))), name="yolo_dense")


def _through(model: keras.Model, rule: Callable, start: Any) -> Any:
    """Propagate facts instead of tensors through a graph, including its parts: `rule(layer, facts)` returns the facts
    of a layer's output from those of its inputs. Facts are dataclasses, which Keras treats as leaves."""

    def follow(layer):
        def call(*arguments, **keywords):
            if isinstance(layer, keras.Model):
                return layer._run_through_graph(arguments[0], operation_fn=follow)
            read = [fact for fact in keras.tree.flatten((arguments, keywords)) if isinstance(fact, type(start))]
            return rule(layer, read)

        return call

    return model._run_through_graph([start] * len(model.inputs), operation_fn=follow)


@dataclasses.dataclass(frozen=True)
class _Grid:
    """A map: its stride in the detector, and how many times finer it is in the dense graph. padding: the name of the
    layer that has just padded it."""

    stride: int
    dilation: int
    padding: str | None = None


class _Plan:
    """The new config of each layer."""

    def __init__(self, output_stride: int, dilate: bool):
        self.output_stride, self.dilate = output_stride, dilate
        self.changes: dict[str, Config] = {}
        self.pools: dict[str, Config] = {}
        self.paddings: dict[str, tuple] = {}

    def of(self, layer, read: Sequence[_Grid]) -> _Grid:
        """Plan a layer, and return the grid of its output."""
        grids = {(grid.stride, grid.dilation) for grid in read}
        if len(grids) > 1:
            raise ValueError(f"layer {layer.name!r} joins maps of different strides, which has no dense form")
        grid = read[0]
        if isinstance(layer, CONVOLUTIONS):
            return self._convolution(layer, grid)
        if isinstance(layer, keras.layers.MaxPooling2D):
            return self._pool(layer, grid)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return self._padding(layer, grid)
        pixelwise = all(len(tensor.shape) == 4 for tensor in keras.tree.flatten((layer.input, layer.output)))
        resizing = keras.layers.Conv2DTranspose, keras.layers.UpSampling2D, keras.layers.AveragePooling2D
        if not pixelwise or isinstance(layer, resizing) or type(layer).__name__ == "Pad":
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}) has no dense form; train with --head fully_conv, on an "
                "encoder of convolutions and max-pools"
            )
        return _Grid(grid.stride, grid.dilation)

    def change(self, item: Config) -> Config:
        """The function for `models.rewrite.changed`."""
        config = item.get("config")
        name = config.get("name") if isinstance(config, dict) else None
        if item.get("class_name") == "InputLayer" and len(config["batch_shape"]) == 4:
            batch, _, _, channels = config["batch_shape"]
            return item | {"config": config | {"batch_shape": (batch, None, None, channels)}}
        if name in self.pools:
            kept = {key: config[key] for key in ("name", "trainable", "dtype")}
            return remade(item, DilatedMaxPool) | {"config": kept | self.pools[name]}
        return item | {"config": config | self.changes[name]} if name in self.changes else item

    def _after(self, grid: _Grid, stride: int) -> tuple[int, _Grid]:
        """The stride that a layer keeps, and the grid of its output."""
        if stride == 1 or grid.stride * stride <= self.output_stride:
            if stride > 1 and grid.dilation > 1:
                raise ValueError("a stride remains behind a dilation, which no convolution has")
            return stride, _Grid(grid.stride * stride, grid.dilation)
        return 1, _Grid(grid.stride * stride, grid.dilation * stride if self.dilate else 1)

    def _convolution(self, layer, grid):
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        kept, after = self._after(grid, stride)
        taken = kept < stride
        uneven = kernel > 1 and (kernel % 2 == 0 or (taken and (kernel - stride) % 2 != 0))
        if self.dilate and layer.padding == "same" and uneven:
            raise ValueError(
                f"layer {layer.name!r} pads more on the far sides than on the near ones, which has no dense form; "
                "build the encoder with ZeroPadding2D before its strided convolutions"
            )
        # A kernel of 1 is the same at any dilation, and TensorFlow would rearrange the whole map for it.
        rate = layer.dilation_rate[0] * (grid.dilation if kernel > 1 else 1)
        if taken or rate != layer.dilation_rate[0]:
            self._set(layer, {"strides": (kept, kept), "dilation_rate": (rate, rate)})
        if taken and self.dilate:
            self._widen(grid, rate * (kernel - 1))
        return after

    def _pool(self, layer, grid):
        size, stride = layer.pool_size[0], layer.strides[0]
        kept, after = self._after(grid, stride)
        if not self.dilate:
            if kept < stride:
                self._set(layer, {"strides": (1, 1), "pool_size": (1, 1)})
        elif kept < stride or grid.dilation > 1:
            whole = grid.padding is not None
            self.pools[self._once(layer)] = {"dilation": grid.dilation, "size": size, "whole": whole}
            if whole and kept < stride:
                self._widen(grid, grid.dilation * (size - 1))
        return after

    def _padding(self, layer, grid):
        (top, bottom), (left, right) = layer.padding
        self.paddings[layer.name] = (top * grid.dilation, left * grid.dilation)
        if grid.dilation > 1:
            sides = (top, bottom), (left, right)
            self._set(layer, {"padding": tuple(tuple(side * grid.dilation for side in pair) for pair in sides)})
        return _Grid(grid.stride, grid.dilation, layer.name)

    def _widen(self, grid, total):
        """If the layer before pads, make it pad by `total` along each axis, with more on the far side, so that a map
        keeps its size when a stride is removed."""
        if grid.padding is not None:
            near = self.paddings[grid.padding]
            self.changes[grid.padding] = {"padding": tuple((side, max(total - side, 0)) for side in near)}

    def _set(self, layer, config):
        self.changes[self._once(layer)] = config

    def _once(self, layer):
        if layer.name in self.changes or layer.name in self.pools:
            raise ValueError(f"two layers are called {layer.name!r}; give each a name of its own")
        return layer.name


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A map: the pixels of the image between two positions, and how far a position sees. padding: what has just been
    added on the near sides."""

    step: int
    pixels: int
    padding: int = 0


def _see(layer, read: Sequence[_Seen]) -> _Seen:
    seen = max(read, key=lambda one: one.pixels)
    if isinstance(layer, CONVOLUTIONS):
        span = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        near = span // 2 if layer.padding == "same" else seen.padding
        return _Seen(seen.step * layer.strides[0], seen.pixels + seen.step * max(near, span - near))
    if isinstance(layer, keras.layers.MaxPooling2D | DilatedMaxPool):
        dilated = isinstance(layer, DilatedMaxPool)
        span = layer.dilation * (layer.size - 1) if dilated else layer.pool_size[0] - 1
        stride = 1 if dilated else layer.strides[0]
        return _Seen(seen.step * stride, seen.pixels + seen.step * max(seen.padding, span - seen.padding))
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return _Seen(seen.step, seen.pixels, layer.padding[0][0])
    return _Seen(seen.step, seen.pixels)
