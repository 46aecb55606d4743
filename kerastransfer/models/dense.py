"""A trained detector or encoder with other strides, for a prediction at every few pixels (dense inference: ElSedfy
2025, section III-B; "a trous": DeepLab, Chen et al. 2018)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kerastransfer.codecs.layers import Odds, Vote
from kerastransfer.encoders import taps
from kerastransfer.errors import UserError
from kerastransfer.layers.deformable import DeformableConv2D
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool
from kerastransfer.models.rewrite import Config, changed, remade

ADVICE = "; train with --head fully_conv, on an encoder of convolutions and max-pools"
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def dense(detector: keras.Model, output_stride: int = 1, *, dilate: bool = True) -> keras.Model:
    """From image (B, H, W, 3) to raw predictions (B, H / s, W / s, C + 5 B), s = output_stride: a copy of the detector
    with the same parts and copies of its weights.

    dilate: if True, "a trous" (ours): each stride that is removed is replaced by dilating all following layers, the
        head included. Away from the border, each prediction is then that of the detector for the shifted image. If
        False, the dense mode of ElSedfy 2025: strides and pools become 1, and kernels are not dilated.
    The encoder may consist of any convolutions, max-pools and pixelwise layers. Offsets of deformable convolutions are
    in pixels of a map, so where a map is finer those weights are multiplied. Between the finer pixels a tap then reads
    interpolated values, as on the coarse map, but of nearer neighbours.
    Raises ValueError for a layer that has no dense form, such as a head for a fixed size of grid, and for an output
    stride that the network cannot have.
    """
    plan = _Plan(output_stride, dilate, ADVICE)
    (end,) = {grid.stride for grid in keras.tree.flatten(plan.through(detector))}
    if output_stride not in [1 << power for power in range(end.bit_length())]:
        choice = ", ".join(str(1 << power) for power in range(end.bit_length()))
        raise ValueError(f"output stride {output_stride}: choose one of {choice}")
    copy = plan.applied(detector)
    return keras.Model(copy.input, copy.output, name=f"{detector.name}_dense")


def dilated(encoder: keras.Model, output_stride: int = 16) -> keras.Model:
    """A copy of an encoder, weights included, with no tap of a larger stride than `output_stride`: each stride beyond
    it is replaced by dilating all following layers, as `dense` does with a detector.

    Squeeze and excitation takes the mean of the finer map, which is that of the coarse one but for the positions at
    which it is sampled; everything else is exact.
    Of an encoder of stride 32, c5 then has stride 16 (Li et al. 2019, section 4.2) or, with 8, c4 and c5 have stride 8;
    at every second or fourth position they are the taps of `encoder`. The last layers cost 4 times as much at each
    stride that is removed.
    Raises UserError for an encoder that has no dense form, or no larger stride than this.
    """
    largest = max(taps.strides(encoder).values())
    if output_stride not in [1 << power for power in range(largest.bit_length())]:
        choice = " or ".join(str(stride) for stride in (8, 16) if stride <= largest) or "0"
        raise UserError(
            f"--output-stride {output_stride}: the largest stride of the encoder is {largest}; give {choice}, or leave "
            "it out"
        )
    plan = _Plan(output_stride, dilate=True)
    try:
        plan.through(encoder)
        copy = plan.applied(encoder)
    except ValueError as error:
        raise UserError(
            f"--output-stride {output_stride}: this encoder cannot be dilated ({error}); leave it out, or give another "
            "encoder"
        ) from error
    return keras.Model(copy.input, copy.output, name=encoder.name)


def receptive_radius(model: keras.Model) -> int:
    """The largest distance in pixels at which the input affects an output: half the receptive field.

    Raises ValueError for deformable convolutions and means of whole maps, which have none.
    """
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
    """The new config of each layer. advice: ends the message about a layer that has no dense form."""

    def __init__(self, output_stride: int, dilate: bool, advice: str = ""):
        self.output_stride, self.dilate, self.advice = output_stride, dilate, advice
        self.changes: dict[str, Config] = {}
        self.pools: dict[str, Config] = {}
        self.paddings: dict[str, tuple] = {}
        # How many times larger offsets are, by the name of a deformable convolution.
        self.offsets: dict[str, int] = {}

    def through(self, model: keras.Model) -> Any:
        """Plan all layers of a model, and return the grids of its outputs."""
        return _through(model, self.of, _Grid(1, 1))

    def applied(self, model: keras.Model) -> keras.Model:
        """A copy of the model with the planned layers, and its weights."""
        copy = changed(model, self.change)
        if copy is model:
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
        for layer in copy._flatten_layers(recursive=True):
            if layer.name in self.offsets:
                layer.scale_offsets(self.offsets[layer.name])
        return copy

    def of(self, layer, read: Sequence[_Grid]) -> _Grid:
        """Plan a layer, and return the grid of its output."""
        grids = {(grid.stride, grid.dilation) for grid in read}
        if len(grids) > 1:
            raise ValueError(f"layer {layer.name!r} joins maps of different strides, which has no dense form")
        grid = read[0]
        if isinstance(layer, CONVOLUTIONS):
            return self._convolution(layer, grid)
        if isinstance(layer, DeformableConv2D):
            return self._deformable(layer, grid)
        if isinstance(layer, keras.layers.MaxPooling2D):
            return self._pool(layer, grid)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return self._padding(layer, grid)
        if _is_gate(layer):
            # The mean over a finer map of the same pixels stands for that over the map.
            return _Grid(grid.stride, grid.dilation)
        pixelwise = all(len(tensor.shape) == 4 for tensor in keras.tree.flatten((layer.input, layer.output)))
        resizing = keras.layers.Conv2DTranspose, keras.layers.UpSampling2D, keras.layers.AveragePooling2D
        if not pixelwise or isinstance(layer, resizing) or type(layer).__name__ == "Pad":
            raise ValueError(f"layer {layer.name!r} ({type(layer).__name__}) has no dense form{self.advice}")
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
        if name in self.changes:
            # A layer may have been built for maps that are too small for its kernel now.
            build = item.get("build_config") or {}
            if len(build.get("input_shape") or ()) == 4:
                batch, _, _, channels = build["input_shape"]
                item = item | {"build_config": build | {"input_shape": (batch, None, None, channels)}}
            return item | {"config": config | self.changes[name]}
        return item

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

    def _deformable(self, layer, grid):
        """It pads all sides alike, also where it has a stride."""
        kept, after = self._after(grid, layer.stride)
        rate = layer.dilation * grid.dilation
        if kept < layer.stride or rate != layer.dilation:
            self._set(layer, {"stride": kept, "dilation": rate})
            self.offsets[layer.name] = grid.dilation
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


def _is_gate(layer):
    """Whether a layer is one of the two with which squeeze and excitation begins: the mean of each channel over the
    map, and its shape as a map of one position. What they give belongs to no position."""
    if isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return True
    return isinstance(layer, keras.layers.Reshape) and layer.target_shape[:-1] == (1, 1)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A map: the pixels of the image between two positions, and how far a position sees. padding: what has just been
    added on the near sides."""

    step: int
    pixels: int
    padding: int = 0


def _see(layer, read: Sequence[_Seen]) -> _Seen:
    seen = max(read, key=lambda one: one.pixels)
    if isinstance(layer, DeformableConv2D):
        raise ValueError(f"layer {layer.name!r} is deformable and may see anything; leave out tiles (--tile 0)")
    if isinstance(layer, keras.layers.GlobalAveragePooling2D):
        raise ValueError(f"layer {layer.name!r} takes the mean of the whole image; leave out tiles (--tile 0)")
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
