import shutil

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.vocabulary import VOID

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)
SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>"


def annotated(year, stem, draw, *things, size=SIZE):
    draw(year / "JPEGImages" / f"{stem}.jpg")
    path = year / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<annotation>{size}{''.join(OBJECT.format(*thing) for thing in things)}</annotation>")
    return path


def test_real_voc_with_masks(shared_data):
    dataset = datasets.load(shared_data / "coco_as_voc", check=False)
    assert len(dataset) == 242
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "val")] == [123, 119]
    assert dataset.segmentation_classes == ("background", *dataset.classes)
    assert len(dataset.classes) == 20
    void, pixels = 0, 0
    for sample in dataset.samples[::30]:
        example = sample.read()
        assert sample.fields == {"boxes", "masks", "segmentation"}
        void += (example["segmentation"] == VOID).sum()
        pixels += example["segmentation"].size
        for mask, label, box in zip(example["masks"], example["labels"], example["boxes"], strict=True):
            assert set(np.unique(example["segmentation"][mask])) == {label + 1}
            height, width = mask.shape
            rows, columns = np.nonzero(mask)
            y1, x1, y2, x2 = box * [height, width, height, width]
            assert y1 - 1 <= rows.min() and rows.max() <= y2 and x1 - 1 <= columns.min() and columns.max() <= x2
    assert 0.005 < void / pixels < 0.2


@pytest.mark.slow
def test_real_object_counts(shared_data):
    dataset = datasets.load(shared_data / "coco_as_voc", check=False)
    counts = datasets.summary(dataset)["objects"]
    assert sum(counts.values()) == 1372
    assert {k: counts[k] for k in ("person", "bottle", "car", "train")} == {
        "person": 687,
        "bottle": 164,
        "car": 110,
        "train": 6,
    }


@pytest.mark.slow
def test_real_bccd_without_its_box_of_no_size(shared_data):
    dataset = datasets.load(shared_data / "BCCD")
    assert (len(dataset), dataset.classes, dataset.segmentation_classes) == (290, ("Platelets", "RBC", "WBC"), ())
    assert [(one.name, one.reason) for one in dataset.bad] == [
        ("BloodImage_00338", "box (504, 337) to (504, 337) has no area")
    ]
    whole = datasets.load(shared_data / "BCCD", check=False)
    assert [sum(s.split == split for s in whole.samples) for split in ("train", "val", "test")] == [170, 63, 58]
    objects = sum(len(sample.read()["labels"]) for sample in dataset.samples[::10])
    assert objects > 300


def test_boxes_count_from_one_and_include_their_ends(tmp_path, draw):
    annotated(tmp_path, "a", draw, ("cow", 0, 1, 1, 30, 20), ("person", 1, 4, 3, 9, 12))
    draw(tmp_path / "SegmentationClass/a.png", np.full((20, 30), 10, np.uint8), palette=True)
    instances = np.full((20, 30), VOID, np.uint8)
    instances[2:12, 3:9] = 2
    instances[15:] = 1
    draw(tmp_path / "SegmentationObject/a.png", instances, palette=True)
    annotated(tmp_path, "b", draw)
    dataset = datasets.load(tmp_path)
    assert [sorted(sample.fields) for sample in dataset.samples] == [["boxes", "masks", "segmentation"], ["boxes"]]
    example = dataset.samples[0].read()
    np.testing.assert_allclose(example["boxes"], [[0, 0, 1, 1], [0.1, 0.1, 0.6, 0.3]], atol=1e-6)
    assert [dataset.classes[label] for label in example["labels"]] == ["cow", "person"]
    np.testing.assert_array_equal(example["difficult"], [False, True])
    assert not example["crowd"].any()
    assert example.keys().isdisjoint({"truncated", "occluded"})
    np.testing.assert_array_equal(example["masks"], np.stack([instances == 1, instances == 2]))
    assert (example["segmentation"] == 10).all()
    assert dataset.segmentation_classes[10] == "cow"
    assert dataset.samples[1].read()["boxes"].shape == (0, 4)


def test_images_and_annotations_as_label_tools_write_them(tmp_path, draw):
    """LabelImg and others: any folder of images, and the xml of each beside it in annotations/."""
    annotated(tmp_path, "a", draw, ("cell", 0, 2, 2, 9, 9))
    annotated(tmp_path, "b", draw)
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    (tmp_path / "Annotations").rename(tmp_path / "annotations")
    assert datasets.format_of(tmp_path) == "voc"
    dataset = datasets.load(tmp_path)
    assert [(sample.name, len(sample.read()["boxes"])) for sample in dataset] == [("a", 1), ("b", 0)]
    assert dataset.classes == ("cell",)


