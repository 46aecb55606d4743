"""Masks coded by colour, in every layout that has masks of classes."""

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

ROAD, CAR, SKY, VOC_VOID = (128, 64, 128), (64, 0, 128), (128, 128, 128), (224, 224, 192)
TABLES = {
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:64,0,128:wheel:\n",
    "label_colors.txt": "0 0 0 Background\n128 64 128\troad\n64 0 128\t\tcar\n",
    "class_dict.csv": "name, r, g, b\nbackground,0,0,0\nroad, 128, 64, 128\ncar,64,0,128\n",
}


def stripes(*colours):
    """A mask (20, 30, 3) of vertical stripes."""
    return np.array(colours, np.uint8)[np.resize(np.arange(len(colours)), (20, 30))]


def values(*numbers):
    return np.resize(np.array(numbers, np.uint8), (20, 30))


def pair(root, name, mask, draw, folders=("images", "masks"), suffix=""):
    draw(root / folders[0] / f"{name}.jpg")
    draw(root / folders[1] / f"{name}{suffix}.png", mask)


@pytest.mark.parametrize("file", TABLES)
def test_tables_of_every_form(tmp_path, draw, file):
    pair(tmp_path, "a", stripes((0, 0, 0), ROAD, CAR), draw)
    (tmp_path / file).write_text(TABLES[file])
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "road", "car")
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(0, 1, 2))
    assert dataset.notes == ()


def test_void_and_background_in_any_place_and_two_colours_of_a_class(tmp_path, draw):
    pair(tmp_path, "a", stripes(SKY, ROAD, (1, 1, 1), (2, 2, 2), CAR, VOC_VOID, (3, 3, 3)), draw)
    lines = ("sky:128,128,128::", "Void:1,1,1::", "road:128,64,128::", "_background_:2,2,2::", "sky:64,0,128::")
    lines = (*lines, "ignore_region:3,3,3::")
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "sky", "road")
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(1, 2, VOID, 0, 1, VOID, VOID))
    assert dataset.notes == ("pixels of Void, ignore_region are void: they are no class",)


def test_a_colour_that_the_table_lacks_makes_a_bad_sample(tmp_path, draw):
    for name in "ab":
        pair(tmp_path, name, stripes((0, 0, 0), ROAD), draw)
    pair(tmp_path, "c", stripes((0, 0, 0), (9, 8, 7), (9, 9, 9)), draw)
    pair(tmp_path, "d", stripes((0, 0, 0))[:10], draw)
    pair(tmp_path, "e", values(0, 255), draw)
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    dataset = datasets.load(tmp_path, max_bad=0.6)
    assert {one.name: one.reason for one in dataset.bad} == {
        "c": "mask c.png has 2 colours that labelmap.txt lacks: (9, 8, 7), (9, 9, 9)",
        "e": "mask e.png has a colour that labelmap.txt lacks: (255, 255, 255)",
        "d": "mask of 10 x 30 pixels, but its image has 20 x 30 pixels",
    }


def test_without_a_table_the_refusal_says_what_helps(tmp_path, draw):
    pair(tmp_path, "a", stripes((0, 0, 0), ROAD), draw)
    with pytest.raises(
        UserError,
        match=r"it has colours where one index per pixel is needed; store it grey or with a palette, or put a table of "
        r"its colours beside the folders \(labelmap\.txt, label_colors\.txt or class_dict\.csv\)",
    ):
        datasets.load(tmp_path)


def test_a_palette_of_colours_goes_by_the_table(tmp_path, draw):
    """As PASCAL VOC and many tools store it: the numbers are in any order, the colours are what people see."""
    draw(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    mask = Image.fromarray(values(0, 1, 2))
    mask.putpalette([*CAR, *(0, 0, 0), *ROAD])
    mask.save(tmp_path / "masks/a.png")
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].read()["segmentation"], values(2, 0, 1))


