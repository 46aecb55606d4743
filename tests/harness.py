"""Checks that hold for every layer and every model, as in keras-hub's `test_case.py`: a table of cases says how to
build each and what it reads; the functions here try it."""

import dataclasses
import functools
import inspect
import json
import re
import zipfile
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest

from kerastransfer.export.loading import load_keras, write_keras

ROWS = 3
# First weights that a training is tried from.
STARTS = 3
HALF = ("mixed_bfloat16", "mixed_float16")
CHECKS = ("config", "file", "symbolic", "graph", "half precision", "close", "training", "jit")
# Biases of convolutions: the batch norm that follows takes them away again, and all but rounding of the gradient.
UNDONE = re.compile(r"(up\d|c\d_\d|skip\d|step\d_\d|last_\d|attention\d)_conv/bias$")
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A layer or a model, as small as it can be.

    build: makes a new one, with arguments that are not the defaults.
    inputs: its positional arguments, arrays (or dicts and lists of them) with B = `ROWS` as their first axis.
    trained: the names of the outputs that a loss is taken of; by default all that are floating-point numbers.
    differentiable: the numbers of the floating-point inputs that a gradient reaches; only asked of layers.
    unknown: the axes that may be None in a symbolic call, besides that of the batch.
    float32: the outputs are float32 under half precision too.
    close: the largest difference between half and single precision, as a share of the largest value.
    standard: a file of it mentions this package nowhere, so that Keras opens it alone.
    covers: functions of the package that this case stands for.
    lacks: {check of `CHECKS`: the reason why it does not apply}.
    tensorflow: runs on TensorFlow alone.
    rows: the size of the batch, where it must be another one.
    slow: takes many seconds; on other backends than TensorFlow it is left out.
    """

    build: Callable[[], keras.Layer]
    inputs: Callable[[], tuple]
    trained: tuple[str, ...] = ()
    differentiable: tuple[int, ...] = (0,)
    unknown: tuple[int, ...] = ()
    float32: bool = False
    close: float = 0.02
    standard: bool = False
    covers: tuple[Callable, ...] = ()
    lacks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tensorflow: bool = False
    rows: int = ROWS
    slow: bool = False

    def __post_init__(self) -> None:
        assert set(self.lacks) <= set(CHECKS) and all(self.lacks.values())


def parameters(cases: Mapping[str, Case], check: str) -> list:
    """The cases for `pytest.mark.parametrize` that have a check."""
    return [
        pytest.param(case, id=name, marks=[pytest.mark.slow] if case.slow else [])
        for name, case in cases.items()
        if check not in case.lacks and (ON_TENSORFLOW or not (case.tensorflow or case.slow))
    ]


def numbers(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Random numbers (B, *shape), float32; the same ones for the same arguments."""
    return np.random.default_rng(shape).uniform(low, high, (ROWS, *shape)).astype("float32")


def boxes(count: int) -> np.ndarray:
    """Random boxes (B, count, 4) of some size within the image."""
    corners = numbers(count, 2, 2, low=0.0, high=0.6)
    near, far = corners.min(2), corners.max(2) + 0.3
    return np.concatenate([near, far], axis=-1).astype("float32")


def integers(*shape: int, below: int) -> np.ndarray:
    """Whole numbers (B, *shape) from 0, int32."""
    return (np.arange(ROWS * int(np.prod(shape))) % below).reshape(ROWS, *shape).astype("int32")


# What is built once


def built(case: Case, policy: str = "float32") -> keras.Layer:
    """The layer or model of a case, called once; its weights are equal for every policy, and none has the constants
    that it was initialised with."""
    return _built(case, policy)


@functools.cache
def _built(case, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = case.build()
        layer(*packed(case, symbolic_inputs(case)))
    finally:
        keras.config.set_dtype_policy(before)
    random = np.random.default_rng(0)
    source = layer if policy == "float32" else built(case)
    for weight, given in zip(layer.weights, source.weights, strict=True):
        own = keras.ops.convert_to_numpy(given)
        if source is layer and own.size and own.min() == own.max():
            own = own + random.uniform(0.02, 0.1, own.shape)
        weight.assign(own)
    return layer


@functools.cache
def outputs(case: Case) -> dict:
    """What `built` gives, by name."""
    return arrays(built(case)(*case.inputs()))


@functools.cache
def graph(case: Case) -> keras.Model:
    """A functional model of `flat_inputs`, of any number of rows, to the outputs of `built` by name."""
    inputs = symbolic_inputs(case)
    return keras.Model(inputs, named(built(case)(*packed(case, inputs))), name="graph")


def flat_inputs(case: Case) -> dict:
    """{"in0": array, ...}: the inputs without their structure."""
    return {f"in{number}": value for number, value in enumerate(keras.tree.flatten(case.inputs()))}


def symbolic_inputs(case: Case) -> dict:
    """`flat_inputs` as symbolic tensors, whose batch and `unknown` axes are None."""

    def symbolic(name, value):
        last = value.ndim - 1
        free = [axis for axis in case.unknown if axis < last or axis == last == 1]
        shape = [None if axis in free else size for axis, size in enumerate(value.shape)]
        return keras.Input(shape[1:], dtype=str(value.dtype), name=name)

    return {name: symbolic(name, value) for name, value in flat_inputs(case).items()}


def packed(case: Case, flat: Mapping) -> tuple:
    """Flat inputs as the positional arguments that they are."""
    return keras.tree.pack_sequence_as(case.inputs(), list(flat.values()))


def named(found) -> dict:
    """{name: tensor} of what a layer returns, which may be one tensor."""
    return dict(found) if isinstance(found, Mapping) else {"output": found}


def arrays(found) -> dict:
    return {name: array(value) for name, value in named(found).items()}


def array(value) -> np.ndarray:
    """As numpy has it; bfloat16, which it lacks, as float32."""
    if keras.backend.standardize_dtype(value.dtype) == "bfloat16":
        value = keras.ops.cast(value, "float32")
    return np.array(keras.ops.convert_to_numpy(value))


def dtype(value) -> str:
    return keras.backend.standardize_dtype(value.dtype)


def equal(found: Mapping, wanted: Mapping, atol: float = 0.0) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=atol, err_msg=name)


