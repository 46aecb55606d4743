"""What torchvision gives for inputs that are drawn from a seed: its matcher, box coder, anchors, losses, RoIAlign,
targets of FCOS, feature pyramid and heads.

The `_inputs` can be had anywhere; what torchvision makes of them only in a process of its own (`torch_reference`).
"""

import functools
import types

import numpy as np
import torch_reference

# (x1, y1, x2, y2) of torchvision to (y1, x1, y2, x2), and back.
SWAPPED = [1, 0, 3, 2]
CLASSES = 3
CHANNELS = {"c3": 6, "c4": 7, "c5": 8}
FILTERS = 32


def expected(name: str) -> dict[str, np.ndarray]:
    """{name of an output: value} of the reference `name`. The test is skipped where torchvision is missing."""
    return _all()[name]


@functools.cache
def _all():
    return torch_reference.asked("detection")


def random_boxes(random, *shape, room=80.0, smallest=5.0, largest=60.0):
    """(*shape, (y1, x1, y2, x2)) float32."""
    near, sides = random.uniform(0, room, (*shape, 2)), random.uniform(smallest, largest, (*shape, 2))
    return np.concatenate([near, near + sides], axis=-1).astype("float32")


def matching_inputs():
    random = np.random.default_rng(1)
    return {"boxes": random_boxes(random, 7), "anchors": random_boxes(random, 300)}


def matching(boxes, anchors):
    """The object of each anchor, -1 for background, -2 for ignored."""
    import torch
    from torchvision.models.detection._utils import Matcher
    from torchvision.ops import box_iou

    overlaps = box_iou(torch.tensor(boxes), torch.tensor(anchors))
    return {str(best): Matcher(0.5, 0.4, best)(overlaps) for best in (False, True)}


def deltas_inputs():
    random = np.random.default_rng(2)
    wild = random.normal(0, 8, (20, 4)).astype("float32")
    return {"boxes": random_boxes(random, 20), "anchors": random_boxes(random, 20), "wild": wild}


def deltas(boxes, anchors, wild):
    import torch
    from torchvision.models.detection._utils import BoxCoder

    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    boxes, anchors, wild = (torch.tensor(values[:, SWAPPED]) for values in (boxes, anchors, wild))
    found = {"deltas": coder.encode_single(boxes, anchors), "corners": coder.decode_single(wild, anchors)}
    return {name: values[:, SWAPPED] for name, values in found.items()}


def anchors_inputs():
    return {"sizes": np.array([[32, 40], [64, 80]]), "ratios": np.array([0.5, 1.0, 2.0])}


def anchors(sizes, ratios):
    """Of maps of 4 x 5 and 2 x 2 cells, of an image of 32 x 40 pixels: its corners of the cells are our middles."""
    import torch
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    make = AnchorGenerator(tuple(map(tuple, sizes)), (tuple(ratios),) * 2)
    maps = [torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 2, 2)]
    return {"anchors": make(ImageList(torch.zeros(1, 3, 32, 40), [(32, 40)]), maps)[0][:, SWAPPED]}


def focal_inputs():
    random = np.random.default_rng(3)
    logits = random.normal(0, 4, (50, 3)).astype("float32")
    return {"logits": logits, "targets": random.integers(0, 2, (50, 3)).astype("float32")}


def focal(logits, targets):
    import torch
    from torchvision.ops import sigmoid_focal_loss

    logits = torch.tensor(logits, requires_grad=True)
    values = sigmoid_focal_loss(logits, torch.tensor(targets))
    values.sum().backward()
    return {"values": values.detach(), "gradient": logits.grad}


def giou_inputs():
    random = np.random.default_rng(4)
    return {"a": random_boxes(random, 40), "b": random_boxes(random, 40)}


def giou(a, b):
    import torch
    from torchvision.ops import generalized_box_iou_loss

    return {"giou": 1 - generalized_box_iou_loss(torch.tensor(a[:, SWAPPED]), torch.tensor(b[:, SWAPPED]))}


