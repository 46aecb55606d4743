"""Volumes from files: orientation, spacing, range, bad input; drawn ones; cubes and windows."""

import gzip
import itertools
import json

import numpy as np
import pytest

from kerastransfer.data import cubes, volumes
from kerastransfer.data.genesis import Deformations
from kerastransfer.data.toy_volumes import SIDES, toy_volume
from kerastransfer.data.volumes import Volume
from kerastransfer.errors import UserError

nibabel = pytest.importorskip("nibabel", reason="needs nibabel, the extra `volumes`")
SHAPE = (6, 8, 7)


def example(seed=0):
    """An image without symmetries, and labels of 0, 1 and 2."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:5, 3:6], labels[3:5, 2:7, 3:6] = 1, 2
    return (rng.random(SHAPE) * 900 + 40).astype(np.float32), labels


def write(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


@pytest.fixture
def decathlon(tmp_path):
    """A folder in the layout of the Decathlon, with ten volumes."""
    for number in range(10):
        image, labels = example(number)
        write(tmp_path / f"imagesTr/scan_{number}.nii.gz", image)
        write(tmp_path / f"labelsTr/scan_{number}.nii.gz", labels)
    (tmp_path / "imagesTr/._scan_0.nii.gz").write_bytes(b"of a Mac")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "head", "2": "tail"}}))
    return tmp_path


@pytest.fixture
def arrays(tmp_path):
    """A folder of .npy files, with six volumes of which five have labels."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(6):
        image, labels = example(number)
        np.save(tmp_path / f"images/{number}.npy", image.astype("int16"))
        if number != 5:
            np.save(tmp_path / f"labels/{number}.npy", labels.astype("float64"))
    return tmp_path


def test_both_layouts(decathlon):
    found = volumes.load(decathlon)
    assert [one.name for one in found.volumes] == [f"scan_{number}" for number in range(10)]
    assert found.classes == ("background", "head", "tail") and not found.notes
    image, labels = example(3)
    third = found.volumes[3]
    assert (third.labels == labels).all() and third.labels.dtype == np.uint8 and third.spacing == (1, 1, 1)
    low, high = np.percentile(image, (0.5, 99.5))
    np.testing.assert_allclose(third.image, np.clip((image - low) / (high - low), 0, 1), atol=1e-5)
    assert third.image.dtype == np.float32 and third.image.min() == 0 and third.image.max() == 1


def test_arrays_without_a_header(arrays):
    found = volumes.load(arrays)
    assert found.classes == ("background", "label 1", "label 2")
    assert found.volumes[0].spacing is None and found.volumes[5].labels is None
    assert len(found.labelled()) == 5
    with pytest.raises(UserError, match=r"--spacing: .*images.0.npy does not say"):
        volumes.load(arrays, spacing=(1.0, 1.0, 1.0))


def test_newer_names_of_labels(decathlon):
    (decathlon / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "tail": 2, "head": 1}}))
    assert volumes.load(decathlon).classes == ("background", "head", "tail")


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL", "IRP"])
def test_any_orientation_is_turned_to_one(decathlon, codes):
    """A flipped and permuted file, with a header that says so, reads as the file that it was made from."""
    before = volumes.load(decathlon).volumes[2]
    for part in ("imagesTr", "labelsTr"):
        path = decathlon / part / "scan_2.nii.gz"
        given = nibabel.load(path)
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(given.affine), nibabel.orientations.axcodes2ornt(tuple(codes))
        )
        turned = given.as_reoriented(turn)
        assert "".join(nibabel.aff2axcodes(turned.affine)) == codes
        write(path, np.asarray(turned.dataobj), turned.affine)
    after = volumes.load(decathlon).volumes[2]
    assert (after.image == before.image).all() and (after.labels == before.labels).all()


def test_an_image_and_its_labels_may_be_turned_differently(decathlon):
    before = volumes.load(decathlon).volumes[2]
    given = nibabel.load(decathlon / "labelsTr/scan_2.nii.gz")
    turned = given.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    write(decathlon / "labelsTr/scan_2.nii.gz", np.asarray(turned.dataobj), turned.affine)
    assert (volumes.load(decathlon).volumes[2].labels == before.labels).all()


