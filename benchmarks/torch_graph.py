"""A flattened Keras model (graph.py) in PyTorch, with the same weights, as it would be deployed there.

Batch normalization and zero padding are merged into convolutions, and activations work in place.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from graph import Graph, Step
from rounds import MissingError
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Network(nn.Module):
    """From image (B, 3, H, W) in 0..255 to a tuple of outputs, whose names are `names`. Maps are (B, D, H, W).

    Raises MissingError for a layer without a counterpart here.
    """

    def __init__(self, graph: Graph):
        super().__init__()
        self.names = list(graph.outputs)
        self.parts = nn.ModuleList()
        # For each part, the tensors that it reads and the tensors that it returns.
        self._plan = []
        readers = Counter([tensor for step in graph.steps for tensor in step.inputs] + list(graph.outputs.values()))
        same, padded, maker = {}, {}, {}

        for step in graph.steps:
            read = [same.get(tensor, tensor) for tensor in step.inputs]
            alone = readers[step.inputs[0]] == 1
            made = step.outputs[0]
            if step.layer in ("Dropout", "Identity", "MultipleOf"):
                same[made] = read[0]
                continue
            if step.layer == "ZeroPadding2D":
                padded[made] = symmetric(step)
                same[made] = read[0]
                continue
            if step.layer == "BatchNorm" and alone and read[0] in maker:
                number = maker[read[0]]
                convolution = self.parts[number]
                transposed = isinstance(convolution, nn.ConvTranspose2d)
                self.parts[number] = fuse_conv_bn_eval(convolution, batch_norm(step), transpose=transposed)
                same[made] = read[0]
                maker.pop(read[0])
                continue
            part = module(step, padding=padded.get(step.inputs[0], 0), in_place=alone)
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                maker[made] = len(self.parts)
            self.parts.append(part)
            self._plan.append((read, step.outputs))

        self._outputs = [same.get(tensor, tensor) for tensor in graph.outputs.values()]
        last = {tensor: number for number, (read, _) in enumerate(self._plan) for tensor in read}
        self._done = [
            [tensor for tensor in set(read) if last[tensor] == number and tensor not in self._outputs]
            for number, (read, _) in enumerate(self._plan)
        ]
        self.eval()

    def forward(self, image):
        values = {0: image}
        for part, (read, made), done in zip(self.parts, self._plan, self._done, strict=True):
            given = part(*[values[tensor] for tensor in read])
            for tensor in done:
                # The next step can use its memory, which is still in the cache.
                del values[tensor]
            values.update(zip(made, given if isinstance(given, tuple) else (given,), strict=True))
        return tuple(values[tensor] for tensor in self._outputs)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self, *values):
        return self.function(*values)


def module(step: Step, *, padding: int, in_place: bool) -> nn.Module:
    """The counterpart of a step. padding: zeros around its input. in_place: whether no other step reads the input."""
    config, maps = step.config, len(step.shapes[0]) == 4
    if padding and step.layer != "Conv2D":
        raise MissingError(f"torch_graph.py does not support zero padding before a layer {step.layer}")
    match step.layer:
        case "Rescaling":
            return Apply(lambda x: x * config["scale"] + config["offset"])
        case "Conv2D":
            return convolution(step, padding)
        case "Conv2DTranspose" if config["kernel_size"] == config["strides"]:
            return transposed_convolution(step)
        case "BatchNorm":
            return batch_norm(step)
        case "ReLU":
            return nn.ReLU6(in_place) if config["max_value"] == 6 else nn.ReLU(in_place)
        case "LeakyReLU":
            return nn.LeakyReLU(config["negative_slope"], in_place)
        case "MaxPooling2D":
            return nn.MaxPool2d(config["pool_size"], config["strides"])
        case "Add":
            return Apply(torch.add)
        case "Concatenate" if maps:
            return Apply(lambda *values: torch.cat(values, 1))
        case "Softmax":
            return Apply(lambda x: torch.softmax(x.float(), 1 if maps else -1))
        case "Flatten" if maps:
            return Apply(lambda x: x.permute(0, 2, 3, 1).flatten(1))
        case "Reshape" if not maps and len(config["target_shape"]) == 3:
            return Apply(lambda x: x.unflatten(1, tuple(config["target_shape"])).permute(0, 3, 1, 2))
        case "Dense" if not maps:
            return dense(step)
        case "Decode" if config["codec"]["config"]["layout"] == "cells":
            return Decode(config["codec"]["config"], step.shapes[0][1:3])
    raise MissingError(f"torch_graph.py does not support this layer {step.layer}")


def convolution(step: Step, padding: int) -> nn.Conv2d:
    config, (kernel, *bias) = step.config, step.weights
    height, width, inputs, filters = kernel.shape
    if config["padding"] == "same":
        if max(config["strides"]) > 1 or height % 2 == 0 or width % 2 == 0:
            raise MissingError("Keras's 'same' padding of a strided convolution differs from PyTorch's")
        padding = (height // 2, width // 2)
    layer = nn.Conv2d(inputs, filters, (height, width), config["strides"], padding, bias=bool(bias))
    return filled(layer, kernel.transpose(3, 2, 0, 1), *bias)


def transposed_convolution(step: Step) -> nn.ConvTranspose2d:
    kernel, *bias = step.weights
    height, width, filters, inputs = kernel.shape
    layer = nn.ConvTranspose2d(inputs, filters, (height, width), (height, width), bias=bool(bias))
    return filled(layer, kernel.transpose(3, 2, 0, 1), *bias)


def dense(step: Step) -> nn.Linear:
    kernel, *bias = step.weights
    return filled(nn.Linear(*kernel.shape, bias=bool(bias)), kernel.T, *bias)


def batch_norm(step: Step) -> nn.BatchNorm2d:
    gamma, beta, mean, variance = step.weights
    layer = filled(nn.BatchNorm2d(len(gamma), eps=step.config["epsilon"]), gamma, beta)
    layer.running_mean.copy_(torch.from_numpy(mean))
    layer.running_var.copy_(torch.from_numpy(variance))
    return layer


def filled(layer: nn.Module, weight, bias=None) -> nn.Module:
    """The layer with these weights, for inference."""
    layer.weight.data.copy_(torch.from_numpy(weight.copy()))
    if bias is not None:
        layer.bias.data.copy_(torch.from_numpy(bias))
    return layer.eval()


def symmetric(step: Step) -> int:
    """The padding of a ZeroPadding2D with equal sides."""
    sides = {side for pair in step.config["padding"] for side in pair}
    if len(sides) > 1:
        raise MissingError("torch_graph.py does not support zero padding that differs between sides")
    return sides.pop()


class Decode(nn.Module):
    """Decoding as in kerastransfer.codecs.yolov1: (B, C + 5 b, S, S) to boxes (B, A, 4) and scores (B, A, C)."""

    def __init__(self, codec: Mapping, grid: tuple[int, int]):
        super().__init__()
        self.codec = dict(codec)
        rows, columns = grid
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        # Not a buffer, so that it stays float32 in a bfloat16 net.
        self.cells = torch.stack([x, y], -1)[:, :, None].float()
        self.size = torch.tensor([columns, rows]).float()

    def forward(self, predictions):
        predictions = predictions.permute(0, 2, 3, 1).float()
        num_classes, boxes_per_cell = self.codec["num_classes"], self.codec["boxes_per_cell"]
        classes, rest = predictions[..., :num_classes], predictions[..., num_classes:]
        rest = rest.unflatten(-1, (boxes_per_cell, 5))
        confidences, xy, wh = rest[..., 0], (rest[..., 1:3] + self.cells) / self.size, rest[..., 3:]
        if self.codec["sizes"] == "cell":
            wh = wh / self.size
        elif self.codec["sizes"] == "root":
            wh = wh.square()
        half = wh.clamp_min(0) / 2
        corners = torch.cat([(xy - half).flip(-1), (xy + half).flip(-1)], -1).clamp(0, 1)
        if self.codec["score"] == "product":
            scores = confidences[..., None] * classes[..., None, :]
        else:
            confidence, best = confidences.max(-1, keepdim=True)
            corners = corners.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
            strongest = nn.functional.one_hot(classes.argmax(-1), num_classes)
            scores = strongest * confidence
        return corners.flatten(1, -2), scores.flatten(1, -2)