def roi_align_inputs():
    """A map (1, h, w, D) and boxes (N, 4) in its pixels: inside, and partly or wholly outside."""
    random = np.random.default_rng(11)
    features = random.normal(size=(1, 9, 12, 3)).astype("float32")
    return {"features": features, "boxes": random_boxes(random, 60, room=14, smallest=0.3, largest=12) - 3}


def roi_align(features, boxes):
    """{"aligned 2": (N, 4, 4, D), ...}: aligned or not, and the number of samples along each axis of a bin, where 0 is
    as many as it has pixels."""
    import torch
    from torchvision.ops import roi_align

    maps, boxes = torch.tensor(features).permute(0, 3, 1, 2), torch.tensor(boxes[:, SWAPPED])
    return {
        f"{'aligned' if aligned else 'older'} {ratio}": roi_align(
            maps, [boxes], 4, sampling_ratio=ratio or -1, aligned=aligned
        ).permute(0, 2, 3, 1)
        for aligned in (True, False)
        for ratio in (0, 1, 2, 3)
    }


def fcos_targets_inputs():
    """Boxes in an image of 64 x 64, and the middles and strides of maps of 8 x 8 and 4 x 4 cells."""
    boxes = np.minimum(random_boxes(np.random.default_rng(5), 12, room=44, smallest=3, largest=40), 64)
    places = []
    for rows, stride in ((8, 8), (4, 16)):
        y, x = np.meshgrid(np.arange(rows), np.arange(rows), indexing="ij")
        at = np.stack([y, x], -1).reshape(-1, 2) * stride + stride // 2
        places.append(np.concatenate([at, np.full((len(at), 1), stride)], axis=1))
    return {"boxes": boxes, "places": np.concatenate(places).astype("float32")}


def fcos_targets(boxes, places):
    """The object of each place, or -1."""
    import torch
    from torchvision.models.detection.fcos import FCOS

    at, half = places[:, :2], places[:, 2:] / 2
    anchors = torch.tensor(np.concatenate([at - half, at + half], axis=1)[:, SWAPPED])
    head = types.SimpleNamespace(compute_loss=lambda *given: given[-1])
    truth = [{"boxes": torch.tensor(boxes[:, SWAPPED]), "labels": torch.arange(len(boxes))}]
    asked = types.SimpleNamespace(center_sampling_radius=1.5, head=head)
    return {"objects": FCOS.compute_loss(asked, truth, {}, [anchors], [64, 16])[0]}


def weights(module, seed):
    """Draw all parameters of a torch module from a seed, in their order; returns {name: array}."""
    import torch

    random, found = np.random.default_rng(seed), {}
    for name, parameter in module.named_parameters():
        found[name] = random.normal(0, 0.2, tuple(parameter.shape)).astype("float32")
        with torch.no_grad():
            parameter.copy_(torch.tensor(found[name]))
    return found


def pyramid_inputs():
    """Maps (1, h, w, D) of an image of 96 x 160."""
    random = np.random.default_rng(6)
    sizes = {"c3": (12, 20), "c4": (6, 10), "c5": (3, 5)}
    return {name: random.normal(size=(1, *sizes[name], depth)).astype("float32") for name, depth in CHANNELS.items()}


