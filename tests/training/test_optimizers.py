"""Optimizers by name: steps against NumPy, what decays and what rests, averages, resume, and storing."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.errors import UserError
from kerastransfer.training import checkpoint
from kerastransfer.training.optimizers import OPTIMIZERS
from kerastransfer.training.terms import TermModel

EACH = pytest.mark.parametrize("name", OPTIMIZERS)
TENSORFLOW = keras.backend.backend() == "tensorflow"
STEPS = 5


def values():
    """A kernel, a bias, a norm's parameters, a kernel of zeros; and their gradients in every step."""
    random = np.random.default_rng(0)
    start = {"kernel": random.normal(size=(3, 4)), "bias": random.normal(size=4), "gamma": random.normal(size=4)}
    start = {**{name: value.astype("float32") for name, value in start.items()}, "zeros": np.zeros((2, 2), "float32")}
    slopes = [{name: random.normal(size=v.shape).astype("float32") for name, v in start.items()} for _ in range(STEPS)]
    slopes[2]["kernel"][:] = 0  # where only the decay is left
    return start, slopes


def stepped(optimizer):
    """The variables after every step."""
    start, slopes = values()
    variables = [keras.Variable(value, name=name) for name, value in start.items()]
    optimizer.build(variables)
    found = []
    for gradients in slopes:
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients.values()], variables)
        found.append({v.name: ops.convert_to_numpy(v).copy() for v in variables})
    return found


def reference(rate, momentum, decay, *, trust=None, nesterov=False, bias_factor=1.0):
    """SGD, and with `trust` LARS, in NumPy: the buffer holds the learning rate."""
    start, slopes = values()
    state = {name: (value.astype("float64"), np.zeros_like(value, "float64")) for name, value in start.items()}
    found = []
    for gradients in slopes:
        for name, (w, m) in state.items():
            g, lr = gradients[name].astype("float64"), rate * (bias_factor if name == "bias" else 1.0)
            if w.ndim > 1:
                g = g + decay * w
                if trust and np.linalg.norm(w) > 0 and np.linalg.norm(g) > 0:
                    lr *= trust * np.linalg.norm(w) / np.linalg.norm(g)
            m = momentum * m - lr * g
            state[name] = (w + (momentum * m - lr * g if nesterov else m), m)
        found.append({name: w for name, (w, _) in state.items()})
    return found


def equal(found, expected, atol=1e-7):
    for ours, theirs in zip(found, expected, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=2e-5, atol=atol, err_msg=name)


def test_lars_against_numpy():
    settings = OPTIMIZERS["lars"](momentum=0.8, weight_decay=0.05, trust=0.1)
    equal(stepped(settings.build(0.5)), reference(0.5, 0.8, 0.05, trust=0.1))


def test_lars_steps_kernels_of_convolutions():
    """Of four axes, along with biases."""
    optimizer = OPTIMIZERS["lars"](momentum=0.0, weight_decay=0.0, trust=0.01).build(2.0)
    layer = keras.layers.Conv2D(4, 3)
    layer.build((None, 8, 8, 3))
    before = layer.get_weights()[0]
    gradients = [keras.ops.ones(weight.shape) for weight in layer.weights]
    optimizer.apply(gradients, layer.trainable_variables)
    moved = layer.get_weights()[0] - before
    np.testing.assert_allclose(np.linalg.norm(moved), 0.02 * np.linalg.norm(before), rtol=1e-4)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_against_numpy(nesterov):
    settings = OPTIMIZERS["sgd"](momentum=0.8, nesterov=nesterov, weight_decay=0.05, bias_factor=2.0)
    equal(stepped(settings.build(0.1)), reference(0.1, 0.8, 0.05, nesterov=nesterov, bias_factor=2.0))


