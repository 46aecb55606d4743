"""Damaged annotations of every layout: each is read, left out with a reason, or refused in one line; never a traceback.

KERASTRANSFER_FUZZ=100000 pytest tests/data/test_hostile_files.py       # files in all; the default is 10,000
"""

import base64
import io
import json
import os
import shutil
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

from kerastransfer.data import datasets  # noqa: E402
from kerastransfer.data.layouts import LAYOUTS  # noqa: E402
from kerastransfer.errors import UserError  # noqa: E402

PICTURE = io.BytesIO()
Image.new("L", (3, 2), 255).save(PICTURE, "PNG")
FILES = int(os.environ.get("KERASTRANSFER_FUZZ", "10000"))
# One damaged file may take so long.
SECONDS = 10
BOX = "<bndbox><xmin>4</xmin><ymin>3</ymin><xmax>9</xmax><ymax>10</ymax></bndbox>"
XML = (
    "<annotation><filename>a.png</filename><size><width>30</width><height>20</height></size>"
    f"<object><name>cat</name><difficult>0</difficult>{BOX}</object></annotation>"
)
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [3, 4, 5, 6], "area": 30, "iscrowd": 0}
        | {"segmentation": [[3, 4, 8, 4, 8, 10, 3, 10]]},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [3, 4, 5, 6], "area": 30, "iscrowd": 1}
        | {"segmentation": {"size": [20, 30], "counts": [100, 50, 450]}},
    ],
}
SHAPES = [
    {"label": "cat", "points": [[3, 2], [9, 2], [9, 12]], "shape_type": "polygon", "group_id": None},
    {"label": "dog", "points": [[3, 2], [9, 12]], "shape_type": "rectangle", "group_id": 2},
]
LABELME = {"imagePath": "a.png", "imageHeight": 20, "imageWidth": 30, "shapes": SHAPES}
BOXES = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,30,20,cat,3,4,9,10\n"
CVAT = (
    "<annotations><version>1.1</version><meta><task><name>t</name></task></meta>"
    '<image id="0" name="a.png" width="30" height="20">'
    '<box label="cat" occluded="0" xtl="3.00" ytl="4.00" xbr="9.00" ybr="10.00" rotation="30.00" group_id="1"/>'
    '<polygon label="dog" occluded="1" points="3.00,2.00;9.00,2.00;9.00,12.00" group_id="2"/>'
    '<ellipse label="dog" cx="12.00" cy="9.00" rx="6.00" ry="3.00" rotation="20.00"/>'
    '<mask label="cat" rle="1, 3, 2" left="4" top="5" width="3" height="2"/><tag label="x"/></image></annotations>'
)
REGIONS = [
    {"name": "rect", "x": 3, "y": 4, "width": 5, "height": 6},
    {"name": "polygon", "all_points_x": [3, 9, 9], "all_points_y": [2, 2, 12]},
    {"name": "ellipse", "cx": 12, "cy": 9, "rx": 6, "ry": 3, "theta": 0.5},
    {"name": "circle", "cx": 12, "cy": 9, "r": 6},
]
VIA = {
    "a.png123": {"filename": "a.png", "size": 123, "file_attributes": {}}
    | {"regions": [{"shape_attributes": one, "region_attributes": {"kind": "cat"}} for one in REGIONS]}
}
CREATEML = [
    {"image": "a.png"}
    | {"annotations": [{"label": "cat", "coordinates": {"x": 6.5, "y": 7, "width": 6, "height": 5}} for _ in range(2)]}
]
SUPERVISELY = {
    "size": {"height": 20, "width": 30},
    "objects": [
        {"classTitle": "cat", "geometryType": "rectangle", "points": {"exterior": [[3, 2], [8, 11]], "interior": []}},
        {"classTitle": "dog", "geometryType": "polygon", "instance": "x"}
        | {"points": {"exterior": [[3, 2], [9, 2], [9, 12]], "interior": [[[5, 3], [7, 3], [7, 5]]]}},
        {"classTitle": "dog", "geometryType": "bitmap"}
        | {"bitmap": {"origin": [4, 5], "data": base64.b64encode(zlib.compress(PICTURE.getvalue())).decode()}},
    ],
}
PENN = 'Bounding box for object 1 "PASperson" (Xmin, Ymin) - (Xmax, Ymax) : (1, 1) - (30, 20)\n'

