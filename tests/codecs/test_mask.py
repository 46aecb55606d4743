"""Which boxes masks are learnt in, and what is to be drawn there."""

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.mask import FULL, MaskCodec

CODEC = MaskCodec(mask_size=4, most=6)
SIDE = 16  # of crops


def annotations(boxes, labels, masks=None, frames=None):
    """Of one image; whole masks over the boxes by default."""
    boxes = np.array([boxes], "float32")
    masks = np.full((1, boxes.shape[1], SIDE, SIDE), FULL, "uint8") if masks is None else np.array([masks], "uint8")
    frames = boxes if frames is None else np.array([frames], "float32")
    return {"boxes": boxes, "labels": np.array([labels], "int32"), "masks": masks, "frames": frames}


def encode(truth, proposals=None, codec=CODEC, **options):
    proposals = None if proposals is None else ops.convert_to_tensor(np.array([proposals], "float32"))
    out = codec.encode({name: ops.convert_to_tensor(value) for name, value in truth.items()}, proposals, **options)
    return {name: np.asarray(value)[0] for name, value in out.items()}


A, B = (0.1, 0.1, 0.5, 0.5), (0.5, 0.4, 0.9, 1.0)
PADDING = (0, 0, 0, 0)


def test_the_boxes_of_the_truth_come_first():
    out = encode(annotations([A, PADDING, B], [3, -1, 5]), [PADDING, (0.1, 0.1, 0.5, 0.45), (0, 0, 0.2, 0.2)])
    assert out["boxes"].shape == (6, 4) and out["targets"].shape == (6, 4, 4)
    np.testing.assert_array_equal(out["labels"], [3, 5, 3, -1, -1, -1])
    np.testing.assert_allclose(out["boxes"][:3], [A, B, (0.1, 0.1, 0.5, 0.45)])
    assert not out["boxes"][3:].any() and not out["targets"][3:].any()
    np.testing.assert_array_equal(out["targets"][:3], 1)


def test_without_proposals_the_truth_alone():
    out = encode(annotations([PADDING, A], [-1, 2]))
    np.testing.assert_array_equal(out["labels"], [2, -1])
    np.testing.assert_allclose(out["boxes"], [A, PADDING])


def test_no_object_at_all():
    out = encode(annotations([PADDING, PADDING], [-1, -1]), [A, B])
    assert (out["labels"] == -1).all() and not out["boxes"].any() and not out["targets"].any()


@pytest.mark.parametrize(("width", "taken"), [(0.21, True), (0.19, False), (0.79, True), (0.81, False)])
def test_a_proposal_must_overlap_by_half(width, taken):
    """A truth 0.4 wide and a proposal that shares its left side: the IoU is the ratio of their widths."""
    out = encode(annotations([A], [1]), [(0.1, 0.1, 0.5, 0.1 + width)])
    assert (out["labels"] == [1, 1 if taken else -1]).all()


def test_the_best_truth_gives_class_and_mask():
    left, right = (0.0, 0.0, 1.0, 0.6), (0.0, 0.3, 1.0, 0.9)
    empty, full = np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), FULL)
    out = encode(annotations([left, right], [1, 2], [empty, full]), [(0, 0.25, 1, 0.85), (0, 0.05, 1, 0.65)])
    np.testing.assert_array_equal(out["labels"][:4], [1, 2, 2, 1])
    np.testing.assert_array_equal(out["targets"][:4].mean((1, 2)), [0, 1, 1, 0])


def test_two_objects_in_the_same_box_keep_their_own_masks():
    out = encode(annotations([A, A], [1, 2], [np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), FULL)]))
    np.testing.assert_array_equal(out["labels"], [1, 2])
    np.testing.assert_array_equal(out["targets"].mean((1, 2)), [0, 1])


def test_at_most_so_many_in_order():
    boxes = [(0.1 * i, 0.0, 0.1 * i + 0.1, 1.0) for i in range(5)]
    codec = MaskCodec(mask_size=4, most=3)
    out = encode(annotations(boxes, range(5)), boxes, codec)
    np.testing.assert_array_equal(out["labels"], [0, 1, 2])
    out = encode(annotations(boxes[:1], [7]), boxes[:1] * 9, codec)
    np.testing.assert_array_equal(out["labels"], [7, 7, 7])
    assert encode(annotations(boxes[:1], [7]), None, codec)["labels"].shape == (1,)


def test_levels_go_with_the_boxes():
    """Of each truth and then of each proposal; padding has level 0."""
    levels = ops.convert_to_tensor([[1, 7, 2, 8, 3, 9]])
    out = encode(annotations([A, PADDING, B], [3, -1, 5]), [PADDING, A, (0, 0, 0.2, 0.2)], levels=levels)
    np.testing.assert_array_equal(out["levels"], [1, 2, 3, 0, 0, 0])


@pytest.mark.slow
def test_of_more_than_are_trained_on_a_draw_at_each_step():
    """Truths and proposals alike: over many steps all are seen equally often, `most` at each."""
    boxes = [(0.1 * i, 0.0, 0.1 * i + 0.1, 1.0) for i in range(8)]
    codec, seed = MaskCodec(mask_size=4, most=3), keras.random.SeedGenerator(1)
    levels = ops.convert_to_tensor([list(range(16))])  # tells which row it was
    seen = np.zeros(16)
    for _ in range(160):
        out = encode(annotations(boxes, range(8)), boxes, codec, levels=levels, seed=seed)
        assert (np.diff(out["levels"]) > 0).all() and out["labels"].tolist() == [row % 8 for row in out["levels"]]
        seen[out["levels"]] += 1
    assert seen.sum() == 3 * 160 and seen.min() > 12 and seen.max() < 50  # 30 expected