def test_a_kernels_step_is_a_share_of_the_kernel():
    """Without momentum and decay LARS moves every kernel by rate * trust of its length, whatever the gradient's."""
    settings = OPTIMIZERS["lars"](momentum=0.0, weight_decay=0.0, trust=0.01)
    start, _ = values()
    moved = stepped(settings.build(2.0))[0]["kernel"] - start["kernel"]
    np.testing.assert_allclose(np.linalg.norm(moved), 0.02 * np.linalg.norm(start["kernel"]), rtol=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_is_that_of_keras(name):
    theirs = keras.optimizers.AdamW(0.1, weight_decay=0.2) if name == "adamw" else keras.optimizers.Adam(0.1)
    theirs.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    settings = OPTIMIZERS["adamw"](weight_decay=0.2) if name == "adamw" else OPTIMIZERS["adam"]()
    # TensorFlow's kernel computes 1 - 0.999 in float32, so that a step is longer by 6.5e-6 of its length.
    equal(stepped(settings.build(0.1)), stepped(theirs), atol=5e-5 * 0.1)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX has no sparse gradients")
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_takes_one_kernel_and_adds_up_sparse_gradients(name, monkeypatch):
    import tensorflow as tf

    calls, kernel = [], tf.raw_ops.ResourceApplyAdam
    monkeypatch.setattr(tf.raw_ops, "ResourceApplyAdam", lambda **given: (calls.append(given), kernel(**given)))
    rows = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tf.constant([0, 1, 1]), (3, 2))
    found = []
    for gradient in (rows, tf.convert_to_tensor(rows)):
        table = keras.Variable(np.ones((3, 2), "float32"), name="embeddings")
        optimizer = OPTIMIZERS[name]().build(0.1)
        optimizer.build([table])
        for _ in range(2):
            optimizer.apply([gradient], [table])
        found.append(ops.convert_to_numpy(table))
    np.testing.assert_array_equal(*found)
    assert len(calls) == 4


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_kernels_alone_decay(name):
    """Where nothing else moves them."""
    variables = [keras.Variable(np.ones(shape), name=n) for n, shape in (("kernel", (2, 2)), ("bias", 2), ("gamma", 2))]
    optimizer = OPTIMIZERS[name](weight_decay=0.1).build(0.1)
    optimizer.build(variables)
    optimizer.apply([ops.zeros(v.shape) for v in variables], variables)
    kernel, *others = [ops.convert_to_numpy(v) for v in variables]
    assert (kernel < 1).all() and all((value == 1).all() for value in others)


def network():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((5,), name="x")
    for name in ("first", "second"):
        part_input = keras.Input((5,))
        dense = keras.layers.Dense(5, name=f"{name}_dense", bias_initializer="ones")(part_input)
        x = keras.Model(part_input, dense, name=name)(x)
    return keras.Model(inputs, x, name="network")


def terms(targets, predictions):
    return {"square": ops.mean(ops.square(ops.cast(predictions, "float32") - targets["y"]), -1)}


def model(name, resting=None, ema=0.0, rate=0.01, **settings):
    made = TermModel(network(), terms, {"square": 1.0}, resting=resting)
    made.compile(OPTIMIZERS[name](**settings).build(rate, ema), jit_compile=not TENSORFLOW)
    return made


X = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")


def train(of, steps):
    for _ in range(steps):
        of.train_on_batch(X, {"y": X[:, ::-1].copy()})


def state(of, part):
    """The weights of a part, and what the optimizer keeps of them but their average."""
    found = {v.path: ops.convert_to_numpy(v).copy() for v in of.network.get_layer(part).weights}
    return found | {
        v.path: ops.convert_to_numpy(v).copy()
        for v in of.optimizer.variables
        if f"{part}_dense" in v.path and "average" not in v.path
    }


@EACH
@pytest.mark.slow
def test_a_part_rests_while_its_condition_holds(name):
    """Weights, decay and momentum stay, to the last bit; the other part goes on. It wakes at the very step, with the
    momentum that it had."""
    rests = model(name, {"first": lambda step: ops.logical_and(step >= 2, step < 5)}, ema=0.9)
    train(rests, 2)
    before, other = state(rests, "first"), state(rests, "second")
    assert len(before) > 2  # with momentum
    train(rests, 3)
    for key, value in state(rests, "first").items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert all(np.any(value != other[key]) for key, value in state(rests, "second").items())
    train(rests, 1)
    assert all(np.any(value != before[key]) for key, value in state(rests, "first").items())


@EACH
@pytest.mark.slow
def test_a_part_that_never_rests_is_trained_as_ever(name):
    """Weight decay included, which takes another way for parts that may rest."""
    found = []
    for resting in (None, {"first": lambda step: step < 0}):
        of = model(name, resting)
        train(of, 3)
        found.append(of.network.get_weights())
    for ours, theirs in zip(*found, strict=True):
        # Parts that may rest do not take the kernel of TensorFlow, whose rounding differs.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=5e-5 * 0.01)


@pytest.mark.skipif(not TENSORFLOW, reason="on JAX every step is compiled by XLA")
@pytest.mark.slow
def test_a_part_rests_in_a_step_compiled_by_xla():
    of = model("adamw", {"first": lambda step: step < 3})
    of.compile(of.optimizer, jit_compile=True)
    before = state(of, "first")
    train(of, 3)
    assert all(np.array_equal(value, before[key]) for key, value in state(of, "first").items() if key in before)
    train(of, 1)
    assert all(np.any(value != before[key]) for key, value in state(of, "first").items() if key in before)