def pyramid(**maps):
    """The feature pyramid of RetinaNet, the heads of RetinaNet and of FCOS on it, and the weights of all."""
    import collections

    import torch
    from torchvision.models.detection.fcos import FCOSHead
    from torchvision.models.detection.retinanet import RetinaNetHead
    from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

    found = {}
    read = collections.OrderedDict((name, torch.tensor(x).permute(0, 3, 1, 2)) for name, x in maps.items())
    for source, channels in (("encoder", CHANNELS["c5"]), ("pyramid", FILTERS)):
        net = FeaturePyramidNetwork(list(CHANNELS.values()), FILTERS, LastLevelP6P7(channels, FILTERS))
        kept = weights(net, 7)
        if source == "encoder":
            found |= {f"fpn.{name}": value for name, value in kept.items()}
        else:
            found |= {
                f"fpn_of_pyramid.{name}": value for name, value in kept.items() if name.startswith("extra_blocks")
            }
        outputs = list(net(read).values())
        found |= {f"{source}.p{level}": x.permute(0, 2, 3, 1) for level, x in enumerate(outputs, start=3)}
        if source == "encoder":
            features = outputs
    for name, head in (
        ("retinanet", RetinaNetHead(FILTERS, 2, CLASSES)),
        ("fcos", FCOSHead(FILTERS, 1, CLASSES, num_convs=1)),
    ):
        if name == "retinanet":
            # One convolution in each tower.
            for part in (head.classification_head, head.regression_head):
                part.conv = part.conv[:1]
        found |= {f"{name}.{key}": value for key, value in weights(head, 8).items()}
        for kind, x in head(features).items():
            found[f"{name}.{kind}"] = x
    return found


def second_stage_inputs():
    """Maps p2 to p5 (1, h, w, D) of an image of 512 x 512, boxes (N, 4) in pixels, of all levels, and seeds."""
    random = np.random.default_rng(9)
    maps = {f"p{n}": random.normal(size=(1, 512 >> n, 512 >> n, 4)).astype("float32") for n in (2, 3, 4, 5)}
    near, sides = random.uniform(0, 20, (12, 2)), np.geomspace(12, 490, 12)[:, None] * random.uniform(0.95, 1, (12, 2))
    return {**maps, "boxes": np.concatenate([near, near + sides], axis=1).astype("float32")}


def second_stage(boxes, **maps):
    """Of Faster R-CNN: what its box head says of boxes, and Mask R-CNN's mask head, and the weights of both. The maps
    are pooled with aligned pixels, by torchvision's own choice of levels."""
    import torch
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.ops import roi_align
    from torchvision.ops.poolers import LevelMapper

    boxes = torch.tensor(boxes[:, SWAPPED])
    levels = LevelMapper(2, 5, canonical_scale=224, canonical_level=4)([boxes])

    def pooled(size):
        found = torch.zeros(len(boxes), 4, size, size)
        for level, x in enumerate(maps.values()):
            own = torch.nonzero(levels == level)[:, 0]
            x = torch.tensor(x).permute(0, 3, 1, 2)
            found[own] = roi_align(x, [boxes[own]], size, 0.5 ** (level + 2), sampling_ratio=2, aligned=True)
        return found

    head, last = TwoMLPHead(4 * 7 * 7, 10), FastRCNNPredictor(10, CLASSES + 1)
    convolutions, masks = MaskRCNNHeads(4, (5, 5), 1), MaskRCNNPredictor(5, 5, CLASSES)
    parts = {"head": head, "last": last, "convolutions": convolutions, "masks": masks}
    found = {f"{name}.{key}": value for name, part in parts.items() for key, value in weights(part, 10).items()}
    classes, deltas = last(head(pooled(7)))
    logits = masks(convolutions(pooled(14))).permute(0, 2, 3, 1)
    return {**found, "levels": levels, "classes": classes, "boxes": deltas, "masks": logits}


REFERENCES = {
    "matching": (matching_inputs, matching),
    "deltas": (deltas_inputs, deltas),
    "anchors": (anchors_inputs, anchors),
    "focal": (focal_inputs, focal),
    "giou": (giou_inputs, giou),
    "roi_align": (roi_align_inputs, roi_align),
    "fcos_targets": (fcos_targets_inputs, fcos_targets),
    "pyramid": (pyramid_inputs, pyramid),
    "second_stage": (second_stage_inputs, second_stage),
}


def made() -> dict[str, dict[str, np.ndarray]]:
    """All references, computed by torchvision."""
    found = {name: compute(**inputs()) for name, (inputs, compute) in REFERENCES.items()}
    return {name: {key: _array(value) for key, value in values.items()} for name, values in found.items()}


def _array(value):
    value = value.detach().numpy() if hasattr(value, "detach") else value
    return value.astype("float32") if value.dtype.kind == "f" else value