def test_other_spacing_is_said_and_resampled(decathlon):
    image, labels = example(4)
    for part, array in (("imagesTr", image), ("labelsTr", labels)):
        write(decathlon / part / "scan_4.nii.gz", array, np.diag([1, 1, 2, 1]))
    found = volumes.load(decathlon)
    (note,) = found.notes
    assert note.startswith("voxels measure from 1 x 1 x 1 to 1 x 1 x 2 mm") and "scan_4 differ" in note
    assert "--spacing 1 1 1 resamples" in note
    found = volumes.load(decathlon, spacing=(1.0, 1.0, 1.0))
    assert not found.notes and {one.spacing for one in found.volumes} == {(1.0, 1.0, 1.0)}
    fourth = found.volumes[4]
    assert fourth.image.shape == fourth.labels.shape == (6, 8, 14)
    assert (fourth.labels[..., ::2] == labels).all() and set(np.unique(fourth.labels)) == {0, 1, 2}
    assert (found.volumes[0].labels == example(0)[1]).all()


def test_a_scale_in_the_header_counts(decathlon):
    image, _ = example(1)
    path = decathlon / "imagesTr/scan_1.nii.gz"
    scaled = nibabel.Nifti1Image(np.round(image).astype("int16"), np.eye(4))
    scaled.header.set_slope_inter(0.5, -7)
    nibabel.save(scaled, path)
    np.testing.assert_allclose(volumes.load(decathlon).volumes[1].image, volumes.normalised(image), atol=2e-3)


def nan(folder):
    image, _ = example()
    image[0, 0, :2], image[1, 1, 1] = np.nan, np.inf
    write(folder / "imagesTr/scan_3.nii.gz", image)


def another_shape(folder):
    write(folder / "labelsTr/scan_3.nii.gz", example()[1][:, :, 1:])


def another_place(folder):
    affine = np.eye(4)
    affine[0, 3] = 5
    write(folder / "labelsTr/scan_3.nii.gz", example()[1], affine)


def between_labels(folder):
    write(folder / "labelsTr/scan_3.nii.gz", example()[1] * np.float32(0.5))


def too_many_labels(folder):
    write(folder / "labelsTr/scan_3.nii.gz", example()[1] * 2)


def four_axes(folder):
    write(folder / "imagesTr/scan_3.nii.gz", np.zeros((*SHAPE, 2), "float32"))


def all_equal(folder):
    write(folder / "imagesTr/scan_3.nii.gz", np.full(SHAPE, 7, "float32"))


def half_a_file(folder):
    path = folder / "imagesTr/scan_3.nii.gz"
    path.write_bytes(path.read_bytes()[:200])


def no_nifti(folder):
    (folder / "imagesTr/scan_3.nii.gz").write_bytes(gzip.compress(b"no header"))


def no_matrix(folder):
    image = nibabel.Nifti1Image(example()[0], np.eye(4))
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    image.header["srow_x"] = image.header["srow_y"] = (0, 0, 0, 0)
    image._affine = None
    path = folder / "imagesTr/scan_3.nii"
    (folder / "imagesTr/scan_3.nii.gz").unlink()
    path.write_bytes(bytes(image.header.binaryblock) + bytes(4) + example()[0].tobytes(order="F"))


def twice(folder):
    write(folder / "imagesTr/scan_3.nii", example()[0])


def label_alone(folder):
    (folder / "imagesTr/scan_3.nii.gz").unlink()


def broken_json(folder):
    (folder / "dataset.json").write_text('{"labels": {"0": "background", "2": "tail"}}')


def nothing_to_find(folder):
    (folder / "dataset.json").unlink()
    for number in range(10):
        write(folder / f"labelsTr/scan_{number}.nii.gz", np.zeros(SHAPE, np.uint8))


