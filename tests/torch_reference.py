"""What torchvision computes, in a process of its own: where TensorFlow is loaded, the import of triton, which comes
with PyTorch for GPUs, ends the process."""

import importlib.util
import pickle
import subprocess
import sys

import numpy as np


def asked(name: str, *arguments):
    """The result of a function below. The test is skipped where torchvision is missing."""
    import pytest

    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed: pip install kerastransfer[test]")
    done = subprocess.run([sys.executable, __file__, name], input=pickle.dumps(arguments), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return pickle.loads(done.stdout)


def deformable(values, *, stride, dilation, modulated):
    """Deformable convolution of {"x", "kernel", "offsets", "mask"} as `ops.deformable` reads them: the output, and the
    gradients of half its sum of squares."""
    import torch
    from torchvision.ops import deform_conv2d

    given = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    out = deform_conv2d(
        given["x"].permute(0, 3, 1, 2),
        given["offsets"].permute(0, 3, 1, 2),
        given["kernel"].permute(3, 2, 0, 1),
        stride=stride,
        padding=dilation * (values["kernel"].shape[0] // 2),
        dilation=dilation,
        mask=given["mask"].permute(0, 3, 1, 2) if modulated else None,
    ).permute(0, 2, 3, 1)
    ((out**2).sum() / 2).backward()
    return _array(out), {name: _array(value.grad) for name, value in given.items() if value.grad is not None}


def many_deformable(cases):
    """`deformable` of [(values, options), ...]: loading torchvision takes longer than all of them."""
    return [deformable(values, **options) for values, options in cases]


def offset_layer(x, weights, *, stride, dilation, modulated):
    """A convolution that finds the offsets, and the sigmoids of the factors, and torchvision's operator on them.

    weights: kernel and bias of the inner convolution, kernel and bias of the outer one, as Keras has them.
    Returns the output and the largest offset.
    """
    import torch
    from torchvision.ops import deform_conv2d

    x = torch.tensor(x).permute(0, 3, 1, 2)
    inner, inner_bias, kernel, bias = map(torch.tensor, weights)
    where = {"stride": stride, "padding": dilation, "dilation": dilation}
    found = torch.nn.functional.conv2d(x, inner.permute(3, 2, 0, 1), inner_bias, **where)
    shifts = found.shape[1] * 2 // 3 if modulated else found.shape[1]
    mask = found[:, shifts:].sigmoid() if modulated else None
    out = deform_conv2d(x, found[:, :shifts], kernel.permute(3, 2, 0, 1), bias, mask=mask, **where)
    return _array(out.permute(0, 2, 3, 1)), float(found[:, :shifts].abs().max())


def many_offset_layers(cases):
    return [offset_layer(x, weights, **options) for x, weights, options in cases]


def resnets(names, image):
    """{name: (weights, maps, parameters)} of torchvision's networks with random weights and statistics: their state by
    torchvision's names, the maps c1..c5 of an image (B, H, W, 3) that was preprocessed, and the number of trained
    weights without those of the last layer."""
    import torch
    import torchvision

    found = {}
    for name in names:
        torch.manual_seed(0)
        net = getattr(torchvision.models, name)(weights=None).eval()
        for key, value in net.state_dict().items():
            if ("bn" in key or "downsample.1" in key) and value.dtype == torch.float32:
                value.copy_(torch.empty_like(value).uniform_(0.5, 1.5) - (0.4 if "running_var" not in key else 0))
        with torch.inference_mode():
            x = net.relu(net.bn1(net.conv1(torch.tensor(image).permute(0, 3, 1, 2))))
            maps = [x]
            x = net.maxpool(x)
            for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
                x = stage(x)
                maps.append(x)
        parameters = sum(value.numel() for key, value in net.named_parameters() if not key.startswith("fc"))
        state = {key: _array(value) for key, value in net.state_dict().items() if not key.startswith("fc")}
        found[name] = state, [_array(one.permute(0, 2, 3, 1)) for one in maps], parameters
    return found


def torch_name(variable):
    """ "c3_1_2_conv/kernel" is "layer2.0.conv2.weight" in torchvision, "c3_1_shortcut_bn/gamma" is
    "layer2.0.downsample.1.weight"."""
    layer, kind = variable.path.split("/")[-2:]
    stage, *rest, operation = layer.split("_")
    kind = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(
        kind, kind.replace("moving_variance", "running_var")
    )
    kind = kind.replace("moving_mean", "running_mean")
    if stage == "c1":
        return f"{operation}1.{kind}"
    block, place = rest
    inner = f"downsample.{('conv', 'bn').index(operation)}" if place == "shortcut" else operation + place
    return f"layer{int(stage[1]) - 1}.{int(block) - 1}.{inner}.{kind}"


def label_encoder(weights, label_map):
    """LabelEnc's label encoder, layer by layer as its table says: the maps of strides 4 to 32, as Keras has them.

    weights: {name of a layer here: its weights as Keras has them}.
    """
    import torch
    from torch.nn.functional import conv2d, relu

    def convolution(x, name, stride=1):
        kernel, *bias = (torch.tensor(value) for value in weights[name])
        kernel = kernel.permute(3, 2, 0, 1)
        return conv2d(x, kernel, *bias, stride=stride, padding=kernel.shape[-1] // 2)

    x = convolution(torch.tensor(label_map).permute(0, 3, 1, 2), "stem", 2)
    found = []
    for stride, blocks in ((4, 1), (8, 2), (16, 2), (32, 1)):
        for block in range(1, blocks + 1):
            name, step = f"s{stride}_{block}", 2 if block == 1 else 1
            y = relu(convolution(x, f"{name}_1"))
            y = convolution(relu(convolution(y, f"{name}_2", step)), f"{name}_3")
            x = relu(y + (convolution(x, f"{name}_shortcut", step) if block == 1 else x))
        found.append(_array(x.permute(0, 2, 3, 1)))
    return found


def layer_norms(maps):
    """Every map (B, h, w, D) normalized over all but the batch."""
    import torch

    found = [torch.tensor(one).permute(0, 3, 1, 2) for one in maps]
    return [_array(torch.nn.functional.layer_norm(one, one.shape[1:]).permute(0, 2, 3, 1)) for one in found]


def detectors(image, boxes):
    """RetinaNet and Faster R-CNN of torchvision on ResNet-18, with random weights and statistics, for a preprocessed
    image (B, H, W, 3): {name: (weights, outputs)}. "retinanet" gives "classes" (B, N, 3) and "boxes" (B, N, 4) of
    all its anchors; "faster_rcnn" the maps of its first stage by level and, of boxes (N, (x1, y1, x2, y2)) in pixels,
    "classes" (N, 4) and "boxes" (N, 16), pooled with aligned pixels."""
    import torch
    from torchvision.models.detection import FasterRCNN, RetinaNet
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import MultiScaleRoIAlign, roi_align
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    def backbone(**options):
        return resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=torch.nn.BatchNorm2d, **options
        )

    def alive(net):
        """So that activations keep their size from layer to layer, and nothing is 0 or 1."""
        random = torch.Generator().manual_seed(0)
        for key, value in net.state_dict().items():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=random) * value[0].numel() ** -0.5)
            elif value.dtype == torch.float32:
                shift = 0.5 if ("bn" in key or "downsample.1" in key) and not key.endswith(("bias", "mean")) else -0.5
                value.copy_(torch.rand(value.shape, generator=random) + shift)
        return net.eval()

    def found(net, outputs):
        return {key: _array(value) for key, value in net.state_dict().items()}, {
            key: _array(value) for key, value in outputs.items()
        }

    x, boxes = torch.tensor(image).permute(0, 3, 1, 2), torch.tensor(boxes)
    with torch.inference_mode():
        retinanet = alive(
            RetinaNet(backbone(returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(512, 256)), num_classes=3)
        )
        said = retinanet.head(list(retinanet.backbone(x).values()))
        one_stage = {"classes": said["cls_logits"], "boxes": said["bbox_regression"]}

        faster_rcnn = alive(FasterRCNN(backbone(), num_classes=4))
        maps = faster_rcnn.backbone(x)
        scores, differences = faster_rcnn.rpn.head(list(maps.values()))
        two_stages = {f"p{n}_classes": one.permute(0, 2, 3, 1) for n, one in enumerate(scores, 2)}
        two_stages |= {f"p{n}_boxes": one.permute(0, 2, 3, 1) for n, one in enumerate(differences, 2)}
        # Its own choice of levels; it pools without the half pixel that Detectron2 corrected.
        heads = faster_rcnn.roi_heads
        heads.box_roi_pool(maps, [boxes], [tuple(x.shape[2:])])
        levels = heads.box_roi_pool.map_levels([boxes])
        assert isinstance(heads.box_roi_pool, MultiScaleRoIAlign)
        pooled = torch.zeros(len(boxes), 256, 7, 7)
        for level, features in enumerate(list(maps.values())[:4]):
            own = torch.nonzero(levels == level)[:, 0]
            pooled[own] = roi_align(features, [boxes[own]], 7, 0.5 ** (level + 2), sampling_ratio=2, aligned=True)
        classes, refined = heads.box_predictor(heads.box_head(pooled))
        two_stages |= {"classes": classes, "boxes": refined}
    return {"retinanet": found(retinanet, one_stage), "faster_rcnn": found(faster_rcnn, two_stages)}


def detection():
    """All of `detection_references`: loading torchvision takes longer than all of them."""
    import detection_references

    return detection_references.made()


def _array(tensor):
    return np.ascontiguousarray(tensor.detach().numpy())


if __name__ == "__main__":
    arguments = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(globals()[sys.argv[1]](*arguments)))