# The checks


def check_config(case: Case) -> None:
    """`from_config(get_config())` gives the same layer: its config, every argument, and with equal weights its
    outputs."""
    layer = built(case)
    config = config_of(layer)
    again = type(layer).from_config(config_of(layer))
    assert type(again) is type(layer)
    assert config_of(again) == config
    missing = arguments_of(type(layer)) - set(config)
    assert not missing, f"get_config lacks {missing}"
    again(*packed(case, symbolic_inputs(case)))
    again.set_weights(layer.get_weights())
    equal(arrays(again(*case.inputs())), outputs(case))


def config_of(thing) -> dict:
    """Its config as a file has it, in JSON."""
    return json.loads(json.dumps(thing.get_config()))


def own_init(cls: type) -> Callable | None:
    """The `__init__` of a class, if it or a class that it extends has one in this package."""
    for base in cls.__mro__:
        if "__init__" in vars(base):
            return base.__init__ if base.__module__.startswith("kerastransfer.") else None
    return None


def arguments_of(cls: type) -> set[str]:
    """The names of the arguments that a class of this package takes itself."""
    init = own_init(cls)
    if init is None:
        return set()
    named = (one for one in inspect.signature(init).parameters.values() if one.kind is not one.VAR_KEYWORD)
    return {one.name for one in named} - {"self"}


def check_file(case: Case, path) -> None:
    """A file of it opens, and the model in it gives the same."""
    layer = built(case)
    model = layer if isinstance(layer, keras.Model) else graph(case)
    write_keras(model, path)
    again = load_keras(path)
    arguments = case.inputs() if model is layer else (flat_inputs(case),)
    equal(arrays(again(*arguments)), outputs(case), atol=1e-6 * scale(outputs(case)))
    assert [type(one) for one in again._flatten_layers()] == [type(one) for one in model._flatten_layers()]
    with zipfile.ZipFile(path) as archive:
        mentioned = b"kerastransfer" in archive.read("config.json")
    assert mentioned is not case.standard


def scale(values: Mapping) -> float:
    """The largest magnitude of any number of some outputs."""
    return max(float(np.abs(value.astype("float64")).max()) for value in values.values())


def check_symbolic(case: Case) -> None:
    """Shapes and types are told before anything is computed, for a batch of any size."""
    dtypes = {name: str(value.dtype) for name, value in outputs(case).items()}
    fits(told(built(case), case), outputs(case), dtypes)
    fits(named(graph(case).output), outputs(case), dtypes)


def told(layer: keras.Layer, case: Case) -> dict:
    """The outputs that a layer tells beforehand, by name."""
    return named(layer.compute_output_spec(*packed(case, symbolic_inputs(case))))


def fits(symbolic: Mapping, found: Mapping, dtypes: Mapping) -> None:
    """Whether symbolic outputs of any number of rows are those that were found then, of these types."""
    assert {name: dtype(value) for name, value in symbolic.items()} == dtypes
    for name, value in found.items():
        shape = symbolic[name].shape
        wrong = f"{name}: {shape} was told, {value.shape} came"
        assert len(shape) == len(value.shape) and shape[0] is None, wrong
        assert all(one in (None, other) for one, other in zip(shape, value.shape, strict=True)), wrong


def check_graph(case: Case) -> None:
    """A graph of it, for a batch of any size, gives the same; and each image gives the same in any batch."""
    # Batches of two sizes, so that on TensorFlow the size of a batch is unknown while the graph is traced.
    whole = case.rows if not ON_TENSORFLOW else min(case.rows, 2)
    found = graph(case).predict(flat_inputs(case), batch_size=whole, verbose=0)
    equal(found, outputs(case), atol=1e-4 * max(1.0, scale(outputs(case))))


