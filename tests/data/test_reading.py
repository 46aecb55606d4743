"""Photos with an EXIF orientation beside annotations that count pixels as they are shown, or as they are stored."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets
from kerastransfer.data.dataset import remark, remarks
from kerastransfer.errors import UserError
from kerastransfer.tasks import images

# As it is shown: 40 wide, 20 high, white where the object is, which is at (30, 4) to (38, 16) (x, y).
SHOWN = np.zeros((20, 40, 3), np.uint8)
SHOWN[4:16, 30:38] = 255
BOX = np.array([[4 / 20, 30 / 40, 16 / 20, 38 / 40]])
TURNED = "turned upright by the EXIF orientation"
STORED = "the EXIF orientation is ignored"


def photo(path, orientation=6, shown=SHOWN):
    """A file that viewers show as `shown`; 6 and 8 are stored on the side, 3 on the head."""
    stored = np.rot90(shown, {1: 0, 3: 2, 6: 1, 8: -1}[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path, exif=exif)
    return path


def coco(folder, *, size=(20, 40), orientation=6, bbox=(30, 4, 8, 12), shown=SHOWN):
    photo(folder / "val2017/a.png", orientation, shown)
    height, width = size
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": height, "width": width}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": list(bbox)}],
    }
    (folder / "instances_val2017.json").write_text(json.dumps(content))


def white_inside(example):
    """The mean of what lies in the box: 255 where image and box belong together."""
    height, width, _ = example["image"].shape
    y1, x1, y2, x2 = np.round(example["boxes"][0] * [height, width, height, width]).astype(int)
    return example["image"][y1:y2, x1:x2].mean()


def loaded(folder, note):
    dataset = datasets.load(folder)
    assert len(dataset.notes) == 1 and note in dataset.notes[0], dataset.notes
    (sample,) = dataset.samples
    example = sample.read()
    if "boxes" in sample.fields:
        assert sample.annotations("boxes")["size"] == example["image"].shape[:2]
        np.testing.assert_array_equal(sample.annotations("boxes")["boxes"], example["boxes"])
    return example


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_yolo_counts_what_is_shown(tmp_path, orientation):
    path = photo(tmp_path / "images/a.png", orientation)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.85 0.5 0.2 0.6")
    example = loaded(tmp_path, TURNED)
    np.testing.assert_array_equal(example["image"], SHOWN)
    np.testing.assert_allclose(example["boxes"], BOX, atol=1e-6)
    np.testing.assert_array_equal(example["image"], images.read(path))  # what prediction shows the model


def test_a_json_that_states_the_size_that_is_shown(tmp_path):
    coco(tmp_path)
    example = loaded(tmp_path, TURNED)
    np.testing.assert_array_equal(example["image"], SHOWN)
    assert white_inside(example) == 255


def test_a_json_that_states_the_size_that_is_stored(tmp_path):
    coco(tmp_path, size=(40, 20), bbox=(4, 2, 12, 8))
    example = loaded(tmp_path, STORED)
    assert example["image"].shape == (40, 20, 3)
    assert white_inside(example) == 255


@pytest.mark.parametrize("orientation", [3, 6])
def test_where_the_sizes_cannot_tell_the_photo_is_turned(tmp_path, orientation):
    square = np.zeros((40, 40, 3), np.uint8)
    square[4:16, 30:38] = 255
    coco(tmp_path, size=(40, 40), orientation=orientation, shown=square)
    assert white_inside(loaded(tmp_path, TURNED)) == 255


def test_a_size_that_fits_neither_way_is_told_as_the_first_one(tmp_path):
    coco(tmp_path, size=(21, 40))
    with pytest.raises(UserError, match="image of 40 x 20 pixels, but the json says 40 x 21"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(("size", "note"), [((20, 40), TURNED), ((40, 20), STORED)])
def test_an_xml_states_the_size_too(tmp_path, size, note):
    photo(tmp_path / "JPEGImages/a.png")
    (tmp_path / "Annotations").mkdir()
    box = "<xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>"
    (tmp_path / "Annotations/a.xml").write_text(
        f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>"
        f"<object><name>cow</name><bndbox>{box}</bndbox></object></annotation>"
    )
    assert loaded(tmp_path, note)["image"].shape == (*size, 3)


@pytest.mark.parametrize(("size", "note"), [((20, 40), TURNED), ((40, 20), STORED)])
def test_a_mask_states_the_size_by_its_own(tmp_path, size, note):
    photo(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones(size, np.uint8)).save(tmp_path / "masks/a.png")
    example = loaded(tmp_path, note)
    assert example["image"].shape == (*size, 3) and example["segmentation"].shape == size


def test_photos_of_classes_are_turned(tmp_path):
    photo(tmp_path / "cat/a.png")
    np.testing.assert_array_equal(loaded(tmp_path, TURNED)["image"], SHOWN)


def test_a_photo_that_stands_upright_has_no_note(tmp_path, capsys):
    photo(tmp_path / "cat/a.png", 1)
    photo(tmp_path / "cat/b.png", 1)
    assert datasets.load(tmp_path, progress=True).notes == ()
    assert capsys.readouterr().err == ""


def test_notes_name_the_samples_and_are_printed(tmp_path, capsys):
    for number in range(5):
        photo(tmp_path / f"cat/{number}.png")
    photo(tmp_path / "cat/upright.png", 1)
    (note,) = datasets.load(tmp_path, progress=True).notes
    assert note.startswith("5 images (cat/0, cat/1, cat/2, ...): ") and TURNED in note
    assert capsys.readouterr().err == f"note: {note}\n"


def test_exif_behind_the_pixels_of_a_png(tmp_path):
    """Some tools append it: size and example must agree."""
    path = photo(tmp_path / "cat/a.png", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    Image.fromarray(SHOWN).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-12] + chunk + whole[-12:])
    (sample,) = datasets.load(tmp_path).samples
    assert sample.annotations()["size"] == sample.read()["image"].shape[:2] == (40, 20)


def test_a_tiff_is_turned_once(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.rot90(SHOWN)).save(tmp_path / "cat/a.tif", exif=exif)
    (sample,) = datasets.load(tmp_path).samples
    np.testing.assert_array_equal(sample.read()["image"], SHOWN)
    assert sample.annotations()["size"] == (20, 40)


def test_remarks_are_heard_by_who_listens():
    remark("nobody listens")
    with remarks() as heard:
        remark("one")
        with remarks() as inner:
            remark("two")
        remark("three")
    assert (heard, inner) == (["one", "three"], ["two"])
