import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

META = "<version>1.1</version><meta><task><name>t</name></task></meta>"


def box(x1=3, y1=2, x2=9, y2=12, label="cat", **more):
    told = " ".join(f'{key}="{value}"' for key, value in more.items())
    return f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" {told}/>'


def image(name, *inside, width=30, height=20, more=""):
    return f'<image id="0" name="{name}" width="{width}" height="{height}" {more}>{"".join(inside)}</image>'


def write(path, *images):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{META}{"".join(images)}</annotations>')


def corners(example):
    """(y1, x1, y2, x2) in pixels of an image of 20 x 30."""
    return example["boxes"] * [20, 30, 20, 30]


def test_boxes_and_polygons_as_cvat_exports_them(tmp_path, draw):
    for name in ("a", "sub/b", "c", "d"):
        draw(tmp_path / f"images/{name}.jpg")
    polygon = '<polygon label="dog" points="20.00,10.00;26.00,10.00;26.00,14.00;20.00,14.00" occluded="1"/>'
    tag = '<tag label="indoors"/>'
    write(
        tmp_path / "annotations.xml",
        image("a.jpg", box(occluded=0), polygon, tag),
        image("sub/b.jpg", box(1, 2, 3.5, 4)),
        image("c.jpg"),
    )
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("cvat_xml", ("cat", "dog"))
    assert dataset.segmentation_classes == ("background", "cat", "dog")
    assert {s.name: sorted(s.fields) for s in dataset} == {
        "images/a": ["boxes", "masks", "segmentation"],
        "images/sub/b": ["boxes"],
        "images/c": ["boxes", "masks", "segmentation"],
        "images/d": [],
    }
    one = dataset.only(["images/a"])[0].read()
    np.testing.assert_allclose(corners(one), [[2, 3, 12, 9], [10, 20, 14, 26]], atol=1e-5)
    assert (one["labels"].tolist(), one["occluded"].tolist()) == ([0, 1], [False, True])
    # The box has no outline, so its pixels are void.
    expected = np.zeros((20, 30), np.uint8)
    expected[2:12, 3:9] = VOID
    expected[10:14, 20:26] = 2
    np.testing.assert_array_equal(one["segmentation"], expected)
    assert one["masks"].sum(axis=(1, 2)).tolist() == [0, 24]
    np.testing.assert_allclose(corners(dataset.only(["images/sub/b"])[0].read()), [[2, 1, 4, 3.5]], atol=1e-5)
    assert len(dataset.only(["images/c"])[0].read()["boxes"]) == 0
    assert any("tags of CVAT are left out" in note for note in dataset.notes)


def test_a_rotated_box_is_the_upright_box_round_it(tmp_path, draw):
    """6 x 10 turned by 90 degrees round (15, 10) is 10 x 6; by 45 degrees, it is (6 + 10) / sqrt(2) wide and high."""
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    write(
        tmp_path / "annotations.xml",
        image("a.png", box(12, 5, 18, 15, rotation=90)),
        image("b.png", box(12, 5, 18, 15, rotation=45)),
    )
    dataset = datasets.load(tmp_path)
    right, slant = (sample.read() for sample in dataset)
    np.testing.assert_allclose(corners(right), [[7, 10, 13, 20]], atol=1e-5)
    half = 8 / np.sqrt(2)
    np.testing.assert_allclose(corners(slant), [[10 - half, 15 - half, 10 + half, 15 + half]], atol=1e-5)
    assert dataset.notes == ("a rotated box is read as the upright box round it, which may be larger than its object",)
    assert not any("masks" in sample.fields for sample in dataset)


def test_a_brushed_mask_and_an_ellipse(tmp_path, draw):
    draw(tmp_path / "a.png")
    # Of 3 x 2 pixels at (4, 5): out, in, in / in, out, out
    mask = '<mask label="cat" rle="1, 3, 2" left="4" top="5" width="3" height="2" occluded="0"/>'
    oval = '<ellipse label="dog" cx="20" cy="10" rx="6" ry="3" rotation="90.00"/>'
    write(tmp_path / "annotations.xml", image("a.png", mask, oval))
    example = datasets.load(tmp_path)[0].read()
    expected = np.zeros((20, 30), bool)
    expected[5, 5:7] = expected[6, 4] = True
    np.testing.assert_array_equal(example["masks"][0], expected)
    np.testing.assert_allclose(corners(example), [[5, 4, 7, 7], [4, 17, 16, 23]], atol=1e-4)
    assert example["masks"][1].sum() == pytest.approx(np.pi * 18, rel=0.06)


def test_polygons_of_one_group_are_one_object_but_boxes_are_not(tmp_path, draw):
    draw(tmp_path / "a.png")
    parts = [f'<polygon label="cat" points="{x},2;{x + 4},2;{x + 4},6;{x},6" group_id="1"/>' for x in (2, 10)]
    write(tmp_path / "annotations.xml", image("a.png", *parts, box(group_id=1), box(group_id=1)))
    example = datasets.load(tmp_path)[0].read()
    np.testing.assert_allclose(corners(example), [[2, 2, 6, 14], [2, 3, 12, 9], [2, 3, 12, 9]], atol=1e-5)
    assert example["masks"].sum(axis=(1, 2)).tolist() == [32, 0, 0]


