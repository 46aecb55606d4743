import itertools
import time

import numpy as np
import pytest

from kerastransfer.data import toy as drawn
from kerastransfer.data.toy import toy
from kerastransfer.metrics import segmentation


@pytest.fixture(scope="module", params=drawn.DIFFICULTIES)
def difficulty(request):
    return request.param


@pytest.fixture(scope="module")
def examples(difficulty):
    return [sample.read() for sample in toy(count=60, image_size=128, difficulty=difficulty).samples]


def test_promises(difficulty):
    dataset = toy(seed=3, count=12, difficulty=difficulty)
    assert (dataset.name, len(dataset), len(dataset.classes)) == (difficulty, 12, 4)
    assert dataset.segmentation_classes == ("background", *dataset.classes)
    assert [sample.name for sample in dataset.samples] == [f"{n:05d}" for n in range(12)]
    assert all(sample.fields == {"boxes", "masks", "segmentation"} for sample in dataset.samples)
    example = dataset.samples[0].read()
    number = len(example["labels"])
    assert {name: (array.shape, array.dtype.name) for name, array in example.items()} == {
        "image": ((256, 256, 3), "uint8"),
        "boxes": ((number, 4), "float32"),
        "labels": ((number,), "int32"),
        "crowd": ((number,), "bool"),
        "difficult": ((number,), "bool"),
        "area": ((number,), "float32"),
        "truncated": ((number,), "bool"),
        "occluded": ((number,), "bool"),
        "hidden": ((number,), "float32"),
        "masks": ((number, 256, 256), "bool"),
        "segmentation": ((256, 256), "uint8"),
    }


def test_a_scene_depends_on_seed_and_number_alone(difficulty):
    def images(seed, count):
        drawn._drawn.cache_clear()
        return [sample.read()["image"] for sample in toy(seed, count, 64, difficulty=difficulty).samples]

    first, again, longer, other = images(0, 4), images(0, 4)[::-1], images(0, 6), images(1, 4)
    np.testing.assert_array_equal(first, again[::-1])
    np.testing.assert_array_equal(first, longer[:4])
    assert all((a != b).mean() > 0.5 for a, b in zip(first, other, strict=True))
    assert all((a != b).mean() > 0.5 for a, b in itertools.pairwise(first))


def test_the_hard_scenes_stay_as_they_are():
    """Numbers that were measured on them, and tests, depend on it."""
    first, second = (sample.read() for sample in toy(0, 2, 64, difficulty="toy-hard").samples)
    np.testing.assert_array_equal(first["labels"], [3, 0])
    np.testing.assert_array_equal(first["boxes"] * 64, [[31, 46, 63, 64], [31, 23, 64, 49]])
    np.testing.assert_array_equal(second["labels"], [2, 1])
    np.testing.assert_array_equal(second["boxes"] * 64, [[5, 54, 20, 64], [10, 34, 39, 62]])
    assert [(example["segmentation"] > 0).sum() for example in (first, second)] == [943, 578]
    assert [example["image"].mean() for example in (first, second)] == pytest.approx([113.015, 128.120], abs=0.01)


def test_boxes_masks_and_segmentation_agree(examples):
    for example in examples:
        masks, labels = example["masks"], example["labels"]
        assert masks.sum(axis=0).max() <= 1  # only what is visible
        painted = np.max(masks * (labels + 1)[:, None, None], axis=0)
        np.testing.assert_array_equal(example["segmentation"], painted)
        for mask, box in zip(masks, example["boxes"], strict=True):
            y, x = np.nonzero(mask)
            np.testing.assert_array_equal(box * 128, [y.min(), x.min(), y.max() + 1, x.max() + 1])


def test_objects_are_few_visible_and_of_every_class(difficulty, examples):
    counts = [len(example["labels"]) for example in examples]
    most = drawn.DIFFICULTIES[difficulty].most_objects
    assert min(counts) == 1 and most - 1 <= max(counts) <= most
    labels = np.concatenate([example["labels"] for example in examples])
    assert np.bincount(labels, minlength=4).min() > 0.15 * len(labels)
    sides = np.concatenate([example["boxes"][:, 2:] - example["boxes"][:, :2] for example in examples])
    assert sides.min() > 0.04 and sides.max() > 0.4
    covered = np.mean([example["segmentation"] > 0 for example in examples])
    assert 0.1 < covered < 0.4


def test_objects_overlap(examples):
    """In a fair share of the scenes a box reaches into another, and some object is partly hidden."""

    def overlap(boxes):
        shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        return (np.triu(shared.min(axis=-1), 1) > 0.02).any()

    assert np.mean([overlap(example["boxes"]) for example in examples]) > 0.1


def square(top, left, side, size=64):
    outline = np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) * side + [top, left]
    return 0, drawn._raster(outline, None, size), outline


