"""The small YOLOv1 detector and its loss ("darknet", sizes as roots) in PyTorch, for comparison in training.py."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kerastransfer.encoders.yolov1 import block


def conv_bn(inputs: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, filters, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(filters, eps=1e-5, momentum=0.01),
        nn.ReLU6(inplace=True),
    ]


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Detector(nn.Module):
    """(B, 3, H, W) in 0..255 to (B, S, S, C + 10); `stages` is a table of kerastransfer.encoders.yolov1."""

    def __init__(self, stages, num_classes: int):
        super().__init__()
        layers, channels = [], 3
        for row in (row for stage in stages for row in stage):
            modules = []
            for filters, kernel, *stride in block(row):
                modules += conv_bn(channels, filters, kernel, *stride)
                channels = filters
            layers += [Residual(*modules)] if row is block(row) else modules
        for filters in (channels // 2, channels // 4):
            layers += conv_bn(channels, filters, 3)
            channels = filters
        self.features = nn.Sequential(*layers)
        self.predictions = nn.Conv2d(channels, num_classes + 10, 1)

    def forward(self, image):
        features = self.features(image / 255)
        # Our head also ends in float32.
        with torch.autocast("cpu", enabled=False):
            return self.predictions(features.float()).permute(0, 2, 3, 1)


def set_kernels(network: nn.Module, kernels: list[np.ndarray]) -> None:
    """Set the convolution kernels (height, width, in, out), in the order of the layers; biases become 0."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for convolution, kernel in zip(convolutions, kernels, strict=True):
        convolution.weight.data.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1)))
        if convolution.bias is not None:
            convolution.bias.data.zero_()


def encode(boxes, labels, num_classes: int, size: int):
    """From boxes (B, N, 4), labels (B, N) to state (B, S, S), boxes (B, S, S, (x, y, w, h)), classes (B, S, S, C)."""
    near, far = boxes[..., :2], boxes[..., 2:]
    xy = ((near + far) / 2).flip(-1) * size
    wh = (far - near).flip(-1).clamp_min(0).sqrt()
    cell = xy.floor().clamp(0, size - 1)
    place = (cell[..., 1] * size + cell[..., 0]).long()
    # (B, N, S * S)
    claims = functional.one_hot(place, size * size) * (labels >= 0)[..., None]
    # The first of several objects in a cell: argmax returns the first of equals.
    first = claims.argmax(1)
    owned = (claims.sum(1) > 0).float()[..., None]
    rows = torch.arange(len(boxes))[:, None]
    targets = torch.cat([xy - cell, wh], -1)[rows, first] * owned
    classes = functional.one_hot(labels.clamp_min(0).long(), num_classes)[rows, first] * owned
    return (
        owned.reshape(-1, size, size),
        targets.reshape(-1, size, size, 4),
        classes.reshape(-1, size, size, num_classes),
    )


def loss(predictions, boxes, labels, num_classes: int):
    """The mean over images of kerastransfer.losses.yolov1, rule "darknet", with its weights."""
    size = predictions.shape[1]
    classes = predictions[..., :num_classes]
    rest = predictions[..., num_classes:].reshape(*predictions.shape[:3], 2, 5)
    confidence, predicted = rest[..., 0], rest[..., 1:]
    state, truth, wanted_classes = encode(boxes, labels, num_classes, size)
    truth, has_object = truth[..., None, :], state[..., None]

    with torch.no_grad():
        overlap = iou(corners(predicted, size), corners(truth, size))
        distance = (predicted - truth).square().sum(-1)
        nothing = (overlap.amax(-1, keepdim=True) <= 0).float()
        chosen = functional.one_hot((overlap - nothing * distance).argmax(-1), 2)
        responsible = chosen * has_object
    coordinates = (predicted - truth).square().sum(-1)
    return (
        5.0 * (responsible * coordinates).sum((1, 2, 3))
        + (responsible * (confidence - overlap).square()).sum((1, 2, 3))
        + 0.5 * ((1 - responsible) * confidence.square()).sum((1, 2, 3))
        + (has_object * (classes - wanted_classes).square()).sum((1, 2, 3))
    ).mean()


def corners(boxes, size: int):
    xy, half = boxes[..., :2], boxes[..., 2:].square() * size / 2
    return torch.cat([xy - half, xy + half], -1)


def iou(a, b):
    near, far = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (far - near).clamp_min(0).prod(-1)
    return shared / (area(a) + area(b) - shared + 1e-6)


def area(boxes):
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)
