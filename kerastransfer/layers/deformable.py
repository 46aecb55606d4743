"""Deformable convolution as a layer, with the convolution that finds its offsets."""

import keras
from keras import ops

from kerastransfer.ops.deformable import deformable_conv


@keras.saving.register_keras_serializable(package="kerastransfer")
class DeformableConv2D(keras.layers.Layer):
    """A convolution whose taps move to where an inner convolution sends them: from (B, H, W, D) to
    (B, ceil(H / stride), ceil(W / stride), filters).

    filters, kernel, stride, dilation, use_bias: as for a convolution with an odd kernel and symmetric padding of
        dilation * (kernel // 2). Either stride or dilation must be 1. The weights fit a `Conv2D`.
    modulated: multiply each tap by a factor between 0 and 1 (Zhu et al. 2019, section 2.2); otherwise only offsets are
        learnt (Dai et al. 2017, section 2.1).
    offset_groups: the channels are split into so many groups, each with offsets and factors of its own.

    The inner convolution `offset` has the same kernel, stride and dilation, and begins with zeros. The layer is then
    the plain convolution, and with `modulated` half of it, since the factor is the sigmoid, as published. Its channels
    are those of `ops.deformable`: first all offsets, then the logits of the factors. It is trained at the learning rate
    of other layers (Dai et al.; Zhu et al. take a tenth of it).

    Cost: with 256 channels, a 3 x 3 kernel and factors, it takes 3.5 times as long as `Conv2D` on a 20 x 20 map and 2.7
    times on a 40 x 40 map; forward and backward 2.5 and 3.3 times. (Medians of one run of benchmarks/deformable.py,
    float32, two threads of an AMD EPYC that other processes used as well; single rounds were between 1.5 and 4.6.)

    A file for devices has builtin operators alone. In an int8 file places are quantised as well, in steps of 1/256 of
    the side of the map or more.

    Raises ValueError for an even kernel, and for channels that cannot be split.
    """

    def __init__(
        self,
        filters: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        modulated: bool = True,
        offset_groups: int = 1,
        use_bias: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel}: only an odd kernel has a middle; give 3, 5 or 7")
        self.filters, self.kernel, self.stride, self.dilation = filters, kernel, stride, dilation
        self.modulated, self.offset_groups, self.use_bias = modulated, offset_groups, use_bias
        self._shifts = 2 * offset_groups * kernel * kernel
        self.offset = keras.layers.Conv2D(
            self._shifts * 3 // 2 if modulated else self._shifts,
            kernel,
            stride,
            padding="same" if stride == 1 else "valid",
            dilation_rate=dilation,
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="offset",
        )

    def build(self, shape):
        depth = shape[-1]
        if depth % self.offset_groups:
            raise ValueError(f"{depth} channels cannot be split into {self.offset_groups} offset_groups of equal size")
        self.offset.build(shape)
        size = (self.kernel, self.kernel, depth, self.filters)
        self.weight = self.add_weight(size, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight((self.filters,), initializer="zeros", name="bias") if self.use_bias else None

    def call(self, x):
        found = self.offset(self._padded(x))
        out = deformable_conv(
            x,
            self.weight,
            found[..., : self._shifts],
            ops.sigmoid(found[..., self._shifts :]) if self.modulated else None,
            stride=self.stride,
            dilation=self.dilation,
            offset_groups=self.offset_groups,
        )
        return out if self.bias is None else out + ops.cast(self.bias, out.dtype)

    def _padded(self, x):
        """What the inner convolution reads: "same" would pad a strided one on the far sides alone."""
        side = self.kernel // 2
        return x if self.stride == 1 else ops.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))

    def compute_output_shape(self, shape):
        batch, *sides, _ = shape
        return (batch, *(None if side is None else -(-side // self.stride) for side in sides), self.filters)

    def scale_offsets(self, factor: float) -> None:
        """Multiply all offsets by a factor, for a map that is as many times finer; the factors of `modulated` stay."""
        for variable in self.offset.kernel, self.offset.bias:
            values = ops.convert_to_numpy(variable).copy()
            values[..., : self._shifts] *= factor
            variable.assign(values)

    def get_config(self):
        names = ("filters", "kernel", "stride", "dilation", "modulated", "offset_groups", "use_bias")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