def test_what_is_hidden_and_outside_by_hand():
    """A square is covered by the half; one reaches out by a half, and a later one covers half of what is left; the last
    one lies inside and free."""
    placed = [square(8, 8, 16), square(8, 16, 16), square(40, 56, 16), square(40, 60, 8), square(30, 0, 4)]
    owner = np.full((64, 64), -1)
    for number, (_, patch, _) in enumerate(placed):
        drawn._claim(owner, patch, number)
    truncated, hidden = drawn._unseen(placed, owner)
    np.testing.assert_array_equal(truncated, [False, False, True, True, False])
    # Of 16 x 16 pixels 8 x 16 are outside and 8 x 4 are covered.
    np.testing.assert_allclose(hidden, [0.5, 0, 8 * 4 / 256, 0, 0], atol=0.02)
    assert hidden[1] == hidden[4] == 0


def test_what_is_visible_hidden_and_outside_is_the_whole(difficulty, monkeypatch):
    """Each outline is drawn again, alone and on a canvas three times as large, where a few pixels of its border may
    round otherwise."""
    size, placed, place = 160, [], drawn._place
    monkeypatch.setattr(drawn, "_place", lambda *given: placed.append(place(*given)) or placed[-1])
    drawn._drawn.cache_clear()
    hidden_ones = 0
    for sample in toy(seed=7, count=20, image_size=size, difficulty=difficulty).samples:
        example = sample.read()
        whole = []
        for _, _, outline in placed[-1]:
            mask = np.zeros((3 * size, 3 * size), bool)
            rows, columns, covered = drawn._raster(outline + size, None, 3 * size)
            mask[rows, columns] = covered >= 0.5
            whole.append(mask)
        inside = [mask[size:-size, size:-size] for mask in whole]
        for k, mask in enumerate(whole):
            covered = inside[k] & np.any([np.zeros_like(inside[k]), *inside[k + 1 :]], axis=0)
            outside = mask.sum() - inside[k].sum()
            assert example["hidden"][k] == pytest.approx(covered.sum() / mask.sum(), abs=0.02)
            assert example["occluded"][k] or covered.sum() < 10
            assert example["truncated"][k] or outside == 0
            assert example["area"][k] + covered.sum() + outside == pytest.approx(mask.sum(), rel=0.02)
            hidden_ones += example["occluded"][k]
    assert hidden_ones > 5
    drawn._drawn.cache_clear()


def test_an_outline_covers_the_area_it_encloses():
    """The drawn coverage against the closed forms, so that masks are neither grown nor shrunk."""
    turned = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    areas = np.pi, 2, 3 * np.sqrt(3) / 4, 5 * 0.45 * np.sin(np.pi / 5)
    for outline, area in zip(drawn.OUTLINES, areas, strict=True):
        outline = 40 * outline @ turned + 64.2
        *_, covered = drawn._raster(outline, None, 128)
        assert drawn._area(outline) == pytest.approx(40**2 * area, rel=0.005)
        assert covered.sum() == pytest.approx(40**2 * area, rel=0.02)
        assert (covered >= 0.5).sum() == pytest.approx(40**2 * area, rel=0.02)


@pytest.mark.parametrize(("difficulty", "most"), [("toy", 0.5), ("toy-hard", 0.3)])
def test_colour_alone_segments_badly(difficulty, most):
    """Each colour, of 512, is given the class that it has most often in the very images that are scored."""
    examples = [sample.read() for sample in toy(count=100, image_size=64, difficulty=difficulty).samples]
    truths = [example["segmentation"] for example in examples]
    colours = [example["image"] // 32 @ np.array([64, 8, 1]) for example in examples]
    votes = np.zeros((512, 5))
    np.add.at(votes, (np.ravel(colours), np.ravel(truths)), 1)
    scores = segmentation.per_image(truths, [votes.argmax(1)[colour] for colour in colours], 5)
    assert np.nanmean(scores["iou"]) < most


def test_drawing_is_quick_enough_not_to_be_waited_for(difficulty):
    drawn._drawn.cache_clear()
    samples = toy(count=20, difficulty=difficulty).samples
    seconds = []
    for sample in samples:
        start = time.process_time()
        sample.read()
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.05  # 0.01 undisturbed


def test_any_size(difficulty):
    for size in (16, 33, 200):
        example = toy(count=1, image_size=size, difficulty=difficulty).samples[0].read()
        assert example["image"].shape == (size, size, 3)
        assert (example["boxes"][:, 2:] > example["boxes"][:, :2]).all()


def test_what_a_reader_changes_is_not_seen_by_the_next():
    sample = toy(seed=5, count=1, image_size=64).samples[0]
    first, untouched = sample.read(), sample.read()["image"].copy()
    first["image"][:] = 0
    for name in ("labels", "truncated", "hidden"):
        first[name][:] = -1
    np.testing.assert_array_equal(sample.read()["image"], untouched)
    assert (sample.read()["labels"] >= 0).all() and (sample.read()["hidden"] >= 0).all()


def test_an_unknown_difficulty():
    with pytest.raises(KeyError, match="toy-easy"):
        toy(count=1, difficulty="toy-easy")


def test_the_names_that_settings_know_are_those_that_can_be_drawn():
    from kerastransfer.data.toy import DIFFICULTIES
    from kerastransfer.vocabulary import DRAWN

    assert tuple(DIFFICULTIES) == DRAWN