# {layout: (pictures by name, text files by name, the file that is damaged)}; a picture is None, for a photo, or the
# value or colour of a mask.
SETS = {
    "coco": ({"val/a.png": None}, {"annotations/instances_val.json": json.dumps(COCO)}, None),
    "voc": ({"JPEGImages/a.png": None}, {"Annotations/a.xml": XML}, None),
    "voc lists": (
        {"JPEGImages/a.png": None},
        {"Annotations/a.xml": XML, "ImageSets/Main/train.txt": "a\n"},
        "ImageSets/Main/train.txt",
    ),
    "voc_xml": ({"a.png": None}, {"a.xml": XML}, None),
    "penn_fudan": ({"PNGImages/a.png": None, "PedMasks/a_mask.png": 1}, {"Annotation/a.txt": PENN}, None),
    "oxford_pet": (
        {"images/Cat_1.png": None, "annotations/trimaps/Cat_1.png": 1},
        {"annotations/xmls/Cat_1.xml": XML},
        None,
    ),
    "oxford_pet lists": (
        {"images/Cat_1.png": None, "annotations/trimaps/Cat_1.png": 1},
        {"annotations/trainval.txt": "Cat_1 1 1 1\n"},
        None,
    ),
    "cub": (
        {"images/a.png": None},
        {
            "images.txt": "1 a.png\n",
            "image_class_labels.txt": "1 1\n",
            "classes.txt": "1 cat\n",
            "bounding_boxes.txt": "1 3 4 5 6\n",
        },
        "bounding_boxes.txt",
    ),
    "cub images": (
        {"images/a.png": None},
        {
            "bounding_boxes.txt": "1 3 4 5 6\n",
            "image_class_labels.txt": "1 1\n",
            "classes.txt": "1 cat\n",
            "images.txt": "1 a.png\n",
        },
        "images.txt",
    ),
    "cub classes": (
        {"images/a.png": None},
        {
            "bounding_boxes.txt": "1 3 4 5 6\n",
            "image_class_labels.txt": "1 1\n",
            "classes.txt": "1 cat\n",
            "images.txt": "1 a.png\n",
        },
        "classes.txt",
    ),
    "camvid": ({"train/a.png": None, "trainannot/a.png": 1}, {"train.txt": "train/a.png trainannot/a.png\n"}, None),
    "yolo_txt": (
        {"images/a.png": None},
        {"labels/a.txt": "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.4 0.1 0.4 0.4\n", "data.yaml": "names: [cat, dog]"},
        "labels/a.txt",
    ),
    "yolo_txt yaml": (
        {"images/a.png": None},
        {
            "labels/a.txt": "0 0.5 0.5 0.2 0.2\n",
            "data.yaml": "path: .\ntrain: images\nval:\n  - images\nnames:\n  0: cat\n  1: dog\n",
        },
        "data.yaml",
    ),
    "images_masks": ({"images/a.png": None, "masks/a.png": 1}, {"classes.txt": "cat\n"}, None),
    "images_masks colours": (
        {"images/a.png": None, "masks/a.png": (64, 0, 128)},
        {"labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:64,0,128::\nVoid:1,1,1::\n"},
        None,
    ),
    "voc colours": (
        {"JPEGImages/a.png": None, "SegmentationClass/a.png": (64, 0, 128)},
        {"class_dict.csv": "name,r,g,b\nroad,0,0,0\ncar,64,0,128\n"},
        None,
    ),
    "camvid colours": (
        {"train/a.png": None, "trainannot/a.png": (64, 0, 128)},
        {"label_colors.txt": "0 0 0\troad\n64 0 128\tcar\n"},
        None,
    ),
    "cvat_xml": ({"images/a.png": None}, {"annotations.xml": CVAT}, None),
    "via": ({"a.png": None}, {"via.json": json.dumps(VIA)}, None),
    "via project": (
        {"a.png": None},
        {"via.json": json.dumps({"_via_settings": {"core": {}}, "_via_img_metadata": VIA})},
        None,
    ),
    "createml": ({"a.png": None}, {"annotations.json": json.dumps(CREATEML)}, None),
    "supervisely": ({"img/a.png": None}, {"ann/a.png.json": json.dumps(SUPERVISELY)}, None),
    "labelme": ({"a.png": None}, {"a.json": json.dumps(LABELME)}, None),
    "box_table": ({"a.png": None}, {"boxes.csv": BOXES}, None),
    "image_list": ({"a.png": None, "b.png": None}, {"list.csv": "path,label\na.png,cat\nb.png,dog\n"}, None),
    "folder_per_class": ({"cat/a.png": None, "dog/b.png": None}, {"train.txt": "cat/a.png\n"}, None),
}
# What is put in place of a piece of a file.
PIECES = [
    *("", "0", "-1", "1e999", "nan", "NaN", "Infinity", "null", "true", "[]", "{}", '""', "'", '"', "\\", "\x00"),
    *("../../x.png", "/etc/passwd", "x" * 300, "9" * 400, "\n", "\r", "\x1b[2J", "é", "[" * 200, "{" * 200, ",", ":"),
    *(
        "<",
        ">",
        "&a;",
        "<!DOCTYPE a [<!ENTITY a 'x'>]>",
        "\ufeff",
        "- ",
        " ",
        "0.5",
        "2",
        "1.5",
        '[[1,2,"a"]]',
        "\u2028",
    ),
]


