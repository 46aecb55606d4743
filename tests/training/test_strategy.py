"""Two replicas end with the weights of one; seeds and policies are set for the process."""

import json
import os
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from backends import needs_jax

from kerastransfer.errors import UserError
from kerastransfer.training import strategy

# In a process of its own, because logical devices are set before anything runs. Two models with each strategy, because
# a recipe trains one after another.
SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from keras import ops
from kerastransfer.layers.blocks import conv_bn
from kerastransfer.training import callbacks, strategy, transfer
from kerastransfer.training.optimizers import OPTIMIZERS

def terms(targets, out):
    square = ops.square(out[:, 0] - targets["wanted"])
    return {"square": square, "size": ops.abs(out[:, 0])}

def pairs(targets, out):
    square = ops.square(out[:, 0] - targets["wanted"])
    return {"square": (square * targets["count"], targets["count"]), "size": ops.abs(out[:, 0])}

strategy.prepare(seed=5)
found = {}
for name in ("none", "mirrored"):
    for case in ("plain", "norm", "pairs"):
        with strategy.scope(name):
            x = image = keras.Input((8, 8, 3), name="image")
            conv = keras.layers.Conv2D(4, 3, activation="relu", name="a")
            x = conv_bn(x, 4, 3, 2, name="a") if case == "norm" else conv(x)
            x = keras.layers.Dense(1, name="out")(keras.layers.GlobalAveragePooling2D()(x))
            network = keras.Model(image, x, name="network")
            values = np.random.default_rng(1)
            network.set_weights([values.uniform(0.1, 0.5, w.shape) for w in network.weights])
            if case == "pairs":
                weights = {"square": lambda step: ops.where(step < 3, 1.0, 2.0), "size": 0.1}
                resting = {"out": lambda step: step < 5}
                model = strategy.model(name, network, pairs, weights, resting=resting)
                model.compile(OPTIMIZERS["adamw"](weight_decay=0.1).build(0.01, ema=0.9))
            else:
                model = strategy.model(name, network, terms, {"square": 2.0, "size": 0.1})
                model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
        images = values.normal(size=(16, 8, 8, 3)).astype("float32")
        counts = np.array([5, 0, 1, 0, 0, 0, 2, 3] * 2, "float32")
        targets = {"wanted": images.mean((1, 2, 3)), "count": counts}
        data = tf.data.Dataset.from_tensor_slices((images, targets)).batch(4)
        filled = tf.data.Dataset.from_tensor_slices((images, targets, (np.arange(16) < 13).astype("float32"))).batch(4)
        best = callbacks.Validation()
        options = {"shuffle": False, "verbose": 0, "validation_data": filled, "callbacks": [best]}
        history = model.fit(data.repeat(), epochs=3, steps_per_epoch=4, **options).history
        best.put_back(network)
        weights = {key: value.tolist() for key, value in transfer.weights(network).items()}
        found[f"{name}, {case}"] = {"weights": weights, "history": history, "replicas": replicas}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


@pytest.mark.slow
def test_two_replicas_end_with_the_weights_of_one(tmp_path):
    """Of a loss over images; with batch statistics, which are those of the whole batch; and of a term that is divided
    by counts, of which the replicas have unequal ones, with a part that rests at first. Both keep the weights of the
    epoch that validates best, with a last batch that is only filled up."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "found.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for case in ("plain", "norm", "pairs"):
        one, two = found[f"none, {case}"], found[f"mirrored, {case}"]
        assert (one["replicas"], two["replicas"]) == (1, 2)
        for name, value in one["weights"].items():
            np.testing.assert_allclose(two["weights"][name], value, atol=1e-5, err_msg=f"{case} {name}")
        for name, values in one["history"].items():
            np.testing.assert_allclose(two["history"][name], values, rtol=1e-4, err_msg=f"{case} {name}")


def test_unknown_strategy():
    with pytest.raises(UserError, match=r"unknown --strategy everywhere; choose none, mirrored, multi_.* or data_"):
        strategy.scope("everywhere")


def test_data_parallel_needs_jax():
    words = "needs KERAS_BACKEND=jax, but Keras runs on tensorflow; .* choose --strategy mirrored or multi_worker"
    for function in (strategy.join, strategy.scope):
        with pytest.raises(UserError, match=words):
            function("data_parallel")


UNDER_JAX = """
import keras
from kerastransfer.errors import UserError
from kerastransfer.runs import under_tensorflow
from kerastransfer.training import strategy