def test_splits_and_nesting(tmp_path, draw):
    for split in ("train", "val"):
        draw(tmp_path / f"export/{split}/images/a.jpg")
        write(tmp_path / f"export/{split}/annotations.xml", image("a.jpg", box()))
    dataset = datasets.load(tmp_path)
    assert {s.name: s.split for s in dataset} == {"train/images/a": "train", "val/images/a": "val"}
    assert dataset.notes == ("export/ is read, the only folder here in layout cvat_xml",)
    assert len(datasets.load(tmp_path / "export/train/annotations.xml")) == 1


def test_a_subset_is_a_split(tmp_path, draw):
    """As a project is exported."""
    for subset in ("Train", "Test"):
        draw(tmp_path / f"images/{subset}/{subset}.jpg")
    images = [image(f"{subset}.jpg", box(), more=f'subset="{subset}"') for subset in ("Train", "Test")]
    write(tmp_path / "annotations.xml", *images)
    assert {s.name: s.split for s in datasets.load(tmp_path)} == {
        "images/Train/Train": "train",
        "images/Test/Test": "test",
    }


def test_tracks_of_a_video_are_refused(tmp_path, draw):
    draw(tmp_path / "images/frame_000000.png")
    write(tmp_path / "annotations.xml", f'<track id="0" label="cat">{box(frame=0, outside=0, keyframe=1)}</track>')
    with pytest.raises(UserError, match=r"holds tracks of a video; export the task as 'CVAT for images 1\.1'"):
        datasets.load(tmp_path)


def test_two_layouts_are_both_named(tmp_path, draw):
    draw(tmp_path / "images/a.jpg")
    draw(tmp_path / "masks/a.png", np.zeros((20, 30), np.uint8))
    write(tmp_path / "annotations.xml", image("a.jpg", box()))
    with pytest.raises(UserError, match="can be read as images_masks and as cvat_xml"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (image("a.png", box(label="")), "a box has no label"),
        (image("a.png", box(x1="left")), "'left' is no number of pixels"),
        (image("a.png", box(x1="nan")), "no number of pixels"),
        (image("a.png", box(x1=9, x2=3)), "has no area"),
        (image("a.png", box(), width=99), "but the annotations say 99 x 20"),
        (image("a.png", box(), width="wide"), "the size in the xml is not a number"),
        (image("a.png", '<box label="cat" xtl="1"/>'), "a box has no ytl"),
        (image("a.png", '<polygon label="cat" points="1,2;3"/>'), "points are not x,y;x,y"),
        (image("a.png", '<polygon label="cat" points="1,2;3,4"/>'), "a polygon of 2 points"),
        (
            image("a.png", '<mask label="cat" rle="1,4" left="4" top="5" width="3" height="2"/>'),
            "do not add up to the 3 x 2",
        ),
        (
            image("a.png", '<mask label="cat" rle="6" left="4" top="5" width="3" height="2"/>'),
            "an object mask has no pixel",
        ),
        (
            image("a.png", '<mask label="cat" rle="0,6" left="28" top="5" width="3" height="2"/>'),
            "a mask outside the image",
        ),
        (image("a.png", '<mask label="cat" rle="0,-6,12" left="4" top="5" width="3" height="2"/>'), "do not add up"),
        (image("../a.png", box()), "outside the folder of the data set"),
        (image("/etc/passwd", box()), "outside the folder of the data set"),
        (image("", box()), "the name of its image is empty"),
        (image("gone.png", box()), "image gone.png is missing"),
        (image("b.png", box(1, 1, 2, 2)), "names it once more, with other annotations"),
    ],
)
def test_what_is_bad_is_named(tmp_path, draw, broken, reason):
    for name in "abc":
        draw(tmp_path / f"data/{name}.png")
    write(tmp_path / "data/annotations.xml", image("b.png", box()), image("c.png", box()), broken)
    dataset = datasets.load(tmp_path / "data")
    assert {"b", "c"} <= {sample.name for sample in dataset.having("boxes")} and len(dataset.having("boxes")) == 2
    assert len(dataset.bad) == 1 and reason in dataset.bad[0].reason, dataset.bad


def test_an_image_whose_name_several_have(tmp_path, draw):
    for folder in ("one", "two"):
        draw(tmp_path / folder / "a.png")
    write(tmp_path / "annotations.xml", image("a.png", box()), image("two/a.png", box()))
    dataset = datasets.load(tmp_path, max_bad=1)
    assert [one.reason for one in dataset.bad] == ["2 images are called a.png; their folders must be named too"]
    assert [sample.name for sample in dataset.having("boxes")] == ["two/a"]


def test_a_damaged_xml_is_refused_in_one_line(tmp_path, draw):
    draw(tmp_path / "a.png")
    (tmp_path / "annotations.xml").write_text(f"<annotations>{META}<image name=")
    with pytest.raises(UserError, match=r"annotations\.xml: annotation annotations\.xml is broken"):
        datasets.load(tmp_path)