def values():
    leaves = st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.sampled_from(PIECES)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2)
    )


@st.composite
def damaged_text(draw, text):
    """A file with a few of its pieces replaced, cut off, or written twice; or any bytes."""
    data = text.encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        piece = draw(st.sampled_from(PIECES).map(str.encode) | st.binary(max_size=6) | st.just(data[:200]))
        data = draw(st.sampled_from([data[:start] + piece + data[end:], data[:start], data[:end] + data[start:]]))
    return data


@st.composite
def damaged_json(draw, text):
    """A json in which any value stands in place of one of its own; or a key is missing."""
    content = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.integers(0, 4)):
                place = place[key]
                continue
            if draw(st.integers(0, 5)):
                place[key] = draw(values())
            else:
                del place[key]
            break
    return json.dumps(content).encode()


def build(folder, pictures, texts, draw):
    for name, mask in pictures.items():
        draw(folder / name, (20, 30) if mask is None else np.full((20, 30, *np.shape(mask)), mask, np.uint8))
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_every_layout_with_annotations_is_here():
    """What is left has no text to damage but its pictures."""
    assert LAYOUTS.keys() - {name.split()[0] for name in SETS} == {"dsb2018", "folder_pairs", "masks_beside"}


@pytest.mark.parametrize("name", SETS)
def test_the_whole_file_is_read(name, tmp_path, draw):
    """Before it is damaged; else nothing would be tried."""
    pictures, texts, _ = SETS[name]
    build(tmp_path, pictures, texts, draw)
    dataset = datasets.load(tmp_path, name.split()[0])
    assert len(dataset) and not dataset.bad and all(sample.fields for sample in dataset)


@pytest.mark.parametrize(
    "name",
    (
        *("coco", "voc", "voc_xml", "oxford_pet", "yolo_txt", "yolo_txt yaml", "cvat_xml", "via", "createml"),
        *("supervisely", "labelme", "box_table", "image_list"),
    ),
)
def test_suffixes_in_capitals_are_no_damage(name, tmp_path, draw):
    """As some cameras and tools write them."""
    pictures, texts, _ = SETS[name]
    capitals = {Path(text).with_suffix(Path(text).suffix.upper()).as_posix(): texts[text] for text in texts}
    found = []
    for folder, files in ((tmp_path / "small/set", texts), (tmp_path / "capital/set", capitals)):
        build(folder, pictures, files, draw)
        dataset = datasets.load(folder)
        assert not dataset.bad
        found.append((dataset.classes, dataset.image_classes, [(one.name, one.fields) for one in dataset]))
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_damaged_annotations(name, tmp_path, draw):
    pictures, texts, damaged = SETS[name]
    folder = tmp_path / "data"
    build(folder, pictures, texts, draw)
    path = folder / (damaged or next(iter(texts)))
    text = path.read_text()
    files = damaged_text(text) | damaged_json(text) if path.suffix == ".json" else damaged_text(text)

    @hypothesis.settings(
        max_examples=FILES // len(SETS) + 1,
        deadline=1000 * SECONDS,
        database=None,
        derandomize="KERASTRANSFER_FUZZ" not in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(files)
    def read(data):
        path.write_bytes(data)
        for layout in ("auto", name.split()[0]):
            try:
                dataset = datasets.load(folder, layout, max_bad=1)
            except UserError as error:
                assert str(error).isprintable() and len(str(error)) < 2000
                continue
            for one in dataset.bad:
                assert one.reason.isprintable() and len(one.reason) < 1000, one
            for sample in dataset:
                sample.annotations(*sample.fields)
            return

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read()
    shutil.rmtree(folder)
