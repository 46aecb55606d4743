"""Examples decoded once: sizes, padding, memory-mapped files."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from kerastransfer.data import fields
from kerastransfer.data.dataset import BadSampleError, Dataset, Sample
from kerastransfer.data.decoded import decode
from kerastransfer.data.mask_crops import CROP, crop
from kerastransfer.data.resize import resize_image, resize_map
from kerastransfer.data.transforms import Augmentation, augment
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

FIELDS = ("boxes", "segmentation", "label")


def sample(number, boxes=2, crowd=(), difficult=(), size=(20, 30), fields=(*FIELDS, "masks")):
    random = np.random.default_rng(number)
    corners = random.random((boxes, 2, 2))
    example = {
        "image": random.integers(0, 256, (*size, 3)).astype("uint8"),
        "boxes": np.sort(corners, axis=1).reshape(-1, 4).astype("float32"),
        "masks": random.random((boxes, *size)) < 0.3,
        "labels": random.integers(0, 5, boxes).astype("int32"),
        "crowd": np.isin(np.arange(boxes), crowd),
        "difficult": np.isin(np.arange(boxes), difficult),
        "segmentation": random.choice([0, 1, 7, VOID], size).astype("uint8"),
        "label": np.int32(number),
    }
    kept = {"image", "labels", "crowd", "difficult", *fields}
    return Sample(f"{number:03d}", lambda: {k: v for k, v in example.items() if k in kept}, frozenset(fields))


def dataset(*samples):
    return Dataset("drawn", samples)


def test_everything_at_one_size_in_order():
    samples = [sample(i, boxes=i % 4, size=(20 + i, 30)) for i in range(9)]
    found = decode(dataset(*samples), FIELDS, (16, 12))
    assert found.names == tuple(s.name for s in samples) and len(found) == 9
    assert {k: (v.shape, v.dtype.name) for k, v in found.arrays.items()} == {
        "image": ((9, 16, 12, 3), "uint8"),
        "segmentation": ((9, 16, 12), "uint8"),
        "boxes": ((9, 3, 4), "float32"),
        "labels": ((9, 3), "int32"),
        "label": ((9,), "int32"),
    }
    for row, each in enumerate(samples):
        example = each.read()
        np.testing.assert_array_equal(found.arrays["image"][row], resize_image(example["image"], (16, 12)))
        np.testing.assert_array_equal(found.arrays["segmentation"][row], resize_map(example["segmentation"], (16, 12)))
        count = len(example["boxes"])
        np.testing.assert_array_equal(found.arrays["boxes"][row, :count], example["boxes"])
        np.testing.assert_array_equal(found.arrays["labels"][row, :count], example["labels"])
        assert not found.arrays["boxes"][row, count:].any() and (found.arrays["labels"][row, count:] == -1).all()
        assert found.arrays["label"][row] == row


@pytest.mark.parametrize("ignored", [{"crowd": (0, 2)}, {"difficult": (0, 2)}, {"crowd": (0,), "difficult": (2,)}])
def test_crowds_and_difficult_objects_are_left_out(ignored):
    samples = [sample(0, 4, **ignored), sample(1, 1, crowd=(0,))]
    found = decode(dataset(*samples), ("boxes",), (8, 8)).arrays
    np.testing.assert_array_equal(found["boxes"][0], samples[0].read()["boxes"][[1, 3]])
    np.testing.assert_array_equal(found["labels"][0], samples[0].read()["labels"][[1, 3]])
    np.testing.assert_array_equal(found["labels"][1], [-1, -1])


def test_no_object_at_all_leaves_one_row_of_padding():
    found = decode(dataset(sample(0, 0), sample(1, 0)), ("boxes",), (8, 8)).arrays
    assert found["boxes"].shape == (2, 1, 4) and found["labels"].tolist() == [[-1], [-1]]


def test_only_samples_that_have_the_fields():
    some = dataset(sample(0), sample(1, fields=("boxes",)), sample(2))
    assert decode(some, ("segmentation",), (8, 8)).names == ("000", "002")
    assert decode(some, ("boxes",), (8, 8)).names == ("000", "001", "002")
    assert set(decode(some, ("boxes",), (8, 8)).arrays) == {"image", "boxes", "labels"}


def test_files_on_disk_hold_the_same(tmp_path):
    some = dataset(*(sample(i) for i in range(5)))
    memory, disk = decode(some, FIELDS, (16, 12)), decode(some, FIELDS, (16, 12), folder=tmp_path / "images")
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["image.npy", "segmentation.npy"]
    for name, value in memory.arrays.items():
        np.testing.assert_array_equal(disk.arrays[name], value)
    assert isinstance(disk.arrays["image"], np.memmap)
    again = decode(some, FIELDS, (8, 8), folder=tmp_path / "images")  # after a kill, at another size
    assert again.arrays["image"].shape == (5, 8, 8, 3)


def test_masks_are_cropped():
    samples = [sample(0, 3, crowd=(1,)), sample(1, 0), sample(2, 1)]
    found = decode(dataset(*samples), ("boxes", "masks"), (8, 8))
    arrays = found.arrays
    assert found.dropped == 0 and arrays["masks"].shape == (3, 2, CROP, CROP) and arrays["frames"].shape == (3, 2, 4)
    masks = arrays["masks"][np.arange(3)]
    for row, (which, each) in enumerate(zip(([0, 2], [], [0]), samples, strict=True)):
        example = each.read()
        for place, index in enumerate(which):
            pixels, frame = crop(example["masks"][index], example["boxes"][index])
            np.testing.assert_array_equal(masks[row, place], pixels)
            np.testing.assert_array_equal(arrays["frames"][row, place], frame)
        assert not masks[row, len(which) :].any() and not arrays["frames"][row, len(which) :].any()
    alone = decode(dataset(*samples), ("masks",), (8, 8)).arrays
    assert alone.keys() == arrays.keys()


@pytest.mark.parametrize("objects", [0, 2])
def test_crops_of_masks_on_disk(tmp_path, objects):
    some = dataset(*(sample(i, objects * i) for i in range(5)))
    memory, disk = (decode(some, ("masks",), (8, 8), folder=folder) for folder in (None, tmp_path / "images"))
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["image.npy", "masks.uint8"]
    rows = np.array([4, 0, 2])
    np.testing.assert_array_equal(disk.arrays["masks"][rows], memory.arrays["masks"][rows])
    assert disk.arrays["masks"].shape == (5, max(1, 4 * objects), CROP, CROP)
    assert isinstance(disk.arrays["masks"].values, np.memmap) == (objects > 0)


def test_a_disk_that_is_full_of_masks(tmp_path):
    (tmp_path / "masks.uint8").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"no room for more masks .*--cache memory"):
        decode(dataset(sample(0)), ("masks",), (8, 8), folder=tmp_path)


def test_the_largest_objects_are_kept_and_the_rest_is_counted():
    samples = [sample(0, 7, crowd=(0,)), sample(1, 2), sample(2, 4)]
    found = decode(dataset(*samples), ("boxes", "masks"), (8, 8), most=3)
    assert found.dropped == 3 + 0 + 1
    assert found.arrays["boxes"].shape == (3, 3, 4) and found.arrays["masks"].shape == (3, 3, CROP, CROP)
    example = samples[0].read()
    areas = np.prod(example["boxes"][:, 2:] - example["boxes"][:, :2], axis=1)
    largest = sorted(sorted(range(1, 7), key=lambda index: -areas[index])[:3])  # in the order of the file
    np.testing.assert_array_equal(found.arrays["boxes"][0], example["boxes"][largest])
    np.testing.assert_array_equal(found.arrays["labels"][0], example["labels"][largest])
    pixels, _ = crop(example["masks"][largest[1]], example["boxes"][largest[1]])
    np.testing.assert_array_equal(found.arrays["masks"][np.array([0])][0, 1], pixels)
    assert decode(dataset(*samples), ("boxes",), (8, 8), most=3).dropped == 4


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system has no posix_fallocate")
def test_a_disk_without_room_is_told_before_reading(tmp_path, monkeypatch):
    """Writing to a mapped file on a full disk would end the process with a signal."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no room for .* MB .*--cache memory"):
        decode(dataset(sample(0)), ("boxes",), (8, 8), folder=tmp_path / "images")


