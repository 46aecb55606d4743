"""YOLOv1 from a cfg."""

import pytest

from kerastransfer.encoders import yolov1 as encoders
from kerastransfer.encoders.yolov1 import POOL
from kerastransfer.errors import UserError
from kerastransfer.models.darknet_cfg import parse
from kerastransfer.models.yolov1_cfg import yolov1_of_cfg

NARROW = (((4, 3, 2),), ((4, 3), POOL), ((6, 3, 2),), ((8, 3, 2),), ((8, 1),))  # stride 16
CFG = (
    "[net]\nwidth=48\nheight=48\n"
    + "".join(
        "[maxpool]\nsize=2\nstride=2\n"
        if row == POOL
        else f"[convolutional]\nbatch_normalize=1\nfilters={row[0]}\nsize={row[1]}\nstride={(*row, 1)[2]}\n"
        "pad=1\nactivation=leaky\n"
        for stage in NARROW
        for row in stage
    )
    + "[local]\nsize=3\nstride=1\npad=1\nfilters=3\nactivation=leaky\n[dropout]\nprobability=.5\n"
    "[connected]\noutput= 153\nactivation=linear\n"
    "[detection]\nclasses=2\ncoords=4\nrescore=1\nside=3\nnum=3\nsoftmax=0\nsqrt=1\n"
)


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setitem(encoders.TABLES, "narrow", NARROW)


def test_net_and_codec(known):
    model, codec = yolov1_of_cfg(parse(CFG))
    assert (codec.num_classes, codec.boxes_per_cell, codec.sizes, codec.layout) == (2, 3, "root", "darknet")
    assert model.compute_output_shape((1, 48, 48, 3)) == (1, 3 * 3 * (2 + 3 * 5))
    widths = {layer.name: layer.filters for layer in model.get_layer("encoder").layers if hasattr(layer, "filters")}
    table = encoders.layers_by_name(NARROW).items()
    assert widths == {f"{name}_conv": layer[0] for name, layer in table if layer != encoders.POOL}
    assert model.get_layer("head").get_layer("local").filters == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("filters=8", "filters=9", "section 5 .convolutional.: the net up to here is of no known table"),
        ("[local]", "[conv]", r"read as YOLOv1 a cfg has convolutions and pools, then .local., .dropout."),
        ("batch_normalize=1", "batch_normalize=0", "section 0 .*batch_normalize=0, but"),
        ("batch_normalize=1\n", "", "section 0 .*batch_normalize=0, but"),
        ("side=3", "side=4", r"side=4 with a map of 3 x 3 and output=153; .* 4 \* 4 \* 17 = 272"),
        ("num=3", "num=2", r"3 \* 3 \* 12 = 108"),
        ("softmax=0", "softmax=1", "softmax=1, but"),
    ],
)
def test_other_nets_are_refused(old, new, message, known):
    with pytest.raises(UserError, match=message):
        yolov1_of_cfg(parse(CFG.replace(old, new)))
