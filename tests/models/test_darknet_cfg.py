"""Darknet's cfg text: what it says, what it refuses, and the published tables."""

import pytest

from kerastransfer.errors import UserError
from kerastransfer.models.darknet_cfg import Section, anchors_of, parse, shapes
from kerastransfer.models.darknet_nets import yolov3_cfg
from kerastransfer.presets import PRESETS

NET = "[net]\nwidth=64\nheight=32\n"
HEAD = "[conv]\nfilters=14\nactivation=linear\n[yolo]\nanchors=1,2, 3,4\nclasses=2\n"

# {name: {index: (side at 416, channels, stride)}} in Darknet's cfg files.
TABLES = {
    "yolov3": {
        0: (416, 32, 1),
        1: (208, 64, 2),
        4: (208, 64, 2),
        11: (104, 128, 4),
        36: (52, 256, 8),
        61: (26, 512, 16),
        74: (13, 1024, 32),
        79: (13, 512, 32),
        80: (13, 1024, 32),
        81: (13, 255, 32),
        82: (13, 255, 32),
        83: (13, 512, 32),
        84: (13, 256, 32),
        85: (26, 256, 16),
        86: (26, 768, 16),
        91: (26, 256, 16),
        93: (26, 255, 16),
        97: (52, 128, 8),
        98: (52, 384, 8),
        103: (52, 128, 8),
        105: (52, 255, 8),
    },
    "yolov3-spp": {
        77: (13, 512, 32),
        78: (13, 512, 32),
        82: (13, 512, 32),
        83: (13, 2048, 32),
        86: (13, 512, 32),
        88: (13, 255, 32),
        93: (26, 768, 16),
        98: (26, 256, 16),
        100: (26, 255, 16),
        105: (52, 384, 8),
        110: (52, 128, 8),
        112: (52, 255, 8),
    },
    "yolov3-tiny": {
        0: (416, 16, 1),
        1: (208, 16, 2),
        8: (26, 256, 16),
        9: (13, 256, 32),
        11: (13, 512, 32),
        12: (13, 1024, 32),
        13: (13, 256, 32),
        15: (13, 255, 32),
        18: (13, 128, 32),
        19: (26, 128, 16),
        20: (26, 384, 16),
        22: (26, 255, 16),
    },
}
SECTIONS = {"yolov3": (107, 75, 10647), "yolov3-spp": (114, 76, 10647), "yolov3-tiny": (24, 13, 2535)}


