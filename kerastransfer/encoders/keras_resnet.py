"""Weights of a ResNet of keras.applications in an encoder of `encoders.resnet`."""

import re

import keras
import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.layers.deformable import DeformableConv2D

# Of the classifier behind the last stage.
LEFT_OUT = "predictions"


def copy_keras_resnet(model: keras.Model, encoder: keras.Model) -> None:
    """Copy the weights of keras.applications.ResNet50 or ResNet101 into `encoder`, which then gives the same maps.

    In batch normalization the bias of the convolution before it is taken from the mean, and the difference of both
    epsilons is added to the variance: the maps are those of `model`, except that a training step sees its own epsilon.
    A modulated deformable convolution begins with factors of a half, so that its kernel is doubled.
    encoder: with its stride in the first 1 x 1 convolution, as `model` has it.
    Raises UserError unless every layer of one is in the other, with the same shape and stride.
    """
    given = {layer.name: layer for layer in model.layers if layer.weights and layer.name != LEFT_OUT}
    wanted = {_name_there(layer.name): layer for layer in encoder.layers if layer.weights}
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or unknown:
        raise UserError(
            f"the weights of {model.name!r} do not fit: it lacks {', '.join(missing[:3]) or 'nothing'} and has "
            f"{', '.join(unknown[:3]) or 'nothing'} more; give a ResNet of keras.applications of this depth, not a V2"
        )
    norms = [name for name in wanted if name.endswith("_bn")]
    convolutions = [name for name in wanted if name not in norms]
    for name in convolutions:
        _check(given[name], wanted[name])
    for name in convolutions:
        kernel, layer = _kernel(wanted[name]), wanted[name]
        halved = isinstance(layer, DeformableConv2D) and layer.modulated
        kernel.assign(given[name].kernel * (2 if halved else 1))
    for name in norms:
        gamma, beta, mean, variance = given[name].get_weights()
        mean = mean - np.array(given[name.replace("_bn", "_conv")].bias)
        variance = variance + (given[name].epsilon - wanted[name].epsilon)
        wanted[name].set_weights([gamma, beta, mean, variance])


def _name_there(name):
    """ "c3_1_shortcut_conv" is "conv3_block1_0_conv" there."""
    name = re.sub(r"^c(\d)_(\d+)_", r"conv\1_block\2_", name.replace("_shortcut_", "_0_"))
    return re.sub(r"^c1_", "conv1_", name)


def _kernel(layer):
    return layer.weight if isinstance(layer, DeformableConv2D) else layer.kernel


def _check(there, layer):
    """Raises UserError unless a convolution has the shape and the stride of another one."""
    stride = layer.stride if isinstance(layer, DeformableConv2D) else layer.strides[0]
    shape, own = tuple(there.kernel.shape), tuple(_kernel(layer).shape)
    if shape != own or there.strides[0] != stride:
        raise UserError(
            f"{there.name} has a kernel of {shape} and stride {there.strides[0]}, {layer.name} of {own} and stride "
            f"{stride}; build the encoder with stride_in='1x1' and the filters of the model"
        )
