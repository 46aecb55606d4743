"""Augmentation moves image, boxes, masks and maps together."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from kerastransfer.data.mask_crops import CROP, crop
from kerastransfer.data.transforms import FLIP_ONLY, GREY, Augmentation, augment
from kerastransfer.vocabulary import VOID

NOTHING = dataclasses.replace(FLIP_ONLY, flip=0.0, visible=0.0)
STORED, SIZE = (72, 96), (64, 80)
COLOURS = np.array([[220, 30, 30], [30, 30, 220]], "uint8")  # of class 0 and of class 1


def scenes(count=8, stored=STORED, padding=2, seed=0):
    """Images on a dark ground with a red and a blue rectangle, which do not overlap; boxes and maps of them exactly.
    The mask of each is the part of it that is green too: it lacks a corner, so that neither mirror leaves it as it is.
    """
    random = np.random.default_rng(seed)
    height, width = stored
    image = np.full((count, height, width, 3), 20, "uint8")
    segmentation = np.zeros((count, height, width), "uint8")
    boxes, labels = np.zeros((count, 2 + padding, 4), "float32"), np.full((count, 2 + padding), -1, "int32")
    masks, frames = np.zeros((count, 2 + padding, CROP, CROP), "uint8"), np.zeros_like(boxes)
    for i in range(count):
        left = random.permutation(2)  # which of the two stands in the left half
        for row, label in enumerate(left):
            y, h = random.integers(2, height // 2), random.integers(height // 4, height // 2 - 1)
            x, w = random.integers(2, width // 4) + row * width // 2, random.integers(width // 6, width // 4 - 1)
            image[i, y : y + h, x : x + w] = COLOURS[label]
            segmentation[i, y : y + h, x : x + w] = label + 1
            boxes[i, row] = np.array([y, x, y + h, x + w]) / [height, width, height, width]
            labels[i, row] = label
            mask = np.zeros((height, width), bool)
            mask[y : y + h, x : x + w // 2] = mask[y : y + h // 2, x : x + w] = True
            image[i, mask, 1] = 220
            masks[i, row], frames[i, row] = crop(mask, boxes[i, row])
    batch = {"image": image, "boxes": boxes, "labels": labels, "segmentation": segmentation}
    return batch | {"masks": masks, "frames": frames}


def augmented(batch, how, size=SIZE, seed=(1, 2)):
    return {k: v.numpy() for k, v in augment({k: tf.constant(v) for k, v in batch.items()}, seed, how, size).items()}


def nearly(a, b, pixels=1):
    """Two sets of pixels whose borders are at most so far apart."""
    square = np.ones((3, 3), bool)

    def around(mask):
        return ndimage.binary_dilation(mask, square, iterations=pixels)

    return not np.any(a & ~around(b)) and not np.any(b & ~around(a))


def coloured(image, label):
    """Where at least half of the colour is that of `label`."""
    difference = image[..., 0] - image[..., 2]
    return (difference if label == 0 else -difference) > 95


def same_mask(image, label, mask):
    """The mask is where the object of this label is green too."""
    seen = coloured(image, label) & (image[..., 1] > 125)
    assert nearly(mask, seen) if seen.any() else mask.sum() <= max(mask.shape)  # a line at the border
    if seen.sum() > 100:
        assert np.sum(mask & seen) / np.sum(mask | seen) > 0.85


def hold(image, segmentation, boxes, labels, masks):
    """Colour, map, boxes and masks (N, H, W) of one picture with at most one object of each class agree; how many there
    are."""
    height, width = segmentation.shape
    assert nearly(np.abs(image - GREY).max(-1) < 1, segmentation == VOID) or image.std() == 0
    found = 0
    for label in (0, 1):
        mine = boxes[labels == label] * [height, width, height, width]
        pixels = segmentation == label + 1
        assert nearly(coloured(image, label), pixels)
        assert len(mine) <= 1
        if len(mine):
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            if len(rows) == 0:
                assert min(mine[0, 2] - mine[0, 0], mine[0, 3] - mine[0, 1]) < 1
                continue
            np.testing.assert_allclose(mine[0], [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], atol=1.01)
            same_mask(image, label, masks[np.flatnonzero(labels == label)[0]])
            found += 1
        else:
            assert pixels.sum() <= 2 * max(height, width)  # a line at the border, less than half a pixel wide
    return found


HOW = {
    "nothing": {},
    "flip": {"flip": 1.0},
    "crop": {"scale": (0.4, 0.7), "flip": 0.5},
    "zoom out": {"scale": (1.2, 1.7), "flip": 0.5},
    "aspect": {"scale": (0.7, 1.3), "aspect": 2.0, "flip": 0.5},
    "mosaic": {"mosaic": 1.0},
    "mosaic of crops": {"mosaic": 1.0, "scale": (0.6, 1.2), "aspect": 1.5, "flip": 0.5},
    "some mosaics": {"mosaic": 0.5, "scale": (0.6, 1.2), "aspect": 1.25, "flip": 0.5},
}


@pytest.mark.parametrize("stored", [STORED, SIZE, (40, 48)], ids=["larger", "equal", "smaller"])
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_image_map_boxes_and_masks_hold_together(how, stored, paste):
    """Of every augmentation that moves pixels, the mosaic of four pictures included."""
    how = dataclasses.replace(NOTHING, **how)
    batch = scenes(stored=stored)
    out = augmented(batch, how)
    assert out["image"].shape == (8, *SIZE, 3) and out["image"].dtype == np.float32
    assert out["segmentation"].shape == (8, *SIZE) and out["segmentation"].dtype == np.uint8
    assert set(np.unique(out["segmentation"])) <= {0, 1, 2, VOID}
    assert out["boxes"].shape == (8, 16 if how.mosaic else 4, 4) and out["labels"].shape == out["boxes"].shape[:2]
    padding = out["labels"] < 0
    assert not out["boxes"][padding].any() and (out["labels"][padding] == -1).all()
    assert out["masks"].shape == (*out["labels"].shape, CROP, CROP) and out["masks"].dtype == np.uint8
    assert out["frames"].shape == out["boxes"].shape and not out["frames"][padding].any()
    assert out["boxes"].min() >= 0 and out["boxes"].max() <= 1
    real = out["boxes"][~padding]
    assert np.all(real[:, :2] < real[:, 2:])

    found = 0
    for number in range(8):
        image, segmentation = out["image"][number], out["segmentation"][number]
        boxes, labels, frames, crops = (out[name][number] for name in ("boxes", "labels", "frames", "masks"))
        if number >= round(8 * how.mosaic):
            masks = [label >= 0 and paste(*one, SIZE) for label, *one in zip(labels, crops, frames, strict=True)]
            found += hold(image, segmentation, boxes, labels, masks)
            continue
        for quarter in range(4):
            corner = np.array([quarter // 2, quarter % 2])
            part = tuple(slice(c * s // 2, (c + 1) * s // 2) for c, s in zip(corner, SIZE, strict=True))
            inside = np.all(np.floor(boxes[:, :2] + boxes[:, 2:]) == corner, -1) & (labels >= 0)
            local = boxes[inside] * 2 - np.tile(corner, 2)
            assert local.min(initial=0) >= -1e-6 and local.max(initial=1) <= 1 + 1e-6
            masks = [
                paste(one, frame * 2 - np.tile(corner, 2), image[part].shape[:2])
                for one, frame in zip(crops[inside], frames[inside], strict=True)
            ]
            found += hold(image[part], segmentation[part], local, labels[inside], masks)
    assert found >= 8  # of 16 or, in mosaics, 64 objects


@pytest.mark.parametrize("colour", ["brightness", "contrast", "saturation"])
def test_colour_moves_nothing(colour):
    batch = scenes(stored=SIZE)
    batch["image"] //= 2  # so that nothing is clipped
    out = augmented(batch, dataclasses.replace(NOTHING, **{colour: 0.3}))
    for name in ("boxes", "labels", "segmentation", "masks", "frames"):
        np.testing.assert_array_equal(out[name], batch[name])
    changed = np.abs(out["image"] - batch["image"]).max((1, 2, 3))
    assert np.all(changed > 0.03) and len(np.unique(changed)) == 8
    assert out["image"].min() >= 0 and out["image"].max() <= 255


def test_brightness_is_one_factor_an_image():
    batch = scenes(stored=SIZE)
    batch["image"] = (batch["image"] // 3).astype("uint8")
    factors = augmented(batch, dataclasses.replace(NOTHING, brightness=0.5))["image"] / batch["image"]
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1, :1], factors.shape), rtol=1e-5)
    assert factors.min() >= 0.5 and factors.max() <= 1.5 and np.ptp(factors) > 0.2


@pytest.mark.parametrize("size", [(64, 80), (63, 37), (224, 224)])
def test_no_augmentation_returns_the_very_image(size):
    """But for rounding where pixels are looked up, of at most a fiftieth of a step of grey."""
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (2, *size, 3)).astype("uint8")
    batch = {"image": image, "segmentation": random.integers(0, 9, (2, *size)).astype("uint8")}
    out = augmented(batch, NOTHING, size)
    np.testing.assert_allclose(out["image"], image, atol=0.02)
    np.testing.assert_array_equal(out["segmentation"], batch["segmentation"])
    mirrored = augmented(batch, dataclasses.replace(NOTHING, flip=1.0), size)
    np.testing.assert_allclose(mirrored["image"], image[:, :, ::-1], atol=0.02)
    np.testing.assert_array_equal(mirrored["segmentation"], batch["segmentation"][:, :, ::-1])


@pytest.mark.slow
@pytest.mark.parametrize("how", [Augmentation(), Augmentation(mosaic=0.5)], ids=["plain", "mosaic"])
def test_the_same_seed_gives_the_same_batch(how):
    batch = scenes()
    one, same, other = (augmented(batch, how, seed=seed) for seed in ((1, 2), tf.constant([1, 2]), (1, 3)))
    for name, value in one.items():
        np.testing.assert_array_equal(value, same[name])
    assert np.any(one["image"] != other["image"])
    graph = tf.function(lambda seed: augment({k: tf.constant(v) for k, v in batch.items()}, seed, how, SIZE))
    for name, value in graph(tf.constant([1, 2])).items():  # which may round otherwise, not more
        np.testing.assert_allclose(value, one[name], atol=0.01 if name == "image" else 1e-6)


def test_a_mirror_turns_frames_inside_out_and_leaves_masks():
    batch = scenes()
    out = augmented(batch, dataclasses.replace(NOTHING, flip=1.0))
    np.testing.assert_array_equal(out["masks"], batch["masks"])
    y1, x1, y2, x2 = np.moveaxis(batch["frames"], -1, 0)
    turned = np.stack([y1, 1 - x1, y2, 1 - x2], -1) * (batch["labels"] >= 0)[..., None]
    np.testing.assert_allclose(out["frames"], turned, atol=1e-6)


def test_frames_are_not_clipped():
    """The picture is the middle half of the image; an object that fills the image reaches half a picture around it."""
    batch = {
        "image": np.zeros((1, 16, 16, 3), "uint8"),
        "boxes": np.array([[[0, 0, 1, 1], [0, 0, 1, 1]]], "float32"),
        "labels": np.zeros((1, 2), "int32"),
        "masks": np.full((1, 2, CROP, CROP), 9, "uint8"),
        "frames": np.array([[[0, 0, 1, 1], [0, 0, 0, 0]]], "float32"),  # the second has no mask
    }
    out = augmented(batch, dataclasses.replace(NOTHING, scale=(0.5, 0.5)), (8, 8))
    np.testing.assert_array_equal(out["boxes"][0], [[0, 0, 1, 1]] * 2)
    frame, none = out["frames"][0]
    np.testing.assert_allclose(frame[2:] - frame[:2], [2, 2], atol=1e-5)
    assert frame[:2].max() <= 0 and frame[2:].min() >= 1
    assert not none.any()


def test_images_of_a_batch_are_moved_differently():
    batch = {name: np.repeat(value[:1], 8, 0) for name, value in scenes().items()}
    out = augmented(batch, Augmentation())
    assert len({image.tobytes() for image in out["image"]}) == 8


def test_flips_come_as_often_as_asked_for():
    batch = scenes(400, stored=(16, 24))
    flipped = augmented(batch, dataclasses.replace(NOTHING, flip=0.25), (16, 24))["image"] - batch["image"] > 1
    assert 70 < flipped.any((1, 2, 3)).sum() < 130


@pytest.mark.parametrize("visible", [0.0, 0.3, 0.6, 1.0])
def test_a_box_that_is_hardly_seen_is_dropped(visible):
    """A window of half the side makes a box four times its area; what remains in the picture is the share seen."""
    batch = scenes(40)
    how = dataclasses.replace(NOTHING, scale=(0.5, 0.5))
    all_boxes = augmented(batch, how)["boxes"]
    kept = augmented(batch, dataclasses.replace(how, visible=visible))["labels"] >= 0
    before, after = (np.prod(boxes[..., 2:] - boxes[..., :2], -1) for boxes in (batch["boxes"], all_boxes))
    seen = after / np.maximum(4 * before, 1e-9)
    clear = np.abs(seen - visible) > 1e-4
    np.testing.assert_array_equal(kept[clear], ((seen >= visible) & (seen > 0))[clear])
    assert 5 < kept.sum() < 80


def test_a_window_inside_the_image_shows_no_grey():
    """Also where pixels are enlarged, and at every border."""
    batch = {"image": np.full((64, 12, 10, 3), 200, "uint8"), "segmentation": np.ones((64, 12, 10), "uint8")}
    out = augmented(batch, dataclasses.replace(NOTHING, scale=(0.3, 1.0), flip=0.5), (50, 60))
    np.testing.assert_allclose(out["image"], 200, atol=1e-3)
    np.testing.assert_array_equal(out["segmentation"], 1)
    wide = augmented(batch, dataclasses.replace(NOTHING, scale=(1.0, 1.0), aspect=1.5), (50, 60))
    assert set(np.unique(wide["segmentation"])) == {1, VOID}
    known = wide["segmentation"] == 1
    assert np.all(known.all(1).any(1) | known.all(2).any(1))  # grey on two sides at most


def test_labels_of_images_stay_with_them():
    batch = {"image": scenes()["image"], "label": np.arange(8, dtype="int32")}
    for how in (Augmentation(), Augmentation(mosaic=0.5)):
        np.testing.assert_array_equal(augmented(batch, how)["label"], np.arange(8))


@pytest.mark.parametrize("size", [(33, 47), (32, 47)])
def test_a_mosaic_of_odd_sizes(size):
    out = augmented(scenes(), dataclasses.replace(NOTHING, mosaic=0.5), size)
    assert out["image"].shape == (8, *size, 3) and out["segmentation"].shape == (8, *size)