def test_masks_of_indices_are_read_as_without_a_table(tmp_path, draw):
    for palette in (False, True):
        draw(tmp_path / f"images/{palette}.jpg")
        draw(tmp_path / f"masks/{palette}.png", values(0, 1, 2))
    (tmp_path / "labelmap.txt").write_text("no table\n")
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "class 1", "class 2")
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(0, 1, 2))


def indexed(path, indices, palette):
    """A mask of indices, with a colour for each."""
    image = Image.fromarray(indices)
    image.putpalette([value for colour in palette for value in colour])
    image.save(path)


def test_a_list_of_names_alone_is_no_table(tmp_path, draw):
    """labelmap.txt of TensorFlow Lite has a name a line; the masks have indices, and a palette for the eye."""
    pair(tmp_path, "a", values(0), draw)
    indexed(tmp_path / "masks/a.png", values(0, 1, 2), [(0, 0, 0), ROAD, CAR])
    (tmp_path / "labelmap.txt").write_text("background\nroad\ncar\n")
    dataset = datasets.load(tmp_path)
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(0, 1, 2))
    assert dataset.notes == ("labelmap.txt names no colours, so masks are read as indices",)


def test_a_palette_of_other_colours_than_the_table_is_for_the_eye(tmp_path, draw):
    pair(tmp_path, "a", values(0), draw)
    indexed(tmp_path / "masks/a.png", values(0, 1, 2), [(0, 0, 0), (1, 2, 3), (4, 5, 6)])
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].read()["segmentation"], values(0, 1, 2))


def test_object_masks_of_voc_with_a_palette_are_read_beside_a_table(tmp_path, draw):
    pair(tmp_path, "a", values(0), draw, ("JPEGImages", "SegmentationClass"))
    indexed(tmp_path / "SegmentationClass/a.png", values(0, 1), [(0, 0, 0), ROAD])
    (tmp_path / "SegmentationObject").mkdir()
    objects = np.zeros((20, 30), np.uint8)
    objects[2:12, 3:9] = 1
    indexed(tmp_path / "SegmentationObject/a.png", objects, [(0, 0, 0), (128, 0, 0)])
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    (tmp_path / "Annotations").mkdir()
    inside = "<xmin>4</xmin><ymin>3</ymin><xmax>9</xmax><ymax>12</ymax>"
    (tmp_path / "Annotations/a.xml").write_text(
        f"<annotation><object><name>road</name><bndbox>{inside}</bndbox></object></annotation>"
    )
    dataset = datasets.load(tmp_path)
    assert dataset[0].fields == {"boxes", "masks", "segmentation"}
    np.testing.assert_array_equal(dataset[0].read()["masks"][0], objects > 0)


def test_a_grey_mask_among_coloured_ones_is_a_colour(tmp_path, draw):
    pair(tmp_path, "a", stripes((0, 0, 0), ROAD), draw)
    pair(tmp_path, "b", values(0, 128), draw)
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"] + "sky:128,128,128::\n")
    dataset = datasets.load(tmp_path)
    np.testing.assert_array_equal(dataset[1].read()["segmentation"], values(0, 3))


def test_camvid_as_kaggle_has_it(tmp_path, draw):
    """Splits in the names of the folders, and masks called NAME_L."""
    for split in ("train", "val"):
        pair(tmp_path, f"{split}1", stripes(ROAD, CAR), draw, (split, f"{split}_labels"), "_L")
    (tmp_path / "class_dict.csv").write_text(TABLES["class_dict.csv"])
    dataset = datasets.load(tmp_path)
    assert datasets.format_of(tmp_path) == "folder_pairs"
    assert {s.name: s.split for s in dataset} == {"train/train1": "train", "val/val1": "val"}
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(1, 2))


