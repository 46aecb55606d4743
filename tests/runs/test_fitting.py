"""What stands around `fit`: an objective, a validation part, early stopping, resume, and settings that cannot be."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.data import datasets, views
from kerastransfer.data.dataset import BadSampleError
from kerastransfer.errors import UserError
from kerastransfer.runs import fit_settings, fitting
from kerastransfer.runs.folder import RunFolder
from kerastransfer.training import optimizers

DATA = "toy:20"
SMALL = {"data": DATA, "image_size": 16, "batch_size": 4, "quiet": True, "ema": 0.5, "warmup_epochs": 0, "mosaic": 0.5}


@pytest.fixture(scope="module")
def train():
    return datasets.load(DATA, "auto", progress=False)


def network(annotated=False):
    """Image to (B, 1); annotated: it also adds how many boxes there are, times a weight."""
    keras.utils.set_random_seed(2)
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(2, 3, activation="relu", name="conv")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(1, name="out")(keras.layers.GlobalAveragePooling2D()(x))
    if not annotated:
        return keras.Model(image, x, name="small")
    labels = keras.Input((None,), dtype="int32", name="labels")
    boxes = keras.Input((None, 4), name="boxes")
    number = ops.sum(ops.cast(labels >= 0, "float32"), 1, keepdims=True)
    x = keras.layers.Add()([x, keras.layers.Dense(1, name="per_box")(number + 0 * ops.sum(boxes, (1, 2))[:, None])])
    return keras.Model({"image": image, "labels": labels, "boxes": boxes}, x, name="small")


def terms(targets, out):
    """The number of objects; each image's is a plain mean, so that a validation loss is easily made by hand."""
    number = ops.sum(ops.cast(targets["labels"] >= 0, "float32"), 1)
    return {"square": ops.square(out[:, 0] - number)}


def objective(annotated=False, **options):
    found = {"fields": ("boxes",), "epochs": 4, "learning_rate": 0.05, "mosaic": 0.5, **options}
    if annotated:
        found["view"] = views.annotated
    return fitting.Objective(network(annotated), terms, {"square": 1.0}, **found)


def fit(folder, train, goal=None, config=None, **settings):
    """The objective that was trained, and the rows of history.csv."""
    goal = goal or objective()
    config = config or fit_settings.TrainingConfig(output=str(folder), **{**SMALL, **settings})
    with RunFolder("detector", config) as run:
        fitting.fit(goal, train, config, run, "phase")
        return goal, [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]


@pytest.mark.slow
def test_without_a_validation_part_all_images_train(tmp_path, train, capsys):
    _, rows = fit(tmp_path / "run", train, quiet=False)
    assert [row["epoch"] for row in rows] == list("1234") and set(rows[0]) == {"phase", "epoch", "loss", "square"}
    assert "phase: 20 images, 4 epochs of 5 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_the_best_weights_are_kept(tmp_path, train, capsys):
    """A rate that is too high: the loss goes up and down. What is kept has the least loss, on images that nobody
    augmented, and by the averages of the weights."""
    goal, rows = fit(tmp_path / "run", train, objective(learning_rate=0.5), validation=0.3, quiet=False)
    losses = [float(row["val_loss"]) for row in rows]
    assert [row["val_square"] for row in rows] == [row["val_loss"] for row in rows] and len(losses) == 4
    said = capsys.readouterr().out
    assert "phase: 14 images, 4 epochs of 3 steps" in said and "val_loss" in said
    assert f"the weights of epoch {1 + np.argmin(losses)} are kept, validation loss" in said
    _, held = fitting.splits.holdout(train.having("boxes"), 0.3, 0)
    config = fit_settings.TrainingConfig(**SMALL)
    images = np.concatenate(list(fitting.some_images(held, config)))
    numbers = [len(sample.read()["boxes"]) for sample in held.samples]
    by_hand = np.mean((goal.network.predict(images, verbose=0)[:, 0] - numbers) ** 2)
    assert by_hand == pytest.approx(min(losses), rel=1e-3)


@pytest.mark.slow
def test_early_stopping(tmp_path, train):
    """At next to no learning rate nothing gets better."""
    goal = objective(learning_rate=1e-30, epochs=9)
    _, rows = fit(tmp_path / "run", train, goal, validation=0.3, early_stopping=2)
    assert len(rows) == 3


class Killed(Exception):
    """Stands for the end of the process."""


