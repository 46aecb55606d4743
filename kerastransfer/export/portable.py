"""The same model in layers that a device runs well: float32 throughout, transposed convolutions as matrix products, the
device's own suppression of boxes."""

import keras
import tensorflow as tf
from keras import ops

from kerastransfer.layers.suppress import Suppress
from kerastransfer.models.rewrite import Config, changed, remade

GRID = 16  # squares side by side
SUPPRESS = keras.saving.get_registered_name(Suppress)


@keras.saving.register_keras_serializable(package="kerastransfer")
class BlockConv2DTranspose(keras.layers.Conv2DTranspose):
    """A transposed convolution whose kernel is as large as its stride: each pixel becomes a block of its own.

    That is a 1x1 convolution to all pixels of the block and `depth_to_space`: the same weights and the same values, but
    in int8 LiteRT takes a twelfth of the time that its TRANSPOSE_CONV takes.
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
    """A `Suppress` by LiteRT's own operator, for a batch of one.

    The loop of `ops.nms.greedy` converts as well, but the converter's calibration for int8 does not survive a WHILE.
    """

    @staticmethod
    def choose(boxes, scores, *, iou_threshold, score_threshold, max_detections):
        # The operator knows no classes: each gets a square of its own, in a grid of squares, as numbers are the more
        # exact the smaller they are.
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
        # Broadcast to its batch, as the converter takes the operator itself for (1, M) where its rows are reshaped.
        return tf.where(tf.range(max_detections)[None] < count, order, -1)


def in_float32(model: keras.Model) -> keras.Model:
    """A copy of `model` that computes in float32; `model` itself if it does so already.

    Mixed precision converts to operators that LiteRT does not have.
    """
    return changed(model, float32_policy)


def with_blocks(model: keras.Model) -> keras.Model:
    """A copy of `model` with `BlockConv2DTranspose` where it applies; `model` itself if it applies nowhere."""
    copy = changed(model, block_transposed)
    if copy is not model:
        fold_batch_norms(copy)
    return copy


def with_native_suppression(model: keras.Model) -> keras.Model:
    """A copy of `model` with `NativeSuppress` for each `Suppress`; `model` itself if it has none."""
    return changed(model, natively_suppressed)


def fold_batch_norms(model: keras.Model) -> None:
    """Move what a batch norm does into the `BlockConv2DTranspose` before it, and leave a batch norm that does nothing.

    The converter does so with a transposed convolution, but does not see through `depth_to_space`; a batch norm that
    does nothing it leaves out.
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
    convolution.kernel.assign(convolution.kernel * ops.expand_dims(gain, -1))  # (height, width, out, in)
    convolution.bias.assign(bias)
    norm.moving_mean.assign(ops.zeros_like(norm.moving_mean))
    norm.moving_variance.assign(ops.ones_like(norm.moving_variance) - norm.epsilon)


def float32_policy(item: Config) -> Config:
    return item | {"config": {"name": "float32"}} if item.get("class_name") == "DTypePolicy" else item


def block_transposed(item: Config) -> Config:
    if item.get("class_name") != "Conv2DTranspose" or not fills_blocks(item["config"]):
        return item
    return remade(item, BlockConv2DTranspose)


def natively_suppressed(item: Config) -> Config:
    return remade(item, NativeSuppress) if item.get("registered_name") == SUPPRESS else item


def fills_blocks(layer: Config) -> bool:
    """Whether the outputs of a Conv2DTranspose of this config lie side by side, without overlap or gap."""
    height, width = layer["strides"]
    return (
        tuple(layer["kernel_size"]) == (height, width)
        and height == width > 1
        and tuple(layer["dilation_rate"]) == (1, 1)
        and layer["output_padding"] is None
        and layer["data_format"] == "channels_last"
    )