strategy.join("data_parallel")
print(strategy.worker("data_parallel"), strategy.parts("data_parallel"), strategy.compiled(False))
for name in ("mirrored", "multi_worker"):
    try:
        strategy.join(name)
    except UserError as error:
        print(error)
print(keras.backend.backend(), under_tensorflow.call(keras.backend.backend))
"""


@pytest.mark.slow
@needs_jax
def test_under_jax(jax_environments):
    """One process without variables of Keras is one worker; TensorFlow's strategies are refused; what TensorFlow alone
    can do runs in a process of its own."""
    environment = jax_environments(1, devices=3)[0]
    done = subprocess.run(
        [sys.executable, "-c", UNDER_JAX], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    workers, mirrored, multi_worker, backends = done.stdout.splitlines()
    assert workers == "(0, 1) 3 True" and backends == "jax tensorflow"
    for name, said in (("mirrored", mirrored), ("multi_worker", multi_worker)):
        assert said.startswith(f"--strategy {name} needs KERAS_BACKEND=tensorflow, but Keras runs on jax"), said
        assert said.endswith("or choose --strategy data_parallel")


@needs_jax
@pytest.mark.parametrize(
    ("addresses", "count", "index", "wanted"),
    [
        (None, None, None, (0, 1)),
        ("a:1,b:1,c:1", "3", "2", (2, 3)),
        ("a:1,b:1,c:1", None, "1", (1, 3)),
        ("a:1", "4", "3", (3, 4)),
        ("a:1", "4", "4", None),
        ("a:1,b:1", "3", "0", None),
        ("a:1,b:1", "2", None, None),
        (None, "2", "0", None),
        ("a:1,b:1", "two", "0", None),
    ],
)
def test_which_jax_process_this_is(monkeypatch, addresses, count, index, wanted):
    for name, value in (("JOB_ADDRESSES", addresses), ("NUM_PROCESSES", count), ("PROCESS_ID", index)):
        monkeypatch.delenv(f"KERAS_DISTRIBUTION_{name}", raising=False)
        if value:
            monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    if wanted:
        assert strategy.worker("data_parallel") == wanted
    else:
        with pytest.raises(UserError, match=r"cannot read KERAS_DISTRIBUTION_JOB_ADDRESSES=.* see docs/scale.md"):
            strategy.worker("data_parallel")


@needs_jax
def test_processes_that_do_not_come(monkeypatch):
    from kerastransfer.training import jax_workers

    monkeypatch.setattr(strategy.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(jax_workers.jax.distributed, "initialize", lambda *_, **__: time.sleep(0.5))
    monkeypatch.setattr(jax_workers, "PATIENCE", 0.1)
    for name, value in (("JOB_ADDRESSES", "a:1"), ("NUM_PROCESSES", "2"), ("PROCESS_ID", "1")):
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    words = r"process 1 of 2 cannot join the others at a:1 \(not all connected within 0.1 seconds\); start all of them"
    with pytest.raises(UserError, match=words):
        strategy.join("data_parallel")


def test_prepare_sets_policy_and_seeds():
    try:
        for precision, policy in strategy.POLICIES.items():
            strategy.prepare(precision=precision, seed=3)
            assert keras.mixed_precision.global_policy().name == policy
        first = keras.random.normal((3,)), np.random.random()
        strategy.prepare(precision="auto", seed=3)
        assert keras.mixed_precision.global_policy().name in ("float32", "mixed_bfloat16")
        strategy.prepare(seed=3)
        np.testing.assert_array_equal(keras.random.normal((3,)), first[0])
        assert np.random.random() == first[1]
    finally:
        strategy.prepare()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "needs TF_CONFIG, which is not set"),
        ("{", "does not describe this worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "does not describe this worker"),
    ],
)
def test_workers_need_a_whole_tf_config(monkeypatch, text, words):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=words):
        strategy.worker("multi_worker")


def test_who_writes(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    found = []
    for role, index in (("chief", 0), ("worker", 0), ("worker", 1)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": role, "index": index}}))
        found.append(strategy.worker("multi_worker"))
    assert found == [(0, 3), (1, 3), (2, 3)] and strategy.worker("none") == (0, 1)