@pytest.mark.parametrize("name", TABLES)
def test_published_tables(name):
    sections = parse(yolov3_cfg(name))
    count, convolutions, boxes = SECTIONS[name]
    assert len(sections) == count + 1 and [section.index for section in sections] == list(range(-1, count))
    assert sum(section.kind == "convolutional" for section in sections) == convolutions
    for side in (416, 608):
        found = shapes(sections, (side, side))
        for index, (at_416, channels, stride) in TABLES[name].items():
            assert found[index] == (at_416 * side // 416, at_416 * side // 416, channels, stride), index
        places = {level.name: (side // level.stride) ** 2 * len(level.mask) for level in anchors_of(sections).levels}
        if side == 416:
            assert sum(places.values()) == boxes
        elif name != "yolov3-tiny":
            assert sum(places.values()) == 22743


def floats(sections):
    """Numbers in a weights file: every convolution has a bias, or else four numbers per filter."""
    channels = (3, *(shape.channels for shape in shapes(sections)))
    for section in sections[1:]:
        if section.kind == "convolutional":
            read, filters = channels[section.index], channels[section.index + 1]
            each = 4 if "batch_normalize" in section.options else 1
            yield section.index, filters * (each + read * int(section.options["size"]) ** 2)


def test_floats_of_the_published_files():
    counts = {name: dict(floats(parse(yolov3_cfg(name)))) for name in SECTIONS}
    published = {"yolov3": 62_001_757, "yolov3-spp": 63_052_381, "yolov3-tiny": 8_858_734}
    assert {name: sum(count.values()) for name, count in counts.items()} == published
    # A header of 20 bytes comes first.
    assert {name: PRESETS[name].weights.size for name in published} == {n: 4 * c + 20 for n, c in published.items()}
    for name in ("yolov3", "yolov3-spp"):
        assert sum(count for index, count in counts[name].items() if index < 75) == 40_620_640


def test_anchors_and_masks():
    detections = anchors_of(parse(yolov3_cfg("yolov3", num_classes=3)))
    assert detections.num_classes == 3 and detections.ignore_thresh == 0.7
    assert detections.anchors[0] == (10, 13) and detections.anchors[8] == (373, 326)
    assert detections.scales == (1.0, 1.0, 1.0)
    assert detections.levels == (("p3", 8, (0, 1, 2)), ("p4", 16, (3, 4, 5)), ("p5", 32, (6, 7, 8)))
    tiny = anchors_of(parse(yolov3_cfg("yolov3-tiny")))
    assert tiny.levels == (("p4", 16, (0, 1, 2)), ("p5", 32, (3, 4, 5)))
    official = anchors_of(parse(yolov3_cfg("yolov3-tiny", masks=((3, 4, 5), (1, 2, 3)))))
    assert official.levels == (("p4", 16, (1, 2, 3)), ("p5", 32, (3, 4, 5)))
    own = anchors_of(parse(yolov3_cfg("yolov3-tiny", anchors=((4, 5.5), (20, 30)))))
    assert own.anchors == ((4.0, 5.5), (20.0, 30.0)) and own.levels == (("p4", 16, (0,)), ("p5", 32, (1,)))


def test_each_level_has_its_own_range_of_offsets():
    """YOLOv4's cfg has 1.2, 1.1 and 1.05, in the order of its sections, which is not that of the strides."""
    coarse = HEAD.replace("filters=14", "size=2\nstride=2\nfilters=14") + "scale_x_y=1.05\n"
    text = NET + "[conv]\nfilters=3\n" + coarse + "[route]\nlayers=0\n" + HEAD + "scale_x_y=1.2"
    found = anchors_of(parse(text))
    assert [level.stride for level in found.levels] == [1, 2] and found.scales == (1.2, 1.05)


def test_a_mean_over_the_map_is_a_number_for_each_channel():
    text = (
        NET
        + "[conv]\nfilters=6\n[avgpool]\n[conv]\nfilters=6\n[scale_channels]\nfrom=0\n[route]\nlayers=-1\ngroups=3\n"
    )
    assert [shape[:3] for shape in shapes(parse(text))] == [(32, 64, 6), (1, 1, 6), (1, 1, 6), (32, 64, 6), (32, 64, 2)]


def test_width_leaves_the_linear_convolutions():
    full, narrow = (parse(yolov3_cfg("yolov3-spp", width=width)) for width in (1, 0.2))
    for wide, thin in zip(full, narrow, strict=True):
        if wide.kind == "convolutional":
            filters = int(wide.options["filters"])
            linear = wide.options["activation"] == "linear"
            expected = 255 if linear else max(8, 8 * round(filters / 40))
            assert int(thin.options["filters"]) == expected
    shapes(narrow)  # its shortcuts still fit


def test_size_and_activation_are_written():
    sections = parse(yolov3_cfg("yolov3-tiny", image_size=(320, 224), activation="relu6"))
    assert shapes(sections)[0][:2] == (320, 224)
    assert {section.activation for section in sections if section.kind == "convolutional"} == {"relu6", "linear"}


def test_comments_spaces_aliases_and_defaults():
    text = (
        "# c\n; c\n\n [network] \n width = 64 # side\nheight=3 2\n"
        "[conv]\nsize=3\n[max]\nstride=2\n[route]\nlayers = -1, 0\n"
    )
    net, convolution, maxpool, route = parse(text)
    assert net == Section("net", {"width": "64", "height": "32"}, 4, -1)
    assert (convolution.kind, convolution.line, convolution.activation) == ("convolutional", 7, "logistic")
    assert (convolution.padding, maxpool.padding, maxpool.sources, route.sources) == (0, 1, (0,), (1, 0))
    assert str(route) == "cfg line 11: section 2 [route]"
    assert parse("[net]\na=1\na=2\n[conv]")[0].options == {"a": "1"}  # Darknet finds the first


def test_odd_sizes():
    """3 / 2 gives half, rounded up; a pool 2 / 2 the same; 2 / 1 keeps the size; no padding takes two places away."""
    text = (
        "[net]\nwidth=13\nheight=10\n[conv]\nsize=3\nstride=2\npad=1\n[max]\nsize=2\nstride=2\n[max]\nsize=2\nstride=1\n"
        "[conv]\nsize=3\nfilters=5\n"
    )
    assert [shape[:3] for shape in shapes(parse(text))] == [(5, 7, 1), (3, 4, 1), (3, 4, 1), (1, 2, 5)]


def test_a_mask_is_all_anchors_by_default():
    assert anchors_of(parse(NET + HEAD)).levels == (("p0", 1, (0, 1)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width=3\n[net]", "line 1: width= comes before any"),
        ("[net]\n\nwidth", "line 3: 'width' is neither"),
        ("[conv]\nsize=1", "line 1: .* begins with one .net."),
        ("[net]\n[conv]\n[net]", "line 3: .* begins with one .net."),
        ("[net]\nwidth=3\n# nothing", r"no section after \[net\]"),
    ],
)
def test_text_that_is_refused(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[net]\nwidth=64\n" + HEAD, "line 1: section -1 .net.: needs width and height"),
        (NET + "[conv]\nsize=two\n", "line 4: section 0 .*size=two is not a whole number"),
        (NET + "[conv]\nstride=0\n", "section 0 .*give 1 or more"),
        (NET + "[conv]\nfilters=4\ngroups=3\n", "section 0 .*3 groups do not divide 3 and 4"),
        (NET + "[conv]\nfilters=4\ndilation=2\n", "section 0 .*dilation=2 is not supported"),
        (NET + "[conv]\n[route]\nlayers=-2\n", "section 1 .*leads to section -1"),
        (NET + "[conv]\n[route]\nlayers=1\n", "section 1 .*leads to section 1 .*0 to 0"),
        (NET + "[conv]\n[route]\n", "section 1 .*has no layers="),
        (NET + "[conv]\n[shortcut]\n", "section 1 .*needs from="),
        (NET + "[conv]\n[conv]\nstride=2\n[route]\nlayers=0,1\n", "section 2 .*32 x 64, 16 x 32"),
        (NET + "[conv]\n[conv]\nfilters=2\n[shortcut]\nfrom=-2\n", r"section 2 .*\(32, 64, 2\) and \(32, 64, 1\)"),
        (NET + "[connected]\noutput=3\n", "line 4: section 0 .connected.: is not supported; .* To add it, write"),
        (NET + "[convolution]\n", "line 4: section 0 .convolution.: is not supported; net, convolutional,"),
        (NET + "[conv]\nfilters=4\n[route]\nlayers=0\ngroups=3\n", "section 1 .*has no part 0 of 3 in 4 channels"),
        (NET + "[conv]\nfilters=4\n[route]\nlayers=0\ngroups=2\ngroup_id=2\n", "has no part 2 of 2 in 4 channels"),
        (NET + "[conv]\nfilters=4\n[scale_channels]\nfrom=-1\n", r"section 1 .*not \(1, 1, 4\); fix from="),
        (NET + "[conv]\nfilters=4\n[sam]\n", "section 1 .*needs from="),
        (NET + "[conv]\nfilters=4\n[conv]\n[sam]\nfrom=0\n", r"section 2 .*joins maps of \(32, 64, 1\) and"),
        (NET + "[conv]\nstride_x=2\n", "section 0 .*stride_x and stride_y are not supported"),
        (NET + "[max]\nmaxpool_depth=1\n", "section 0 .*maxpool_depth=1 is not supported"),
        (NET + "[avgpool]\n" + HEAD, "section 2 .*stride 0; .*power of two"),
        (NET + "[conv]\nsize=65\n", "section 0 .*nothing is left"),
        (NET + "[conv]\n", "has no .yolo."),
        (NET + "[conv]\n[max]\n[yolo]\nanchors=1,2", "section 2 .*comes after .maxpool."),
        (NET + HEAD.replace("14", "15"), r"section 0 .*filters=15 before .yolo.; give 2 \* \(5 \+ 2\) = 14"),
        (NET + HEAD.replace("3,4", "3"), "section 1 .*3 numbers in anchors="),
        (NET + HEAD + "num=9\n", "section 1 .*4 numbers in anchors=.* num="),
        (NET + HEAD + "mask=1,2\n", "section 1 .*mask=1,2 of 2 anchors"),
        (NET + HEAD + "scale_x_y=0.5\n", "section 1 .*scale_x_y=0.5; give 1 or a little more"),
        (NET + HEAD + "[route]\nlayers=0\n[conv]\nstride=2\n" + HEAD.replace("3,4", "3,5"), "section 5 .*repeat them"),
        (NET + HEAD + "[route]\nlayers=-2\n" + HEAD, "section 4 .*its own power of two"),
        (NET + "[conv]\nstride=3\n" + HEAD, "section 2 .*stride 3; .*power of two"),
    ],
)
def test_nets_that_are_refused(text, message):
    with pytest.raises(UserError, match=message) as caught:
        anchors_of(parse(text))
    assert "\n" not in str(caught.value)


def test_names_and_sizes_that_are_refused():
    with pytest.raises(UserError, match="unknown net 'yolov4' of the YOLOv3 family"):
        yolov3_cfg("yolov4")
    with pytest.raises(UserError, match=r"400 x 416: .* multiples of 32"):
        yolov3_cfg("yolov3", image_size=(400, 416))
    with pytest.raises(UserError, match="3 masks came for the 2"):
        yolov3_cfg("yolov3-tiny", masks=((0,), (1,), (2,)))
