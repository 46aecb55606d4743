"""Samples that are decoded when a batch asks for them: the same batches, and a rule for photos that are damaged."""

import itertools

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets, derive
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.decoded import decode
from kerastransfer.data.on_demand import take
from kerastransfer.data.pipeline import at_once, evaluation_batches, training_batches
from kerastransfer.data.transforms import Augmentation
from kerastransfer.data.views import augmented
from kerastransfer.errors import UserError

FIELDS = ("boxes", "masks", "segmentation")


@pytest.fixture(scope="module")
def scenes():
    return datasets.load("toy:12", check=False)


@pytest.fixture
def photos(tmp_path):
    """Photos of two classes; of each, the colour tells the number."""
    for number in range(8):
        path = tmp_path / "photos" / ("even", "odd")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 30 * number, np.uint8)).save(path)
    return tmp_path / "photos"


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])


@pytest.mark.parametrize("fields", [("boxes",), FIELDS, ("masks",), ("label",)], ids="-".join)
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_rows_are_those_that_would_be_kept(scenes, fields, resize):
    data = derive.require(scenes, *fields)
    kept = decode(data, fields, (24, 32), resize=resize, most=2)
    late = decode(data, fields, (24, 32), resize=resize, most=2, on_demand=True)
    assert (late.names, late.dropped, late.on_demand, kept.on_demand) == (kept.names, kept.dropped, True, False)
    assert list(late.arrays) == list(kept.arrays)
    for name, array in kept.arrays.items():
        assert (late.arrays[name].shape, late.arrays[name].dtype) == (array.shape, array.dtype), name
    rows = np.array([7, 0, 7, 3])
    same(take(late.arrays, rows), take(kept.arrays, rows))
    np.testing.assert_array_equal(late.arrays["image"][2:5], kept.arrays["image"][2:5])


def test_a_sample_is_decoded_once_for_a_batch_and_never_before(scenes):
    read = []

    def counted(sample):
        class Counted:
            def __call__(self):
                read.append(sample.name)
                return sample.read()

            def annotations(self, fields):
                return sample.annotations(*fields)

        return Sample(sample.name, Counted(), sample.fields)

    data = Dataset("counted", tuple(map(counted, scenes.samples)))
    late = decode(data, FIELDS, (24, 24), on_demand=True)
    assert not read
    take(late.arrays, np.array([5, 1]))
    assert read == [late.names[5], late.names[1]]


def batches(decoded, number=7, **options):
    view = augmented(Augmentation(mosaic=0.5))
    made = training_batches(decoded, view=view, size=(16, 16), batch_size=4, seed=3, **options)
    return list(itertools.islice(made.as_numpy_iterator(), number))


@pytest.mark.slow
def test_batches_do_not_depend_on_cache_threads_and_kills(scenes, tmp_path):
    kept = decode(scenes, FIELDS, (24, 24))
    wanted = batches(kept)
    disk = decode(scenes, FIELDS, (24, 24), folder=tmp_path / "images")
    late = decode(scenes, FIELDS, (24, 24), on_demand=True)
    for decoded, threads in ((kept, 1), (kept, 3), (disk, 2), (late, 0), (late, 1), (late, 3)):
        for (image, targets), (other_image, others) in zip(batches(decoded, threads=threads), wanted, strict=True):
            np.testing.assert_array_equal(image, other_image)
            same(targets, others)
    resumed = batches(late, 4, first_epoch=1, threads=2)
    for (image, targets), (other_image, others) in zip(resumed, wanted[3:], strict=True):
        np.testing.assert_array_equal(image, other_image)
        same(targets, others)


def test_a_damaged_photo_is_named_once_and_the_next_takes_its_place(photos, capsys):
    data = datasets.load(photos)
    late = decode(data, ("label",), (8, 8), on_demand=True)
    names = [sample.name for sample in data.samples]
    assert names == ["even/0", "even/2", "even/4", "even/6", "odd/1", "odd/3", "odd/5", "odd/7"]
    (photos / "even" / "4.png").write_bytes(b"no picture")
    (photos / "even" / "6.png").unlink()
    (photos / "odd" / "7.png").write_bytes((photos / "odd" / "7.png").read_bytes()[:60])
    for _ in range(2):
        found = take(late.arrays, np.array([1, 2, 3, 7]))
        assert (found["image"][:, 0, 0, 0] // 30).tolist() == [2, 1, 1, 0]
        assert found["label"].tolist() == [0, 1, 1, 0]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said] == ["even/4", "even/6", "odd/7"]
    assert all(line.endswith("; the next image takes its place") for line in said)
    # A run that is resumed has not read them before.
    again = decode(data, ("label",), (8, 8), on_demand=True)
    same(take(again.arrays, np.arange(8)), take(late.arrays, np.arange(8)))


def test_objects_that_have_changed_count_as_damage(scenes, capsys):
    example = scenes.samples[0].read()
    objects = [example, {**example, "boxes": example["boxes"][:0]}]
    for name in ("labels", "crowd", "difficult", "masks"):
        objects[1][name] = example[name][:0]

    class Changing:
        def __call__(self):
            return objects[1]

        def annotations(self, fields):
            return {**objects[0], "size": example["image"].shape[:2]}

    data = Dataset("changing", (Sample("a", Changing(), scenes.samples[0].fields), scenes.samples[1]))
    late = decode(data, ("boxes",), (8, 8), on_demand=True)
    found = take(late.arrays, np.array([0]))
    same(found, take(late.arrays, np.array([1])))
    assert f"a: 0 objects, but there were {len(example['boxes'])}" in capsys.readouterr().err


def test_when_nothing_can_be_read_any_more(photos, capsys):
    late = decode(datasets.load(photos), ("label",), (8, 8), on_demand=True)
    for path in photos.rglob("*.png"):
        path.unlink()
    assert late.trouble is None
    with pytest.raises(UserError, match=r"no training image can be read any more \(image 2.png is missing\)"):
        take(late.arrays, np.array([2]))
    assert "no training image" in late.trouble


@pytest.mark.slow
def test_evaluation_sees_every_sample_once(scenes):
    kept, late = (decode(scenes, FIELDS, (16, 16), on_demand=wanted) for wanted in (False, True))
    wanted, found = (
        list(evaluation_batches(one, size=(16, 16), batch_size=5).as_numpy_iterator()) for one in (kept, late)
    )
    assert len(wanted) == 3
    for (image, targets, weights), (other_image, others, other_weights) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(image, other_image)
        np.testing.assert_array_equal(weights, other_weights)
        same(targets, others)


def test_decoding_on_demand_takes_all_cores_beside_a_cpu(monkeypatch):
    monkeypatch.setattr("kerastransfer.data.pipeline.cores", lambda: 6)
    monkeypatch.setattr("kerastransfer.data.pipeline._beside_gpu", lambda: False)
    assert (at_once(), at_once(on_demand=True), at_once(4), at_once(1, on_demand=True)) == (1, 6, 4, 1)
    monkeypatch.setattr("kerastransfer.data.pipeline._beside_gpu", lambda: True)
    assert (at_once(), at_once(on_demand=True), at_once(2)) == (5, 5, 2)
