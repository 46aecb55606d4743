"""Batches are a function of seed, epoch and step alone."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastransfer.data import datasets
from kerastransfer.data.decoded import Decoded, decode
from kerastransfer.data.mask_crops import Ragged
from kerastransfer.data.pipeline import at_once, evaluation_batches, steps_per_epoch, training_batches
from kerastransfer.data.transforms import FLIP_ONLY, Augmentation
from kerastransfer.data.views import annotated, augmented, distorted_and_clean, two_crops

SIZE = (16, 24)
CROP = 4  # batches are made in the same way whatever the size of crops
STILL = dataclasses.replace(FLIP_ONLY, flip=0.0)


def decoded(count=10, boxes=3):
    """Image i is of colour 20 i; its label is i."""
    image = np.zeros((count, 20, 28, 3), "uint8") + (20 * np.arange(count, dtype="uint8"))[:, None, None, None]
    arrays = {
        "image": image,
        "boxes": np.tile(np.array([0.25, 0.25, 0.75, 0.5], "float32"), (count, boxes, 1)),
        "labels": np.repeat(np.arange(count, dtype="int32")[:, None], boxes, 1),
        "segmentation": image[..., 0] // 20,
        "frames": np.tile(np.array([0.25, 0.25, 0.75, 0.5], "float32"), (count, boxes, 1)),
    }
    crops = np.repeat(np.arange(count, dtype="uint8"), boxes)[:, None, None] + np.zeros((CROP, CROP), "uint8")
    arrays["masks"] = Ragged(crops, boxes * np.arange(count + 1), boxes)
    return Decoded(tuple(f"{i:03d}" for i in range(count)), arrays)


def batches(number, count=10, how=STILL, batch_size=4, seed=0, **options):
    """The first batches, as arrays."""
    options = {"view": augmented(how), "plain": augmented(dataclasses.replace(how, mosaic=0.0)), **options}
    data = training_batches(decoded(count), size=SIZE, batch_size=batch_size, seed=seed, **options)
    return [arrays(batch) for batch in itertools.islice(data, number)]


def arrays(batch):
    """A batch in NumPy."""
    return tuple({k: v.numpy() for k, v in x.items()} if isinstance(x, dict) else x.numpy() for x in batch)


undisturbed = functools.cache(batches)  # what a run sees that nothing disturbs


def order(number, **options):
    """Which samples the batches hold."""
    return [targets["labels"][:, 0].tolist() for _, targets in undisturbed(number, **options)]


def same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for (image, targets), (other_image, other_targets) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(image, other_image)
        assert targets.keys() == other_targets.keys()
        for name, value in targets.items():
            np.testing.assert_array_equal(value, other_targets[name])


@pytest.mark.slow
def test_what_a_batch_is():
    image, targets = undisturbed(40)[0]
    assert image.shape == (4, *SIZE, 3) and image.dtype == np.float32
    assert {k: (v.shape, v.dtype) for k, v in targets.items()} == {
        "boxes": ((4, 3, 4), np.float32),
        "labels": ((4, 3), np.int32),
        "segmentation": ((4, *SIZE), np.uint8),
        "masks": ((4, 3, CROP, CROP), np.uint8),
        "frames": ((4, 3, 4), np.float32),
    }
    numbers = targets["labels"][:, 0]
    np.testing.assert_array_equal(targets["masks"][:, :, 0, 0], targets["labels"])
    np.testing.assert_allclose(image, 20 * numbers[:, None, None, None] + np.zeros_like(image), atol=0.01)
    np.testing.assert_array_equal(
        targets["segmentation"], numbers[:, None, None] + np.zeros_like(targets["segmentation"])
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [STILL, Augmentation(mosaic=0.5)], ids=["plain", "mosaic"])
def test_shapes_are_known_before_it_runs(how):
    data = training_batches(decoded(), size=SIZE, batch_size=4, view=augmented(how), seed=0)
    image, targets = data.element_spec
    boxes = 12 if how.mosaic else 3
    assert image.shape == (4, *SIZE, 3) and targets["boxes"].shape == (4, boxes, 4)
    assert targets["labels"].shape == (4, boxes) and targets["segmentation"].shape == (4, *SIZE)
    assert targets["masks"].shape == (4, boxes, CROP, CROP) and targets["frames"].shape == (4, boxes, 4)


@pytest.mark.slow
def test_an_epoch_is_a_permutation_and_the_rest_is_left_out():
    assert steps_per_epoch(len(decoded()), 4) == 2
    rows = order(40)
    epochs = [rows[i] + rows[i + 1] for i in (0, 2, 4)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert sorted(order(1, batch_size=10)[0]) == list(range(10))
    seen = set(itertools.chain(*order(40)))
    assert seen == set(range(10))  # what is left out differs from epoch to epoch


@pytest.mark.parametrize(("count", "batch_size"), [(3, 8), (1, 4), (4, 4)])
def test_fewer_samples_than_a_batch_are_repeated(count, batch_size):
    assert steps_per_epoch(count, batch_size) == 1
    for rows in order(3, count=count, batch_size=batch_size):
        times = np.bincount(rows, minlength=count)
        assert times.sum() == batch_size and times.max() - times.min() <= 1


HOW = pytest.mark.parametrize("how", [Augmentation(), Augmentation(mosaic=0.5)], ids=["plain", "mosaic"])


@pytest.mark.slow
@HOW
def test_the_same_seed_gives_the_same_batches(how):
    first = undisturbed(9, how=how)
    same(batches(9, how=how), first)
    other = batches(9, how=how, seed=1)
    assert all(np.any(a[0] != b[0]) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
@HOW
def test_resuming_at_an_epoch_goes_on_with_the_same_batches(how):
    same(batches(3, how=how, first_epoch=3), undisturbed(9, how=how)[6:])


@pytest.mark.slow
@HOW
def test_with_a_gpu_several_batches_are_made_at_once_and_are_the_same(how, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a device"] * (kind == "GPU"))
    monkeypatch.setattr("kerastransfer.data.pipeline.cores", lambda: 4)
    assert at_once() == 3
    same(batches(9, how=how), undisturbed(9, how=how))


@pytest.mark.parametrize(("device", "batches"), [("gpu", 3), ("cpu", 1)])
def test_on_jax_it_is_jax_that_knows_the_gpu(device, batches, monkeypatch):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install kerastransfer[jax]")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    monkeypatch.setattr("kerastransfer.data.pipeline.cores", lambda: 4)
    assert at_once() == batches


@pytest.mark.slow
@pytest.mark.parametrize("first_epoch", [1, 3])
def test_mosaics_end_before_the_run_does(first_epoch):
    """Epochs 0 and 1 have mosaics, of four samples each; from 2 on there are none, and shapes stay."""
    how = dataclasses.replace(STILL, mosaic=1.0)
    found = batches(8 - 2 * first_epoch, how=how, plain_from=2, first_epoch=first_epoch)
    same(found, undisturbed(8, how=how, plain_from=2)[2 * first_epoch :])
    for step, (image, targets) in enumerate(found, start=2 * first_epoch):
        mixed = [len(np.unique(np.round(picture))) > 1 for picture in image]
        assert all(mixed) if step < 4 else not any(mixed)
        assert targets["boxes"].shape == (4, 12, 4)
        assert targets["frames"].shape == (4, 12, 4) and targets["masks"].shape == (4, 12, CROP, CROP)
        assert (targets["labels"] >= 0).sum() == 4 * (12 if step < 4 else 3)
    if first_epoch >= 2:
        plain = undisturbed(40)[2 * first_epoch :]
        for (image, _), (other, _) in zip(found, plain, strict=False):
            np.testing.assert_array_equal(image, other)


def test_data_without_boxes():
    some = decoded()
    data = Decoded(some.names, {name: some.arrays[name] for name in ("image", "segmentation")})
    stream = training_batches(data, size=SIZE, batch_size=4, view=augmented(Augmentation()), seed=0)
    image, targets = next(iter(stream))
    assert list(targets) == ["segmentation"] and image.shape == (4, *SIZE, 3)


def test_images_are_read_when_they_are_needed():
    """As constants of the graph they would be copied, and 2 GB would be the end."""
    some = decoded()
    stream = iter(training_batches(some, size=SIZE, batch_size=4, view=augmented(STILL), seed=0))
    next(stream)
    some.arrays["image"][:] = 77
    later = list(itertools.islice(stream, 5))[-1]
    np.testing.assert_allclose(later[0], 77, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
def test_shares_of_a_batch_make_up_the_whole_one(parts):
    """Cut, mirrored and coloured as in the whole batch, so that workers train on what one device would."""
    how = Augmentation(mosaic=0.0)
    whole = batches(3, how=how)
    shares = [batches(3, how=how, share=(part, parts)) for part in range(parts)]
    for number, (image, targets) in enumerate(whole):
        own = [share[number] for share in shares]
        assert all(len(part[0]) == 4 // parts for part in own)
        np.testing.assert_array_equal(np.concatenate([part[0] for part in own]), image)
        for name, value in targets.items():
            np.testing.assert_array_equal(np.concatenate([part[1][name] for part in own]), value)


SIDES = (16, 32)


def sides(found):
    """Of the images and maps of batches."""
    assert all(image.shape[1] == image.shape[2] == targets["segmentation"].shape[1] for image, targets in found)
    return [image.shape[1] for image, _ in found]


@pytest.mark.slow
def test_another_side_every_ten_steps():
    """Drawn by the number of the step in the whole run (five epochs of two steps are a block), the same for the same
    seed, for a run that resumes, and for every worker."""
    how = Augmentation(mosaic=0.5)
    found = batches(60, sides=SIDES)
    drawn = sides(found)
    assert all(len(set(drawn[start : start + 10])) == 1 for start in range(0, 60, 10)) and set(drawn) == set(SIDES)
    assert sides(batches(60, sides=SIDES, seed=1)) != drawn
    mosaics = batches(12, how=how, sides=SIDES)
    assert sides(mosaics) == drawn[:12]
    same(batches(4, how=how, sides=SIDES, first_epoch=4), mosaics[8:])
    for number, (_, targets) in enumerate(mosaics[:9]):  # the same cuts as ever
        np.testing.assert_allclose(targets["boxes"], undisturbed(9, how=how)[number][1]["boxes"], atol=1e-6)
    assert sides(batches(12, sides=SIDES, share=(1, 2))) == drawn[:12]


@pytest.mark.slow
def test_the_last_epochs_have_the_size_itself():
    found = batches(28, sides=(48,), plain_from=12)
    assert [image.shape[1:3] for image, _ in found] == [(48, 48)] * 24 + [SIZE] * 4
    same(found[24:], undisturbed(28)[24:])
    same(batches(2, sides=(48,), plain_from=12, first_epoch=13), undisturbed(28)[26:])


@pytest.mark.slow
def test_a_larger_side_shows_the_same():
    """The same windows, twice as large: every second row and column lies between two others."""
    small, large = (batches(1, how=Augmentation(), sides=(side,))[0] for side in (16, 32))
    np.testing.assert_allclose(large[1]["boxes"], small[1]["boxes"], atol=1e-6)
    pooled = large[0].reshape(4, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(pooled - small[0]).mean() < 2


@pytest.mark.slow
def test_annotations_go_in_beside_the_image():
    for how in (Augmentation(), Augmentation(mosaic=0.5)):
        ours, theirs = batches(3, view=annotated(how)), undisturbed(9, how=how)
        for (inputs, targets), (image, expected) in zip(ours, theirs, strict=False):
            same([(image, targets)], [(image, expected)])
            same([(image, inputs)], [(image, {"image": image, **expected})])


@pytest.mark.slow
def test_annotations_have_one_shape_with_mosaics_and_without():
    how = Augmentation(mosaic=0.5)
    plain = annotated(dataclasses.replace(how, mosaic=0.0))
    found = batches(4, view=annotated(how), plain=plain, plain_from=1)
    assert {inputs["boxes"].shape for inputs, _ in found} == {targets["boxes"].shape for _, targets in found}
    assert found[3][0]["boxes"].shape == (4, 12, 4) and (found[3][0]["labels"] >= 0).sum(1).max() <= 3
    assert (found[3][0]["labels"][:, 3:] == -1).all()


def marked(images, seed, share):
    """Blackens the upper left pixel of each image."""
    altered = np.zeros(images.shape[:3], "float32")
    altered[:, 0, 0] = 1
    return images * (1 - altered[..., None]), altered


def colours(count=6):
    """Decoded images of noise, so that no two windows are alike."""
    images = np.random.default_rng(0).integers(0, 256, (count, 24, 24, 3), "uint8")
    return Decoded(tuple(map(str, range(count))), {"image": images})


@pytest.mark.slow
def test_two_crops_are_windows_of_the_same_images():
    """With windows that are the whole image both are the image; else they differ, from each other and in each step."""
    make = {"size": (24, 24), "batch_size": 3, "seed": 1}
    for how in (STILL, Augmentation()):
        data = training_batches(colours(), view=two_crops(how), **make)
        found = [arrays(batch) for batch in itertools.islice(data, 4)]
        for inputs, targets in found:
            assert list(inputs) == ["first", "second"] and inputs["first"].shape == (3, 24, 24, 3)
            assert all(np.array_equal(targets[name], targets[f"{name}_colours"]) for name in inputs)
            assert all(np.array_equal(inputs[name], targets[name]) for name in inputs)
            apart = np.abs(inputs["first"] - inputs["second"]).mean((1, 2, 3))
            assert (apart < 0.1).all() if how is STILL else (apart > 5).all()
        again = [arrays(b) for b in itertools.islice(training_batches(colours(), view=two_crops(how), **make), 4)]
        for ours, theirs in zip(found, again, strict=True):
            same([(ours[0]["first"], ours[0])], [(theirs[0]["first"], theirs[0])])


def test_two_crops_distorted_and_recoloured():
    """Colour changes what is shown and what is wanted, distortion what is shown alone."""
    view = two_crops(STILL, recolour=lambda images, seed, share: images * 0 + 7, distort=marked)
    inputs, targets = arrays(next(iter(training_batches(colours(), view=view, size=(24, 24), batch_size=3, seed=1))))
    clean = ["first", "first_altered", "first_colours", "second", "second_altered", "second_colours"]
    assert sorted(targets) == clean
    for name in ("first", "second"):
        assert (targets[name] == 7).all() and (inputs[name][:, 0, 0] == 0).all() and (inputs[name][:, 1:] == 7).all()
        assert targets[f"{name}_altered"].sum() == 3


@pytest.mark.slow
def test_distorted_and_clean():
    view, clean = distorted_and_clean(Augmentation(), marked), undisturbed(9, how=Augmentation())
    for (image, targets), (whole, expected) in zip(batches(3, view=view), clean, strict=False):
        np.testing.assert_array_equal(targets["image"], whole)
        assert (image[:, 0, 0] == 0).all() and targets["altered"].sum() == 4
        np.testing.assert_array_equal(image[:, 1:], whole[:, 1:])
        same([(image, {name: targets[name] for name in expected})], [(image, expected)])


@pytest.mark.slow
def test_shares_of_two_crops_make_up_the_whole():
    whole, *parts = (
        batches(2, how=Augmentation(), view=two_crops(Augmentation()), share=share)
        for share in ((0, 1), (0, 2), (1, 2))
    )
    for number, (inputs, _) in enumerate(whole):
        for name, value in inputs.items():
            np.testing.assert_array_equal(np.concatenate([part[number][0][name] for part in parts]), value)


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (8, 4), (2, 4), (1, 1)])
def test_evaluation_shows_every_image_once_and_as_it_is(count, batch_size):
    data = decoded(count)
    size = data.arrays["image"].shape[1:3]
    found = [arrays(batch) for batch in evaluation_batches(data, size=size, batch_size=batch_size)]
    assert all(len(image) == len(weights) == batch_size for image, _, weights in found)
    weights = np.concatenate([weights for _, _, weights in found])
    assert weights.tolist() == [1] * count + [0] * (len(weights) - count) and len(weights) < count + batch_size
    images = np.concatenate([image for image, _, _ in found])[:count]
    np.testing.assert_allclose(images, data.arrays["image"], atol=0.02)
    for name in ("boxes", "labels", "segmentation", "frames"):
        values = np.concatenate([targets[name] for _, targets, _ in found])[:count]
        np.testing.assert_allclose(values, data.arrays[name], atol=1e-6)


@pytest.mark.slow
def test_shares_of_an_evaluation_make_up_the_whole():
    whole, *parts = (
        [arrays(batch) for batch in evaluation_batches(decoded(), size=SIZE, batch_size=4, share=share)]
        for share in ((0, 1), (0, 2), (1, 2))
    )
    for batch, *shares in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([share[0] for share in shares]), batch[0])
        np.testing.assert_array_equal(np.concatenate([share[2] for share in shares]), batch[2])


@pytest.mark.slow
def test_a_folder_per_class_trains_a_classifier(tmp_path, draw):
    """Every image is its class's colour with noise; augmented, each still comes with its own label."""
    import keras

    colours = {"blue": (30, 30, 200), "green": (30, 200, 30), "red": (200, 30, 30)}
    for number, (name, colour) in enumerate(colours.items()):
        for k in range(4 + number):
            noise = np.random.default_rng((number, k)).integers(-30, 30, (20, 30, 3))
            draw(tmp_path / f"{name}/{k}.png", (np.array(colour) + noise).astype(np.uint8))
    dataset = datasets.load(tmp_path)
    found = decode(dataset, ["label"], (24, 24))
    assert found.arrays["label"].dtype == np.int32
    assert found.arrays["label"].tolist() == [0] * 4 + [1] * 5 + [2] * 6
    batches = training_batches(found, size=(16, 16), batch_size=5, view=augmented(Augmentation()), seed=0)
    seen = []
    for image, targets in batches.take(3):
        assert targets.keys() == {"label"}
        assert (image.shape, targets["label"].shape, targets["label"].dtype) == ((5, 16, 16, 3), (5,), tf.int32)
        # Brightest channels 2, 1, 0 are the classes 0, 1, 2.
        np.testing.assert_array_equal(2 - np.asarray(image)[:, 4:12, 4:12].mean((1, 2)).argmax(-1), targets["label"])
        seen += targets["label"].numpy().tolist()
    assert sorted(seen) == [0] * 4 + [1] * 5 + [2] * 6
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255)])
    network.add(keras.layers.GlobalAveragePooling2D())
    network.add(keras.layers.Dense(3, activation="softmax"))
    network.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    labelled = batches.map(lambda image, targets: (image, targets["label"]))
    history = network.fit(labelled, steps_per_epoch=30, epochs=1, shuffle=False, verbose=0)
    assert history.history["loss"][-1] < 0.9
    assert (network.predict(found.arrays["image"][:, 4:20, 4:20], verbose=0).argmax(-1) == found.arrays["label"]).all()
