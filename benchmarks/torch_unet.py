"""The U-Net of Dippel et al. 2022 with the projection of SimCLR and one decoding task, in PyTorch, for comparison in
pretexts.py."""

import itertools

import torch
from torch import nn


def conv(inputs: int, filters: int, kernel: int = 3) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, filters, kernel, padding=kernel // 2),
        nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1),
        nn.ReLU(inplace=True),
    ]


def double(inputs: int, filters: int) -> nn.Module:
    return nn.Sequential(*conv(inputs, filters), *conv(filters, filters))


class Attention(nn.Module):
    """Pooling that is weighted by four 1 x 1 convolutions behind a dropout."""

    def __init__(self, features: int):
        super().__init__()
        widths = [features, *(max(1, features // 2**number) for number in (1, 2, 3))]
        layers = [nn.Dropout(0.5)]
        for inputs, filters in itertools.pairwise(widths):
            layers += conv(inputs, filters, 1)
        self.weight = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1), nn.Sigmoid())

    def forward(self, x):
        weight = self.weight(x)
        return (weight * x).sum((2, 3)) / weight.sum((2, 3))


class Network(nn.Module):
    """(B, 3, H, W) in 0..255 to embeddings (B, 128) and, with a decoder, logits (B, 3, H, W)."""

    def __init__(self, width: int, *, decoder: bool):
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.levels = nn.ModuleList(double(inputs, own) for inputs, own in zip([3, *widths], widths, strict=False))
        deepest = widths[-1]
        self.pool = Attention(deepest) if decoder else nn.AdaptiveAvgPool2d(1)
        sizes, layers = [deepest, 512, 512, 128], []
        for number in range(3):
            layers += [nn.Linear(sizes[number], sizes[number + 1], bias=False), nn.BatchNorm1d(sizes[number + 1])]
            layers += [nn.ReLU(inplace=True)] if number < 2 else []
        self.projection = nn.Sequential(*layers)
        self.steps = self.skips = self.head = None
        if decoder:
            ups = [deepest // 2 // 2**step for step in range(3)]
            skips = widths[-2::-1]
            self.skips = nn.ModuleList(nn.Sequential(*conv(s, up, 1)) for s, up in zip(skips, ups, strict=True))
            before = [deepest, *ups]
            self.steps = nn.ModuleList(double(b + up, up) for b, up in zip(before, ups, strict=False))
            self.head = nn.Conv2d(ups[-1], 3, 1)

    def forward(self, image):
        x, maps = image / 255, []
        for number, level in enumerate(self.levels):
            x = level(nn.functional.max_pool2d(x, 2) if number else x)
            maps.append(x)
        embedding = self.projection(self.pool(x).flatten(1))
        if self.head is None:
            return embedding, None
        for skip, step, own in zip(self.skips, self.steps, maps[-2::-1], strict=True):
            x = step(torch.cat([nn.functional.interpolate(x, scale_factor=2), skip(own)], 1))
        return embedding, self.head(x)
