"""A run that was killed and resumed ends with the very numbers of the undisturbed run."""

import contextlib
import json

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.errors import UserError
from kerastransfer.training import checkpoint
from kerastransfer.training.callbacks import Resume, StopOnNonFinite
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


def run(path, kill=None, callbacks=(), others=(), **options):
    """Train, or go on, up to EPOCHS; the model and the rows of its history."""
    model = compiled(**options)
    resume = Resume(path, model, others=tuple(others))
    killing = [KillAt(*kill)] if kill else []
    with contextlib.suppress(Killed):
        model.fit(
            *data(),
            batch_size=8,
            shuffle=False,
            verbose=0,
            epochs=EPOCHS,
            initial_epoch=resume.first_epoch,
            callbacks=[*killing, *callbacks, *others, resume],
        )
    return model, resume


def state(model):
    return [np.array(v) for v in (*model.network.variables, *model.optimizer.variables)]


def history(resume):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in resume.rows]


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


def test_averaged_weights_are_what_remains(tmp_path):
    model, _ = run(tmp_path / "run.npz")
    averages = [v for v in model.optimizer.variables if "average" in v.path]
    for weight, average in zip(model.network.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(weight, average)
    with np.load(tmp_path / "run.npz") as saved:  # and not what the checkpoint goes on from
        kernel = next(saved[name] for name in saved.files if name.endswith("one/kernel"))
    assert np.any(kernel != model.network.get_layer("one").kernel)


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


def test_state_of_other_callbacks_goes_on(tmp_path):
    """keras#14862: without this the counters of patience begin anew."""

    def stopper():
        return keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=2, mode="min")

    whole = stopper()
    run(tmp_path / "whole.npz", callbacks=[whole])
    assert whole.stopped_epoch == 2
    run(tmp_path / "run.npz", (1, 1), others=[stopper()])
    resumed = stopper()
    _, resume = run(tmp_path / "run.npz", others=[resumed])
    assert resumed.stopped_epoch == 2 and len(resume.rows) == 3


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint(tmp_path, share):
    path = tmp_path / "run.npz"
    checkpoint.save(path, compiled(), {"epoch": 1})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    model = compiled()
    before = state(model)
    with pytest.raises(UserError, match=r"not a whole file.*remove it to train this phase from the start"):
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
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path, epoch, word):
    path = tmp_path / "run.npz"
    with pytest.raises(UserError, match=rf"the loss became .* in epoch {epoch + 1}, step 1; {word}"):
        run(path, callbacks=[Poison(epoch), StopOnNonFinite(path)])
    assert checkpointed(path) == epoch
    if epoch:
        model = compiled()
        assert Resume(path, model).first_epoch == epoch
        assert all(np.isfinite(value).all() for value in state(model))