def test_flags_of_objects(tmp_path, draw):
    """VOC2007 has no `occluded`; other tools leave out what they do not know."""
    path = annotated(tmp_path, "a", draw, ("cow", 0, 1, 1, 30, 20), ("cow", 0, 2, 2, 9, 9), ("cow", 1, 3, 3, 9, 9))
    text = path.read_text()
    for flag in ("<truncated>1</truncated>", "", "<truncated>0</truncated>"):
        text = text.replace("</name><difficult>", f"</name>{flag}<difficult>", 1)
    path.write_text(text)
    annotated(tmp_path, "b", draw, ("cow", 0, 1, 1, 30, 20))
    first, second = (sample.read() for sample in datasets.load(tmp_path).samples)
    np.testing.assert_array_equal(first["truncated"], [True, False, False])
    np.testing.assert_array_equal(first["difficult"], [False, False, True])
    assert first["truncated"].dtype == bool and "occluded" not in first
    assert "truncated" not in second


def test_real_flags(shared_data):
    """The flags of VOC2012's objects, counted in the text of the files."""
    texts = [path.read_text() for path in (shared_data / "VOCdevkit/VOC2012/Annotations").glob("*.xml")]
    objects, difficult, truncated = (
        sum(text.count(tag) for text in texts) for tag in ("<object>", "<difficult>1", "<truncated>1")
    )
    assert difficult > 20 and truncated > 50
    dataset = datasets.load(shared_data / "VOCdevkit", check=False)
    examples = [s.read() for s in dataset.samples if s.name.startswith("VOC2012/") and "boxes" in s.fields]
    assert sum(len(e["labels"]) for e in examples) == objects
    assert sum(e["difficult"].sum() for e in examples) == difficult
    assert sum(e.get("truncated", np.zeros(1)).sum() for e in examples) == truncated
    assert not any(e["crowd"].any() or "occluded" in e for e in examples)


def test_two_years_and_their_lists(tmp_path, draw):
    for year, stem in (("VOC2007", "1"), ("VOC2012", "1"), ("VOC2012", "2")):
        annotated(tmp_path / "VOCdevkit" / year, stem, draw, ("cat", 0, 2, 2, 9, 9))
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets"
    for path, text in (("Main/trainval.txt", "1\n2\n"), ("Main/val.txt", "2\n"), ("Segmentation/test.txt", "1\n")):
        (lists / path).parent.mkdir(parents=True, exist_ok=True)
        (lists / path).write_text(text)
    dataset = datasets.load(tmp_path)
    assert {sample.name: sample.split for sample in dataset.samples} == {
        "VOC2007/1": None,
        "VOC2012/1": "test",
        "VOC2012/2": "val",
    }


def test_every_bad_case_is_named(tmp_path, draw):
    good = ("cell", 0, 2, 2, 9, 9)
    for k in range(4):
        annotated(tmp_path, f"good{k}", draw, good)
    annotated(tmp_path, "broken_xml", draw).write_text("<annotation><object>")
    annotated(tmp_path, "outside", draw, ("cell", 0, 2, 2, 400, 9))
    annotated(tmp_path, "line", draw, ("cell", 0, 2, 2, 2, 9))
    annotated(tmp_path, "turned", draw, good, size=SIZE.replace("30", "20", 1))
    annotated(tmp_path, "no_number", draw, ("cell", 0, "two", 2, 9, 9))
    annotated(tmp_path, "no_image", draw, good)
    (tmp_path / "JPEGImages/no_image.jpg").unlink()
    annotated(tmp_path, "truncated", draw, good)
    image = tmp_path / "JPEGImages/truncated.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    annotated(tmp_path, "mask_size", draw, good)
    draw(tmp_path / "SegmentationObject/mask_size.png", np.zeros((30, 20), np.uint8))
    annotated(tmp_path, "mask_index", draw, good)
    draw(tmp_path / "SegmentationObject/mask_index.png", np.full((20, 30), 2, np.uint8))
    annotated(tmp_path, "mask_value", draw, good)
    draw(tmp_path / "SegmentationClass/mask_value.png", np.full((20, 30), 2, np.uint8))
    shutil.copy(tmp_path / "JPEGImages/good0.jpg", tmp_path / "JPEGImages/nobody_looked.jpg")
    annotated(tmp_path, "no_name", draw, ("", 0, 2, 2, 9, 9))
    dataset = datasets.load(tmp_path, max_bad=0.9)
    assert dataset.classes == ("cell",)
    assert [s.name for s in dataset.samples] == ["good0", "good1", "good2", "good3", "nobody_looked"]
    assert dataset.samples[-1].fields == frozenset()
    reasons = {one.name: one.reason for one in dataset.bad}
    expected = {
        "broken_xml": "annotation broken_xml.xml is broken: no element found",
        "outside": "outside the image of 30 x 20",
        "line": "box (2, 2) to (2, 9) has no area",
        "turned": "but the xml says 20 x 20",
        "no_name": "an object has no name",
        "no_number": "object cell has no bndbox",
        "no_image": "image no_image.jpg is missing",
        "truncated": "image truncated.jpg cannot be decoded: image file is truncated",
        "mask_size": "mask of 30 x 20 pixels, but its image has 20 x 30",
        "mask_index": "object mask holds index 2, but the xml has 1 objects",
        "mask_value": "segmentation value 2, but there are 2 classes (0 to 1)",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name]
    with pytest.raises(Exception, match="11 of 16 samples are bad"):
        datasets.load(tmp_path)