def test_folders_that_only_their_content_tells(tmp_path, draw):
    for name in "ab":
        pair(tmp_path, name, stripes(ROAD, CAR), draw, ("foo", "bar"))
    with pytest.raises(UserError, match="it looks like folder_per_class"):
        datasets.load(tmp_path, "folder_pairs")
    (tmp_path / "label_colors.txt").write_text(TABLES["label_colors.txt"])
    assert datasets.format_of(tmp_path) == "folder_pairs"
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].read()["segmentation"], values(1, 2))


def test_masks_beside_images(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "a_mask.png", stripes(ROAD, CAR))
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    assert datasets.format_of(tmp_path) == "masks_beside"
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].read()["segmentation"], values(1, 2))


def test_camvid_as_cvat_exports_it(tmp_path, draw):
    pair(tmp_path, "a", stripes(ROAD, CAR), draw, ("default", "defaultannot"))
    (tmp_path / "default/a.jpg").rename(tmp_path / "default/a.png")
    (tmp_path / "default.txt").write_text("/default/a.png /defaultannot/a.png\n")
    (tmp_path / "label_colors.txt").write_text(TABLES["label_colors.txt"])
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.segmentation_classes) == ("camvid", ("background", "road", "car"))
    assert (dataset[0].name, dataset[0].split) == ("default/a", None)
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(1, 2))


@pytest.mark.parametrize("boxes", [False, True])
def test_segmentation_masks_and_voc_as_cvat_exports_them(tmp_path, draw, boxes):
    pair(tmp_path, "a", stripes((0, 0, 0), ROAD, CAR, VOC_VOID), draw, ("JPEGImages", "SegmentationClass"))
    draw(tmp_path / "SegmentationObject/a.png", stripes((0, 0, 0), (128, 0, 0), (0, 128, 0)))
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/default.txt").write_text("a\n")
    if boxes:
        (tmp_path / "Annotations").mkdir()
        inside = "<xmin>4</xmin><ymin>3</ymin><xmax>9</xmax><ymax>12</ymax>"
        (tmp_path / "Annotations/a.xml").write_text(
            f"<annotation><object><name>road</name><bndbox>{inside}</bndbox></object></annotation>"
        )
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.segmentation_classes) == ("voc", ("background", "road", "car"))
    assert dataset[0].fields == ({"boxes", "segmentation"} if boxes else {"segmentation"})
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], values(0, 1, 2, VOID))


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("labelmap.txt", "road:128,64,128::\ncar\n", "'car' is no class with a colour; name:r,g,b:: or r g b name"),
        ("labelmap.txt", "road:::\n", "is no class with a colour"),
        ("labelmap.txt", "road:128,64,999::\n", "'128,64,999' is no colour; three numbers from 0 to 255"),
        (
            "labelmap.txt",
            "road:128,64,128::\ncar:128,64,128::\n",
            r"gives car the colour \(128, 64, 128\), which another",
        ),
        ("labelmap.txt", "background:128,64,128::\n", "names no class with a colour"),
        ("class_dict.csv", "a,b,c,d\nroad,1,2,3\n", "has no columns name, r, g and b"),
        ("class_dict.csv", "name,r,g,b\nroad,1\n", "the line 'road,1' has no name, r, g and b"),
        ("class_dict.csv", "name,r,g,b\nroad,x,1,2\n", "'x,1,2' is no colour"),
        ("labelmap.txt", "".join(f"c{k}:{k},0,1::\n" for k in range(255)), "names 255 classes; 254 are the most"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, draw, file, text, reason):
    pair(tmp_path, "a", stripes(ROAD), draw)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=f"{file}.*{reason}"):
        datasets.load(tmp_path)


def test_jpeg_masks_have_lost_their_colours(tmp_path, draw):
    pair(tmp_path, "a", stripes(ROAD, CAR), draw)
    Image.fromarray(stripes(ROAD, CAR)).save(tmp_path / "masks/a.jpg")
    (tmp_path / "masks/a.png").unlink()
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    with pytest.raises(UserError, match=r"JPEG changes the colours that labelmap\.txt names; store the masks as PNG"):
        datasets.load(tmp_path)