def check_policy(case: Case, policy: str) -> None:
    """In half precision it gives finite numbers near those of single precision, of the types and shapes that it tells
    beforehand. What stays in float32 in a layer stays the same to the last bit."""
    layer = built(case, policy)
    found = named(layer(*case.inputs()))
    dtypes = {name: dtype(value) for name, value in found.items()}
    wanted = "float32" if case.float32 else policy.removeprefix("mixed_")
    assert {one for one in dtypes.values() if keras.backend.is_float_dtype(one)} <= {wanted}
    fits(told(layer, case), found, dtypes)
    exact = case.float32 and not isinstance(layer, keras.Model)
    for name, value in arrays(found).items():
        assert np.isfinite(value).all(), name
        if "close" not in case.lacks:
            single = outputs(case)[name]
            allowed = 0.0 if exact else case.close * max(1.0, scale({name: single}))
            np.testing.assert_allclose(value, single, rtol=0, atol=allowed, err_msg=name)


class Gate(keras.Layer):
    """Multiplies by a weight of 1, which a gradient moves."""

    def build(self, _):
        self.gain = self.add_weight((), initializer="ones", name="gain")

    def call(self, x):
        return x * self.gain


def check_training(case: Case, *, jit: bool = False, eager: bool = False) -> None:
    """One step changes every weight, statistics included; and a gradient goes through a layer to its inputs."""
    # In nets as small as these, all units of a layer may be off by chance: a few starts are tried.
    for _ in range(STARTS):
        still = unchanged(case, jit=jit, eager=eager)
        if not still:
            break
        for cached in (_built, outputs, graph):
            cached.cache_clear()
    assert not still, f"no gradient reaches {still}"


def unchanged(case: Case, *, jit: bool, eager: bool) -> list[str]:
    """The weights that one step of training leaves as they were."""
    layer = built(case)
    is_model = isinstance(layer, keras.Model)
    inputs = symbolic_inputs(case)
    gates = {} if is_model else {f"in{number}": Gate(name=f"gate{number}") for number in case.differentiable}
    gated = {name: gates[name](value) if name in gates else value for name, value in inputs.items()}
    given = named(layer(*packed(case, gated)))
    learnt = case.trained or [name for name, value in given.items() if keras.backend.is_float_dtype(value.dtype)]
    model = keras.Model(inputs, {name: given[name] for name in learnt}, name="training")
    weights = [*layer.weights, *(weight for gate in gates.values() for weight in gate.weights)]
    assert weights and set(map(id, model.trainable_weights)) <= set(map(id, weights))

    random = np.random.default_rng(1)
    targets = {name: random.normal(size=shape).astype("float32") for name, shape in shapes(case, learnt).items()}
    # So fast that no gradient, however small, is lost in rounding.
    optimizer = keras.optimizers.SGD(1e6)
    model.compile(optimizer, loss=dict.fromkeys(learnt, "mse"), jit_compile=jit or not ON_TENSORFLOW, run_eagerly=eager)
    before = layer.get_weights()
    start = [array(weight) for weight in weights]
    try:
        logs = model.train_on_batch(flat_inputs(case), targets, return_dict=True)
        assert np.isfinite(logs["loss"])
        after = [array(weight) for weight in weights]
    finally:
        layer.set_weights(before)
    assert all(np.isfinite(value).all() for value in after)
    still = [weight.path for weight, old, new in zip(weights, start, after, strict=True) if np.array_equal(old, new)]
    return [path for path in still if not UNDONE.search(path)]


def shapes(case: Case, names: list[str]) -> dict[str, tuple]:
    """Shapes of outputs; as they are told beforehand, where that is whole, since to compute them takes longer."""
    rows = keras.tree.map_structure(lambda one: keras.KerasTensor(one.shape, str(one.dtype)), case.inputs())
    beforehand = named(built(case).compute_output_spec(*rows))
    found = {name: beforehand[name].shape for name in names}
    return {name: outputs(case)[name].shape if None in shape else shape for name, shape in found.items()}


def compiled(function: Callable, *, jit: bool = True) -> Callable:
    """`function` as a graph, and compiled by XLA if `jit`. On JAX there is no graph without XLA."""
    if ON_TENSORFLOW:
        import tensorflow as tf

        return tf.function(function, jit_compile=jit)
    import jax

    return jax.jit(function) if jit else function


def with_gradient(function: Callable) -> Callable:
    """From `function(x) -> (scalar, anything)` to `x -> ((scalar, anything), gradient of the scalar by x)`, by the
    backend's own differentiation; x is an array or a dict of arrays."""
    if ON_TENSORFLOW:
        import tensorflow as tf

        def differentiated(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                found = function(x)
            return found, tape.gradient(found[0], x, unconnected_gradients="zero")

        return differentiated
    import jax

    return jax.value_and_grad(function, has_aux=True)