@contextlib.contextmanager
def killed_at(epoch, monkeypatch):
    """Ends `fit` in this epoch, after the checkpoint of the one before, without any further word."""

    def append(run, rows):
        rows = list(rows)
        if rows and rows[0]["epoch"] == epoch:
            raise Killed
        real(run, rows)

    real = RunFolder.append_history
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(RunFolder, "append_history", append)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("annotated", [False, True], ids=["image", "annotated"])
def test_killed_and_resumed(tmp_path, train, monkeypatch, annotated):
    """Best weights, patience and batches go on: the same weights and history as undisturbed, to the last bit."""
    settings = {"validation": 0.3, "early_stopping": 3, "deterministic": False}
    rate = {"learning_rate": 0.3}
    whole, undisturbed = fit(tmp_path / "whole", train, objective(annotated, **rate), **settings)
    config = fit_settings.TrainingConfig(output=str(tmp_path / "run"), **SMALL, **settings)
    for epoch in (2, 4):
        with killed_at(epoch, monkeypatch):
            fit(None, train, objective(annotated, **rate), config)
        config = dataclasses.replace(config, resume=True)
    resumed, rows = fit(None, train, objective(annotated, **rate), config)
    assert rows == undisturbed
    for ours, theirs in zip(resumed.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again, rows = fit(None, train, objective(annotated, **rate), config)  # nothing is left to do
    assert rows == undisturbed
    for ours, theirs in zip(again.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def through(folder, data, caches, monkeypatch):
    """The weights of a run that is killed in its second epoch, and goes on with the other of two `caches`."""
    config = fit_settings.TrainingConfig(output=str(folder), **SMALL)
    with killed_at(2, monkeypatch):
        fit(None, data, objective(), dataclasses.replace(config, cache=caches[0], loader_threads=1))
    goal = objective()
    fit(None, data, goal, dataclasses.replace(config, cache=caches[1], loader_threads=2, resume=True))
    return goal.network.get_weights()


@pytest.mark.slow
def test_killed_and_resumed_with_any_cache(tmp_path, train, monkeypatch):
    wanted, _ = fit(tmp_path / "whole", train)
    for caches in (("none", "disk"), ("memory", "none")):
        found = through(tmp_path / "-".join(caches), train, caches, monkeypatch)
        for ours, theirs in zip(found, wanted.network.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_photo_that_is_damaged_while_training(tmp_path, train, monkeypatch, capsys):
    """It is left out alike by the run that is resumed, and named by each."""

    def damaged():
        raise BadSampleError("image is damaged")

    def annotations(fields):
        return train.samples[3].annotations(*fields)

    damaged.annotations = annotations
    samples = (*train.samples[:3], dataclasses.replace(train.samples[3], read=damaged), *train.samples[4:])
    data = dataclasses.replace(train, samples=samples)
    wanted = fit(tmp_path / "whole", data, cache="none")[0].network.get_weights()
    found = through(tmp_path / "run", data, ("none", "none"), monkeypatch)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    name = train.samples[3].name
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert told == [f"warning: {name}: image is damaged; the next image takes its place"] * 3


@pytest.mark.slow
def test_all_photos_are_gone_while_training(tmp_path, train):
    def gone():
        raise BadSampleError("image is missing")

    gone.annotations = lambda fields: train.samples[0].annotations(*fields)
    samples = tuple(dataclasses.replace(sample, read=gone) for sample in train.samples)
    with pytest.raises(UserError, match=r"no training image can be read any more \(image is missing\); put the data"):
        fit(tmp_path / "run", dataclasses.replace(train, samples=samples), cache="none")


def test_a_batch_that_repeats_the_images_too_often(tmp_path, train):
    with pytest.raises(UserError, match=r"--batch-size 1000000 is more than 16 times the 20 training images"):
        fit(tmp_path / "run", train, batch_size=1_000_000)


@pytest.mark.slow
def test_a_run_that_had_stopped_early_is_not_trained_on(tmp_path, train):
    goal = {"learning_rate": 1e-30, "epochs": 9}
    config = fit_settings.TrainingConfig(output=str(tmp_path / "run"), validation=0.3, early_stopping=2, **SMALL)
    _, rows = fit(None, train, objective(**goal), config)
    _, again = fit(None, train, objective(**goal), dataclasses.replace(config, resume=True))
    assert again == rows and len(rows) == 3


@pytest.mark.slow
def test_validation_images_that_are_given(tmp_path, train):
    names = [sample.name for sample in train.samples]
    config = fit_settings.TrainingConfig(output=str(tmp_path / "run"), **SMALL)
    with RunFolder("detector", config) as run:
        parts = train.only(names[:12]), train.only(names[12:])
        fitting.fit(objective(epochs=1), parts[0], config, run, "phase", validation=parts[1])
        assert "val_loss" in run.history()[0]


@pytest.mark.slow
def test_a_step_that_destroys_the_weights_leaves_none(tmp_path, train):
    """The last step of all, whose loss was finite."""
    goal = objective(learning_rate=float("inf"), epochs=1)
    with pytest.raises(UserError, match=r"weights became NaN or infinite in epoch 1 .*; no epoch was finished; lower"):
        fit(tmp_path / "run", train, goal, batch_size=20, schedule="constant")
    assert not (tmp_path / "run/checkpoints/phase.npz").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": float("inf")}, "--learning-rate is inf; it must be a finite number"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan; it must be a finite number"),
        ({"optimizer": "sgd", "optim": optimizers.AdamW()}, "not those of --optimizer sgd"),
        ({"optimizer": "sdg"}, "unknown --optimizer sdg; choose adamw, adam, sgd, lars"),
        ({"validation": 1.0}, "--validation is 1.0; it must be at least 0 and below 1"),
        ({"early_stopping": -1}, "--early-stopping is -1"),
        ({"loader_threads": -1}, "--loader-threads is -1; it must be at least 0"),
        ({"early_stopping": 5}, "--early-stopping 5 needs images to validate on; add --validation 0.1"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(UserError, match=words):
        fit_settings.TrainingConfig(**settings)


def test_a_validation_part_that_leaves_nothing(tmp_path, train):
    with pytest.raises(UserError, match=r"share of 0\.01 leaves 20 of 20 images to train and 0 for validation"):
        fit(tmp_path / "run", train, validation=0.01)