def test_a_bad_sample_is_not_hidden():
    def read():
        raise BadSampleError("image is missing")

    with pytest.raises(BadSampleError, match="image is missing"):
        decode(dataset(sample(0), Sample("001", read, frozenset({"boxes"}))), ("boxes",), (8, 8))


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ("boxes", (8, 8), r"fields 'boxes': give a sequence of names, as in \['boxes'\]"),
        (
            ["bboxes"],
            (8, 8),
            r"unknown field 'bboxes'; did you mean 'boxes'\? Fields are boxes, masks, segmentation, label",
        ),
        (["boxes", 3], (8, 8), "unknown field 3; fields are boxes, masks"),
        (["boxes"], 96, r"size 96: give \(height, width\)"),
        (["boxes"], (8, 8, 3), r"size \(8, 8, 3\): give \(height, width\)"),
        (["boxes"], (8, 0), r"size \(8, 0\): give \(height, width\)"),
        (["boxes"], (8.0, 8), r"size \(8.0, 8\): give \(height, width\)"),
    ],
)
def test_what_cannot_be_decoded_is_named(fields, size, message):
    with pytest.raises(UserError, match=message):
        decode(dataset(sample(0)), fields, size)


def test_an_attribute_of_objects_is_one_row_of_the_table(monkeypatch):
    monkeypatch.setitem(fields.ROWS, "difficult", fields.Row("bool", (), True))
    monkeypatch.setitem(fields.PADDING, "difficult", True)
    arrays = decode(
        dataset(sample(0, 3, crowd=(1,)), sample(1, 1), sample(2, 0), sample(3, 1)), ["boxes"], (8, 8)
    ).arrays
    np.testing.assert_array_equal(arrays["difficult"], [[False, False], [False, True], [True, True], [False, True]])
    batch = {name: tf.constant(values) for name, values in arrays.items()}
    plain = Augmentation(flip=1.0, scale=(1.0, 1.0), aspect=1.0, mosaic=0.5)
    moved = augment(batch, (0, 0), plain, (8, 8))
    there = moved["labels"].numpy() >= 0
    assert there.sum() == 4 + 4 + 0 + 1  # two mosaics, and the last two images
    np.testing.assert_array_equal(moved["difficult"].numpy(), ~there)


def test_no_sample_with_the_fields():
    with pytest.raises(UserError, match=r"drawn: no image has masks and label; annotated are boxes"):
        decode(dataset(sample(0, fields=("boxes",))), ["masks", "label"], (8, 8))


@pytest.mark.parametrize("size", [(1, 1), (200, 2)])
def test_images_of_odd_shapes(size):
    found = decode(dataset(sample(0, size=size)), ("segmentation",), (16, 12)).arrays
    assert found["image"].shape == (1, 16, 12, 3) and found["segmentation"].shape == (1, 16, 12)