@pytest.mark.skipif(not TENSORFLOW, reason="runs train on TensorFlow")
def test_a_part_rests_with_a_scaled_loss():
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        of = model("sgd", {"first": lambda step: step < 99})
    finally:
        keras.mixed_precision.set_global_policy(before)
    first = state(of, "first")
    train(of, 20)
    assert all(np.array_equal(value, first[key]) for key, value in state(of, "first").items() if key in first)


def test_only_our_optimizers_let_a_part_rest():
    with pytest.raises(
        ValueError, match=r"Adam cannot let a part rest or learn more slowly; use one of training/optimizers\.py"
    ):
        TermModel(network(), terms, {"square": 1.0}, {"first": lambda step: step < 1}).compile("adam")
    with pytest.raises(ValueError, match="'network' has 0 parts called 'third'"):
        TermModel(network(), terms, {"square": 1.0}, {"third": lambda step: step < 1})


@EACH
@pytest.mark.slow
def test_averaged_and_resumed(name, tmp_path):
    """The state of a checkpoint is all of it: training goes on to the same bits, and ends with the averages."""
    whole = model(name, ema=0.8)
    train(whole, 2)
    checkpoint.save(tmp_path / "run.npz", whole, {"epoch": 1})
    train(whole, 3)
    resumed = model(name, ema=0.8)
    checkpoint.restore(tmp_path / "run.npz", resumed)
    train(resumed, 3)
    for ours, theirs in zip(resumed.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))
    raw = whole.network.get_weights()
    whole.optimizer.finalize_variable_values(whole.trainable_variables)
    assert all(np.any(a != b) for a, b in zip(raw, whole.network.get_weights(), strict=True))


@EACH
def test_the_first_weights_leave_the_average_of_a_short_training(name):
    """By hand: the momentum grows to its limit; after 60 steps the first weights are below a millionth of it."""
    made = model(name, ema=0.8)
    variable = made.trainable_variables[0]
    expected, share = None, 1.0
    for step in range(60):
        train(made, 1)
        momentum = min(0.8, step / (step + 9))
        now = ops.convert_to_numpy(variable)
        expected = now if expected is None else momentum * expected + (1 - momentum) * now
        share *= momentum or 1.0
    assert share < 1e-6
    average = made.optimizer._model_variables_moving_average[0]
    np.testing.assert_allclose(ops.convert_to_numpy(average), expected, rtol=1e-4, atol=1e-6)


@EACH
def test_stored(name):
    made = OPTIMIZERS[name]().build(0.01, 0.9)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is type(made) and again.get_config() == made.get_config() and again.use_ema


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("adamw", {"weight_decay": -1.0}, "weight_decay of AdamW is -1.0; it must be at least 0 and finite"),
        ("adam", {"beta_2": 1.0}, "beta_2 of Adam is 1.0; it must be at least 0 and below 1"),
        ("sgd", {"bias_factor": float("inf")}, "bias_factor of SGD is inf"),
        ("lars", {"momentum": float("nan")}, "momentum of LARS is nan"),
    ],
)
def test_settings_that_cannot_be(name, settings, words):
    with pytest.raises(UserError, match=words):
        OPTIMIZERS[name](**settings)


def test_the_table_is_read_without_keras():
    code = (
        "import sys; import kerastransfer.training.optimizers; print([m for m in sys.modules if m in "
        "('keras', 'tensorflow', 'jax')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@EACH
def test_a_part_with_a_factor_learns_as_at_another_learning_rate(name):
    """One step: the part changes as it does where the whole learning rate is multiplied, decay included; the other
    part as without a factor."""

    def moved(factor, rates):
        of = TermModel(network(), terms, {"square": 1.0}, rates=rates)
        of.compile(OPTIMIZERS[name]().build(0.01 * factor))
        before = {part: state_of(of, part) for part in ("first", "second")}
        train(of, 1)
        return {
            part: [new - old for new, old in zip(state_of(of, part), values, strict=True)]
            for part, values in before.items()
        }

    def state_of(of, part):
        return [np.array(value) for value in of.network.get_layer(part).get_weights()]

    own, whole, slow = moved(1, {"first": 0.1}), moved(1, None), moved(0.1, None)
    for ours, expected, other in zip(own["first"], slow["first"], whole["first"], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-8)
        assert not np.allclose(ours, other, rtol=0.1, atol=1e-8) or not np.any(ours)
    for ours, expected in zip(own["second"], whole["second"], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)