def test_where_all_fit_no_draw_is_made():
    boxes = [(0.1 * i, 0.0, 0.1 * i + 0.1, 1.0) for i in range(3)]
    drawn = encode(annotations(boxes, range(3)), boxes, seed=keras.random.SeedGenerator(1))
    for name, value in encode(annotations(boxes, range(3)), boxes).items():
        np.testing.assert_array_equal(drawn[name], value)


def test_an_object_without_a_mask_is_left_out():
    """And so is a proposal that overlaps it most, though it overlaps another enough."""
    wide, narrow = (0, 0, 1, 0.6), (0, 0, 1, 0.5)
    out = encode(annotations([wide, narrow], [1, 2], frames=[wide, PADDING]), [(0, 0, 1, 0.51), (0, 0, 1, 0.59)])
    np.testing.assert_array_equal(out["labels"], [1, 1, -1, -1])


def test_a_whole_mask_seen_from_a_box_twice_as_large_is_its_middle():
    """Of a box of exactly the iou that is asked for, a quarter."""
    codec = MaskCodec(mask_size=8, iou=0.2)
    out = encode(annotations([(0.25, 0.25, 0.75, 0.75)], [0]), [(0, 0, 1, 1)], codec)
    middle = np.zeros((8, 8))
    middle[2:6, 2:6] = 1
    np.testing.assert_array_equal(out["targets"], [np.ones((8, 8)), middle])


def test_every_part_of_a_cell_counts():
    """A cell of the target is 4 x 4 of the crop's, of which here the middle ones are not the object's, or are alone."""
    holes = np.tile(np.pad(np.zeros((2, 2)), 1, constant_values=FULL), (4, 4))
    out = encode(annotations([A, B], [0, 0], [holes, FULL - holes]))
    assert (out["targets"][0] == 1).all() and (out["targets"][1] == 0).all()


def test_a_frame_wider_than_the_box():
    """The object's box is the right half of the frame, and of it the lower half is the object's."""
    crop = np.zeros((SIDE, SIDE))
    crop[SIDE // 2 :, SIDE // 2 :] = FULL
    out = encode(annotations([(0.2, 0.4, 0.6, 0.6)], [0], [crop], [(0.2, 0.2, 0.6, 0.6)]))
    np.testing.assert_array_equal(out["targets"][0], [[0] * 4, [0] * 4, [1] * 4, [1] * 4])


def test_a_frame_turned_inside_out_mirrors():
    crop = np.zeros((SIDE, SIDE))
    crop[:, : SIDE // 4] = FULL
    y1, x1, y2, x2 = A
    plain, mirrored = (encode(annotations([A], [0], [crop], [f]))["targets"][0] for f in (A, (y1, x2, y2, x1)))
    np.testing.assert_array_equal(plain, [[1, 0, 0, 0]] * 4)
    np.testing.assert_array_equal(mirrored, [[0, 0, 0, 1]] * 4)


@pytest.mark.parametrize("mask_size", [28, 14, 7])
def test_targets_are_the_full_mask_cut_out(mask_size):
    """Against the share of each cell that the mask covers, counted in the pixels of the full mask. Cells of which
    about half is covered may go either way: a crop is coarser."""
    size = 448
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    angle = np.arctan2(y - 0.5, x - 0.5)
    mask = np.hypot(y - 0.5, x - 0.5) < 0.2 + 0.06 * np.sin(3 * angle + 1)
    cells = mask.reshape(112, 4, 112, 4).mean((1, 3))
    truth = annotations([(0.2, 0.25, 0.8, 0.75)], [0], [np.round(FULL * cells)], [(0, 0, 1, 1)])
    proposals = [(112, 84, 364, 336), (84, 112, 392, 364), (84, 84, 336, 392)]  # 28 * 9 and 28 * 11 pixels
    out = encode(truth, np.array(proposals) / size, MaskCodec(mask_size=mask_size, most=4))
    assert (out["labels"] == 0).all()
    for (y1, x1, y2, x2), target in zip(proposals, out["targets"][1:], strict=True):
        cut = mask[y1:y2, x1:x2]
        height, width = cut.shape
        shares = cut.reshape(mask_size, height // mask_size, mask_size, width // mask_size).mean((1, 3))
        clear = np.abs(shares - 0.5) > 0.1
        assert clear.mean() > 0.9 and 0.2 < target.mean() < 0.9
        np.testing.assert_array_equal(target[clear], shares[clear] > 0.5)


def test_images_of_a_batch_do_not_mix():
    one = annotations([A, B], [1, 2], np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE)))
    other = annotations([B, PADDING], [3, -1], np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE)))
    both = {name: np.concatenate([one[name], other[name]]) for name in one}
    proposals = np.array([[A, B], [B, A]], "float32")
    together = CODEC.encode({k: ops.convert_to_tensor(v) for k, v in both.items()}, ops.convert_to_tensor(proposals))
    for image, single in enumerate((one, other)):
        for name, value in encode(single, proposals[image]).items():
            np.testing.assert_allclose(np.asarray(together[name])[image], value)


def test_masks_back():
    logits = np.random.default_rng(0).normal(0, 2, (2, 3, 4, 4, 5)).astype("float32")
    labels = np.array([[0, 4, -1], [2, 2, 1]], "int32")
    found = np.asarray(CODEC.decode(logits, labels))
    for image, box in np.ndindex(2, 3):
        expected = logits[image, box, :, :, labels[image, box]] * (labels[image, box] >= 0)
        np.testing.assert_allclose(found[image, box], 1 / (1 + np.exp(-expected)), rtol=1e-5)


def test_it_is_stored_with_a_model():
    codec = MaskCodec(mask_size=14, most=7, iou=0.6)
    stored = keras.saving.serialize_keras_object(codec)
    assert keras.saving.deserialize_keras_object(stored) == codec
