"""NT-Xent over two replicas is that of one device with all images, gradients included."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

# In a process of its own, because logical devices are set before anything runs.
SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from kerastransfer.losses.contrastive import nt_xent
from kerastransfer.training import strategy
from kerastransfer.training.replicas import everyone

found = {}
for name in ("none", "mirrored"):
    with strategy.scope(name):
        views = {side: keras.Input((6,), name=side) for side in ("first", "second")}
        dense = keras.layers.Dense(4, use_bias=False, name="dense")
        network = keras.Model(views, {side: dense(view) for side, view in views.items()})
        network.set_weights([np.random.default_rng(1).normal(size=(6, 4))])
        terms = lambda targets, out: {"contrast": nt_xent(out["first"], out["second"], 0.5, everyone=everyone)}
        model = strategy.model(name, network, terms, {"contrast": 1.0})
        model.compile(keras.optimizers.SGD(0.5))
    rows = np.random.default_rng(2).normal(size=(2, 16, 6)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(({"first": rows[0], "second": rows[1]}, np.zeros(16, "float32")))
    history = model.fit(data.batch(8), epochs=3, shuffle=False, verbose=0).history
    found[name] = {"weights": network.get_weights()[0].tolist(), "loss": history["loss"]}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


@pytest.mark.slow
def test_two_replicas_have_the_negatives_of_all(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "found.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / "found.json").read_text())[name] for name in ("none", "mirrored"))
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-5)
    assert one["loss"][-1] < one["loss"][0]
