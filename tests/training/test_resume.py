"""A run that was killed and resumed ends with the very numbers of the undisturbed run."""

import contextlib
import json

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.errors import UserError
from kerastransfer.training import checkpoint
from kerastransfer.training.callbacks import Resume, StopOnNonFinite, Validation
from kerastransfer.training.terms import TermModel

EPOCHS, STEPS = 4, 3


def compiled(precision="float32", features=4, optimizer=None, eager=True):
    """A model with all that has a state: batch statistics, dropout, Adam, averaged weights.

    Eager, because a graph takes longer to trace than to run."""
    keras.utils.set_random_seed(3)
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        x = inputs = keras.Input((5,), name="x")
        x = keras.layers.BatchNormalization(name="bn")(keras.layers.Dense(features, name="one")(x))
        x = keras.layers.Dropout(0.3)(x)
        network = keras.Model(inputs, keras.layers.Dense(1, name="two", dtype="float32")(x), name="network")
        model = TermModel(network, lambda y, out: {"square": ops.square(out[:, 0] - y["y"])}, {"square": 1.0})
        rate = keras.optimizers.schedules.CosineDecay(0.05, EPOCHS * STEPS)
        optimizer = optimizer or keras.optimizers.AdamW(rate, use_ema=True, ema_momentum=0.8)
        model.compile(optimizer, run_eagerly=eager, jit_compile=False)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    return model


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS * 8, 5)).astype("float32")
    return x, {"y": x.sum(1)}


class Killed(Exception):
    """Stands for the end of the process."""


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise Killed


def run(path, kill=None, callbacks=(), **options):
    """Train, or go on, up to EPOCHS; the model and the rows of its history."""
    model = compiled(**options)
    resume = Resume(path, model)
    killing = [KillAt(*kill)] if kill else []
    with contextlib.suppress(Killed):
        model.fit(
            *data(),
            batch_size=8,
            shuffle=False,
            verbose=0,
            epochs=EPOCHS,
            initial_epoch=resume.first_epoch,
            callbacks=[*killing, *callbacks, resume],
        )
    return model, resume


def state(model):
    return [np.array(v) for v in (*model.network.variables, *model.optimizer.variables)]


