"""Rewrites a model into layers that devices run well: float32, transposed convolutions as matrix products, maxima over
voxels in two steps, and LiteRT's own non-maximum suppression."""

import keras
import tensorflow as tf
from keras import ops

from kerastransfer.layers.suppress import Suppress
from kerastransfer.models.rewrite import Config, changed, remade, with_policy

# Number of squares in a row; see `NativeSuppress`.
GRID = 16
SUPPRESS = keras.saving.get_registered_name(Suppress)


@keras.saving.register_keras_serializable(package="kerastransfer")
class BlockConv2DTranspose(keras.layers.Conv2DTranspose):
    """A transposed convolution whose kernel is as large as its stride, so that each pixel becomes a separate block.

    This is a 1x1 convolution to all pixels of the block, followed by `depth_to_space`. Weights and values are the same,
    but in int8 LiteRT takes a twelfth of the time of its TRANSPOSE_CONV.
    """

    def call(self, inputs):
        size = self.strides[0]
        kernel = ops.reshape(ops.transpose(self.kernel, (3, 0, 1, 2)), (1, 1, -1, size * size * self.filters))
        blocks = ops.conv(inputs, kernel)
        if self.use_bias:
            blocks = blocks + ops.tile(self.bias, size * size)
        return self.activation(tf.nn.depth_to_space(blocks, size))


@keras.saving.register_keras_serializable(package="kerastransfer")
class NativeSuppress(Suppress):
    """`Suppress` with LiteRT's own operator, for a batch of one.

    The loop of `ops.nms.greedy` can be converted as well, but the converter's int8 calibration fails on a WHILE.
    """

    @staticmethod
    def choose(boxes, scores, *, iou_threshold, score_threshold, max_detections):
        # The operator does not know classes, so the boxes of each class are moved to a separate square. The squares
        # form a grid, because smaller numbers are more exact.
        classes = scores.shape[2]
        apart = tf.reshape(boxes, (-1, 1, 4))
        if classes > 1:
            apart = apart + tf.constant([[(2.0 * (k // GRID)), 2.0 * (k % GRID)] * 2 for k in range(classes)])
        order, count = tf.image.non_max_suppression_padded(
            tf.reshape(apart, (-1, 4)),
            tf.reshape(scores, (-1,)),
            max_detections,
            iou_threshold,
            score_threshold,
            pad_to_max_output_size=True,
        )
        # Broadcast to the batch: if the rows were reshaped, the converter would take the operator itself for (1, M).
        return tf.where(tf.range(max_detections)[None] < count, order, -1)


@keras.saving.register_keras_serializable(package="kerastransfer")
class PlanarMaxPool3D(keras.layers.MaxPooling3D):
    """A maximum over blocks of voxels that do not overlap: over each plane, and then over planes. LiteRT has no
    operator for both at once."""

    def call(self, inputs):
        depth, height, width = self.pool_size
        _, planes, rows, columns, channels = inputs.shape
        x = ops.reshape(inputs, (-1, rows, columns, channels))
        x = ops.max_pool(x, (height, width), (height, width), "valid")
        x = ops.reshape(x, (-1, planes // depth, depth, x.shape[1] * x.shape[2] * channels))
        return ops.reshape(ops.max(x, axis=2), (-1, planes // depth, rows // height, columns // width, channels))


def in_float32(model: keras.Model) -> keras.Model:
    """A copy of `model` that computes in float32, or `model` itself if it already does.

    With mixed precision, the converter would use operators that LiteRT does not have.
    """
    return with_policy(model, "float32")


def with_blocks(model: keras.Model) -> keras.Model:
    """A copy of `model` with `BlockConv2DTranspose` where it applies, or `model` itself if it does not apply."""
    copy = changed(model, block_transposed)
    if copy is not model:
        fold_batch_norms(copy)
    return copy


def with_native_suppression(model: keras.Model) -> keras.Model:
    """A copy of `model` with `NativeSuppress` in place of each `Suppress`, or `model` itself if it has none."""
    return changed(model, natively_suppressed)


def with_planes(model: keras.Model) -> keras.Model:
    """A copy of `model`, of volumes, with `PlanarMaxPool3D` where it applies, or `model` itself if it does not apply.
    The copy takes volumes whose sides are multiples of the strides."""
    return changed(model, planar)


def fold_batch_norms(model: keras.Model) -> None:
    """Fold batch normalization into the `BlockConv2DTranspose` before it, which leaves a layer that does nothing.

    The converter folds it into a transposed convolution, but not through `depth_to_space`; it does remove batch
    normalization that does nothing.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            fold_batch_norms(layer)
        elif isinstance(layer, keras.layers.BatchNormalization) and len(layer._inbound_nodes) == 1:
            between = layer.input
            source = between._keras_history.operation
            read_by_others = len(source._outbound_nodes) > 1 or any(between is output for output in model.outputs)
            plain = isinstance(source, BlockConv2DTranspose) and source.use_bias and layer.axis in (-1, 3)
            if plain and source.activation is keras.activations.linear and not read_by_others:
                fold(source, layer)


def fold(convolution: BlockConv2DTranspose, norm: keras.layers.BatchNormalization) -> None:
    gain = ops.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.scale:
        gain = gain * norm.gamma
        norm.gamma.assign(ops.ones_like(norm.gamma))
    bias = (convolution.bias - norm.moving_mean) * gain
    if norm.center:
        bias = bias + norm.beta
        norm.beta.assign(ops.zeros_like(norm.beta))
    # The kernel is (height, width, out, in).
    convolution.kernel.assign(convolution.kernel * ops.expand_dims(gain, -1))
    convolution.bias.assign(bias)
    norm.moving_mean.assign(ops.zeros_like(norm.moving_mean))
    norm.moving_variance.assign(ops.ones_like(norm.moving_variance) - norm.epsilon)


def block_transposed(item: Config) -> Config:
    if item.get("class_name") != "Conv2DTranspose" or not fills_blocks(item["config"]):
        return item
    return remade(item, BlockConv2DTranspose)


def natively_suppressed(item: Config) -> Config:
    return remade(item, NativeSuppress) if item.get("registered_name") == SUPPRESS else item


def planar(item: Config) -> Config:
    if item.get("class_name") != "MaxPooling3D" or item["config"]["strides"] != item["config"]["pool_size"]:
        return item
    return remade(item, PlanarMaxPool3D)


def fills_blocks(layer: Config) -> bool:
    """Whether the output blocks of a Conv2DTranspose with this config are adjacent, without overlaps or gaps."""
    height, width = layer["strides"]
    return (
        tuple(layer["kernel_size"]) == (height, width)
        and height == width > 1
        and tuple(layer["dilation_rate"]) == (1, 1)
        and layer["output_padding"] is None
        and layer["data_format"] == "channels_last"
    )