BAD = {
    nan: r"imagesTr.scan_3.nii.gz: 3 of 336 voxels are NaN or infinite; repair or remove the volume",
    another_shape: r"labelsTr.scan_3.nii.gz has 6 x 8 x 6 voxels, but its image 6 x 8 x 7; give labels",
    another_place: r"labelsTr.scan_3.nii.gz: its header puts the labels up to 5 mm from their image; resample",
    between_labels: r"scan_3.nii.gz holds the label 0.5; give whole numbers",
    too_many_labels: r"scan_3.nii.gz holds labels from 0 to 4, but dataset.json names 0 to 2; correct",
    four_axes: r"imagesTr.scan_3.nii.gz has 4 axes, \(6, 8, 7, 2\); give volumes of 3",
    all_equal: r"imagesTr.scan_3.nii.gz: all voxels are 7; take the volume out",
    half_a_file: r"scan_3.nii.gz cannot be read as NIfTI \(.*\); copy the file again",
    no_nifti: r"scan_3.nii.gz cannot be read as NIfTI \(.*\); copy the file again",
    no_matrix: r"scan_3.nii: its header does not say where left, front and top are; repair",
    twice: r"scan_3.nii.* have one name; keep one of them",
    label_alone: r"labelsTr.scan_3.nii.gz has no image in imagesTr/; add it",
    broken_json: r'dataset.json cannot be read \(.*\); it needs "labels"',
    nothing_to_find: r"no label volume has a label above 0",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_named_in_one_line(decathlon, spoil):
    spoil(decathlon)
    with pytest.raises(UserError, match=BAD[spoil]) as caught:
        volumes.load(decathlon)
    assert "\n" not in str(caught.value)


def test_bad_arrays(arrays):
    np.save(arrays / "images/2.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"images.2.npy cannot be read .*numpy.save"):
        volumes.load(arrays)
    np.save(arrays / "images/2.npy", np.ones((3, 4)))
    with pytest.raises(UserError, match=r"images.2.npy has 2 axes, \(3, 4\); give volumes of 3"):
        volumes.load(arrays)
    np.save(arrays / "images/2.npy", np.ones(SHAPE, "complex64"))
    with pytest.raises(UserError, match="numbers of type complex64"):
        volumes.load(arrays)
    np.save(arrays / "images/2.npy", example()[0])
    np.save(arrays / "labels/2.npy", -example()[1].astype(int))
    with pytest.raises(UserError, match="holds labels from -2 to 0, but possible are 0 to 254"):
        volumes.load(arrays)


def test_folders_that_hold_no_volumes(tmp_path):
    with pytest.raises(UserError, match="is not a folder; volumes need imagesTr"):
        volumes.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has neither imagesTr/ nor images/"):
        volumes.load(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(UserError, match=r"holds no .nii.gz or .nii file"):
        volumes.load(tmp_path)
    write(tmp_path / "imagesTr/a.nii.gz", example()[0])
    with pytest.raises(UserError, match="has no label volumes; put at least 5 in labelsTr"):
        volumes.load(tmp_path)


def test_without_nibabel_the_extra_is_named(decathlon, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(UserError, match=r"pip install 'kerastransfer\[volumes\]'"):
        volumes.load(decathlon)


def test_few_bright_voxels_do_not_set_the_range():
    image = np.zeros((10, 10, 10))
    image[0, 0, :3] = (5, 7, 10)
    out = volumes.normalised(image)
    assert out.max() == 1 and out.min() == 0, "even where the percentiles are equal"
    image = np.random.default_rng(0).random((20, 20, 20))
    image[0, 0, 0] = 1e6
    assert volumes.normalised(image).mean() > 0.4


def test_every_fifth_tests_and_subsets_are_nested(decathlon):
    train, test = volumes.split(volumes.load(decathlon))
    assert [one.name for one in test.volumes] == ["scan_4", "scan_9"] and len(train) == 8
    names = [{one.name for one in volumes.subset(train, count, 7).volumes} for count in range(1, 9)]
    assert all(a < b for a, b in itertools.pairwise(names)) and list(map(len, names)) == list(range(1, 9))
    assert len({frozenset(one.name for one in volumes.subset(train, 3, seed).volumes) for seed in range(9)}) > 3
    with pytest.raises(UserError, match="--volumes 9: only 8 training volumes have labels; give at most 8"):
        volumes.subset(train, 9, 0)
    with pytest.raises(UserError, match="4 volumes leave 4 to train and 0 with labels to test"):
        volumes.split(train.only(["scan_0", "scan_1", "scan_2", "scan_3"]))


def test_drawn_volumes_are_always_the_same():
    image, labels = toy_volume(3)
    again, _ = toy_volume(3)
    assert (image == again).all() and (image.shape, labels.dtype) == (labels.shape, np.uint8)
    assert not np.array_equal(toy_volume(4)[0], image)
    found = volumes.load("toy:6")
    assert len(found) == 6 and found.classes == ("background", "front", "back")
    for one in found.volumes:
        assert all(low <= side < high for side, (low, high) in zip(one.image.shape, SIDES, strict=True))
        shares = np.bincount(one.labels.ravel(), minlength=3) / one.labels.size
        assert shares[0] > 0.85 and shares[1:].min() > 0.003
    for data in ("toy:0", "toy:x"):
        with pytest.raises(UserError, match="is not a number of volumes"):
            volumes.load(data)
    with pytest.raises(UserError, match="drawn volumes have no millimetres"):
        volumes.load("toy", spacing=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("corner", [(0, 0, 0), (-2, 3, -1), (4, -3, 5), (9, 9, 9)])
def test_a_cube_is_what_lies_there_and_zeros_around(corner):
    image, cube = example()[0], (4, 6, 8)
    padded = np.pad(image, 12)
    begin = np.add(corner, 12)
    expected = padded[tuple(slice(low, low + side) for low, side in zip(begin, cube, strict=True))]
    assert (cubes.cut(image, corner, cube) == expected).all()


def test_drawn_cubes_lie_in_a_volume_or_cover_it():
    rng, shape, cube = np.random.default_rng(0), (10, 6, 8), (4, 8, 8)
    corners = np.array([cubes.drawn_corner(rng, shape, cube, 0) for _ in range(200)])
    assert (corners.min(0) == (0, -2, 0)).all() and (corners.max(0) == (6, 0, 0)).all()
    corners = np.array([cubes.drawn_corner(rng, shape, cube, 3) for _ in range(400)])
    assert (corners.min(0) == (-3, -5, -3)).all() and (corners.max(0) == (9, 3, 3)).all()


@pytest.mark.parametrize("shape", [(10, 17, 8), (5, 3, 30), (8, 8, 8), (9, 9, 9)])
def test_windows_cover_a_volume(shape):
    cube, seen = (8, 8, 8), np.zeros(shape, int)
    for corner in cubes.windows(shape, cube):
        for begin, side in zip(corner, shape, strict=True):
            assert (0 <= begin <= side - 8) if side >= 8 else begin == -((8 - side) // 2)
        seen[tuple(slice(max(0, begin), begin + 8) for begin in corner)] += 1
    assert seen.min() >= 1


def few(count=5, labelled=True):
    return [
        Volume(
            str(number), np.full((6, 6, 6), number / 10, "float32"), np.ones((6, 6, 6), "uint8") if labelled else None
        )
        for number in range(count)
    ]


def batches(view, count, given=None, **options):
    options = {"cube": (8, 8, 8), "batch_size": 2, "seed": 3, **options}
    found = cubes.training_batches(given or few(), view, **options).take(count)
    return [[part.numpy() for part in batch] for batch in found]


def test_an_epoch_shows_volumes_once_and_is_repeated_by_its_seed():
    six = batches(cubes.segmented, 6)
    for inputs, targets in six:
        assert inputs.shape == (2, 8, 8, 8, 1) and targets.shape == (2, 8, 8, 8)
        assert inputs.dtype == "float32" and targets.dtype == "int32" and set(np.unique(targets)) == {0, 1}
    shown = [round(float(10 * one.max())) for inputs, _ in six[:2] for one in inputs]
    assert len(set(shown)) == 4
    later = batches(cubes.segmented, 4, first_epoch=1)
    assert all(
        (a == b).all() for one, other in zip(six[2:], later, strict=True) for a, b in zip(one, other, strict=True)
    )
    other = batches(cubes.segmented, 6, seed=4)
    assert any((a[0] != b[0]).any() for a, b in zip(six, other, strict=True))


def test_workers_share_a_batch():
    whole = batches(cubes.segmented, 3)
    halves = [batches(cubes.segmented, 3, share=(index, 2)) for index in range(2)]
    for batch, *parts in zip(whole, *halves, strict=True):
        for expected, *given in zip(batch, *parts, strict=True):
            assert (expected == np.concatenate(given)).all()


def test_a_mirrored_cube_has_mirrored_labels():
    image, labels = example()
    given = [Volume("a", image / image.max(), labels)]
    options = {"given": given, "cube": SHAPE, "batch_size": 1, "shift": 0}
    ((plain, truth),) = batches(cubes.segmented, 1, **options)
    ((turned, turned_truth),) = batches(cubes.segmented, 1, **options, flip=1.0)
    assert (turned == plain[:, ::-1]).all() and (turned_truth == truth[:, ::-1]).all() and (turned != plain).any()


def test_the_pretext_needs_no_labels():
    (inputs, targets), *_ = batches(Deformations(), 2, few(labelled=False))
    assert inputs.shape == (2, 8, 8, 8, 1) and targets.shape == (2, 8, 8, 8) and targets.dtype == "float32"
    assert (inputs[..., 0] != targets).any()


@pytest.mark.slow
def test_hippocampus(shared_data):
    """The real set: two labels, float32 and uint8 files of arbitrary ranges."""
    found = volumes.load(shared_data / "Task04_Hippocampus")
    assert len(found) == 87 and found.classes == ("background", "Anterior", "Posterior") and not found.notes
    train, test = volumes.split(found)
    assert (len(train), len(test)) == (70, 17)
    for one in found.volumes:
        assert one.image.min() == 0 and one.image.max() == 1 and 0.1 < one.image.mean() < 0.7
        assert set(np.unique(one.labels)) == {0, 1, 2} and one.spacing == pytest.approx((1, 1, 1))
        # The second axis runs from posterior to anterior.
        behind, front = (np.argwhere(one.labels == label)[:, 1].mean() for label in (2, 1))
        assert front > behind