def history(resume):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in resume.rows]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"eager": False}, {"precision": "mixed_float16"}], ids=["graph", "float16"])
def test_killed_and_resumed_ends_with_the_same_bits(tmp_path, options):
    whole, undisturbed = run(tmp_path / "whole.npz", **options)
    path = tmp_path / "killed.npz"
    first_epochs = []
    for kill in ((0, 1), (1, 0), (2, 2), (2, 0), None, None):  # the last finds nothing left to do
        keras.optimizers.Adam()  # Keras numbers optimizers by what the process built before
        keras.layers.Dropout(0.1)
        model, resumed = run(path, kill, **options)
        first_epochs.append(resumed.first_epoch)
    assert first_epochs == [0, 0, 1, 2, 2, 4]
    assert history(resumed) == history(undisturbed) and [row["epoch"] for row in resumed.rows] == [1, 2, 3, 4]
    for ours, theirs in zip(state(model), state(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_averaged_weights_are_what_remains(tmp_path):
    model, _ = run(tmp_path / "run.npz")
    averages = [v for v in model.optimizer.variables if "average" in v.path]
    for weight, average in zip(model.network.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(weight, average)
    with np.load(tmp_path / "run.npz") as saved:  # and not what the checkpoint goes on from
        kernel = next(saved[name] for name in saved.files if name.endswith("one/kernel"))
    assert np.any(kernel != model.network.get_layer("one").kernel)


@pytest.mark.slow
def test_a_checkpoint_every_other_epoch(tmp_path):
    model = compiled()
    resume = Resume(tmp_path / "run.npz", model, every=3)
    written = []
    resume.on_epoch = lambda rows: written.append((len(rows), checkpointed(tmp_path / "run.npz")))
    model.fit(*data(), batch_size=8, verbose=0, epochs=4, callbacks=[resume])
    assert written == [(1, 0), (2, 0), (3, 0), (4, 3)] and checkpointed(tmp_path / "run.npz") == 4
    assert not [p for p in tmp_path.iterdir() if p.name != "run.npz"]


def checkpointed(path):
    if not path.exists():
        return 0
    with np.load(path) as saved:
        return json.loads(saved["notes.json"].tobytes())["epoch"]


def validated(path, kill=None, patience=0, rate=0.05, **options):
    """Train, or go on, with a validation part; the model, the rows and the callback."""
    model = compiled(optimizer=keras.optimizers.SGD(rate, use_ema=True, ema_momentum=0.5), **options)
    best = Validation(patience)
    resume = Resume(path, model, others=[best])
    killing = [KillAt(*kill)] if kill else []
    random = np.random.default_rng(1)
    x = random.normal(size=(8, 5)).astype("float32")
    with contextlib.suppress(Killed):
        model.fit(
            *data(),
            batch_size=8,
            shuffle=False,
            verbose=0,
            epochs=resume.first_epoch if best.stopped else EPOCHS,
            initial_epoch=resume.first_epoch,
            validation_data=(x, {"y": x.sum(1) if rate else x[:, 0]}),
            callbacks=[*killing, best, resume],
        )
    return model, resume, best


@pytest.mark.slow
def test_what_is_validated_is_what_is_kept(tmp_path):
    """The averages, in inference mode; and the weights that are trained on are the very same afterwards."""
    model, resume, best = validated(tmp_path / "run.npz")
    losses = [row["val_loss"] for row in resume.rows]
    assert best.best_epoch == 1 + int(np.argmin(losses)) and best.best == min(losses) and len(set(losses)) == EPOCHS
    random = np.random.default_rng(1)
    x = random.normal(size=(8, 5)).astype("float32")
    targets = {"y": x.sum(1)}
    assert model.evaluate(x, targets, verbose=0)[0] == pytest.approx(losses[-1], rel=1e-6)  # averages after `fit`
    best.put_back(model.network)
    assert model.evaluate(x, targets, verbose=0)[0] == pytest.approx(min(losses), rel=1e-6)
    alone = compiled(optimizer=keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5))
    alone.fit(*data(), batch_size=8, shuffle=False, verbose=0, epochs=EPOCHS)
    for ours, theirs in zip(model.optimizer.variables, alone.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("patience", [0, 2])
def test_validation_goes_on_after_a_kill(tmp_path, patience):
    """Best weights, best epoch, patience: all as in the undisturbed run. At a rate of 0 no epoch is better than the
    first, so that patience ends."""
    rate = 0.0 if patience else 0.05
    whole, undisturbed, kept = validated(tmp_path / "whole.npz", patience=patience, rate=rate)
    kept.put_back(whole.network)
    for kill in ((1, 0), (2, 1), None, None):
        model, resumed, best = validated(tmp_path / "run.npz", kill, patience, rate)
    best.put_back(model.network)
    assert history(resumed) == history(undisturbed) and len(resumed.rows) == (1 + patience if patience else EPOCHS)
    assert (best.best, best.best_epoch, best.wait) == (kept.best, kept.best_epoch, kept.wait)
    assert best.stopped == bool(patience)
    for ours, theirs in zip(model.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_validation_loss_that_is_never_a_number():
    model, best = compiled(), Validation()
    model.fit(
        *data(), batch_size=8, verbose=0, validation_data=(data()[0], {"y": data()[1]["y"] * np.nan}), callbacks=[best]
    )
    with pytest.raises(UserError, match="the validation loss was never a number"):
        best.put_back(model.network)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint(tmp_path, share):
    path = tmp_path / "run.npz"
    checkpoint.save(path, compiled(), {"epoch": 1})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    model = compiled()
    before = state(model)
    with pytest.raises(UserError, match=r"the file is damaged.*remove it to train this phase from the start"):
        Resume(path, model)
    for ours, theirs in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "other",
    [{"features": 5}, {"optimizer": "sgd"}, {"optimizer": keras.optimizers.AdamW(0.1)}, {"precision": "mixed_float16"}],
    ids=["wider", "sgd", "not averaged", "scaled loss"],
)
def test_the_checkpoint_of_another_model(tmp_path, other):
    checkpoint.save(tmp_path / "run.npz", compiled(), {"epoch": 1})
    with pytest.raises(UserError, match="the checkpoint of another model or optimizer"):
        Resume(tmp_path / "run.npz", compiled(**other))


def test_a_weights_file_is_no_checkpoint(tmp_path):
    np.savez(tmp_path / "run.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="the checkpoint of another model or optimizer"):
        Resume(tmp_path / "run.npz", compiled())


class Poison(keras.callbacks.Callback):
    """Spoils the weights at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            kernel = self.model.network.get_layer("two").kernel
            kernel.assign(np.full(kernel.shape, np.inf))


@pytest.mark.parametrize(("epoch", "word"), [(0, "no epoch was finished"), (2, "the weights of epoch 2 are kept in")])
@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path, epoch, word):
    path = tmp_path / "run.npz"
    with pytest.raises(UserError, match=rf"the loss became .* in epoch {epoch + 1}, step 1; {word}"):
        run(path, callbacks=[Poison(epoch), StopOnNonFinite(path)])
    assert checkpointed(path) == epoch
    if epoch:
        model = compiled()
        assert Resume(path, model).first_epoch == epoch
        assert all(np.isfinite(value).all() for value in state(model))


class Explode(keras.callbacks.Callback):
    """The last step of an epoch destroys a weight: its loss, of before, says nothing."""

    def __init__(self, epoch, averaged):
        super().__init__()
        self.epoch, self.averaged = epoch, averaged

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, STEPS - 1):
            weight = self.model.network.get_layer("two").kernel
            if self.averaged:
                weight = next(v for v in self.model.optimizer.variables if "two_kernel_average" in v.path)
            weight.assign(np.full(weight.shape, np.nan))


@pytest.mark.slow
@pytest.mark.parametrize("averaged", [False, True], ids=["weights", "averages"])
@pytest.mark.parametrize("epoch", [0, EPOCHS - 1])
def test_weights_that_are_not_finite_are_never_kept(tmp_path, epoch, averaged):
    path = tmp_path / "run.npz"
    with pytest.raises(UserError, match=rf"weights became NaN or infinite in epoch {epoch + 1} \(.*two.*kernel"):
        run(path, callbacks=[Explode(epoch, averaged), StopOnNonFinite(path)])
    assert checkpointed(path) == epoch
