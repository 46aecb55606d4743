"""Two workers, real processes on loopback, end with the weights of one device at the same batch."""

import subprocess
import sys

import numpy as np

# Batch norm, AdamW with averaged weights, augmented batches: all that a recipe trains with.
SCRIPT = """
import sys
import numpy as np
from kerastransfer.training import strategy
name = sys.argv[1]
strategy.join(name)
import keras
from keras import ops
from kerastransfer.data.decoded import Decoded
from kerastransfer.data.pipeline import training_batches
from kerastransfer.data.transforms import Augmentation
from kerastransfer.layers.blocks import conv_bn
from kerastransfer.training import transfer

strategy.prepare(seed=5)
random = np.random.default_rng(0)
arrays = {"image": random.integers(0, 256, (20, 12, 12, 3), "uint8"),
          "segmentation": random.integers(0, 2, (20, 12, 12), "uint8")}
images = Decoded(tuple(map(str, range(20))), arrays)
with strategy.scope(name):
    image = keras.Input((8, 8, 3), name="image")
    x = conv_bn(keras.layers.Rescaling(1 / 255)(image), 4, 3, 2, name="a")
    x = conv_bn(x, 4, 3, name="b")
    network = keras.Model(image, keras.layers.Dense(1, name="out")(keras.layers.GlobalAveragePooling2D()(x)), name="n")
    values = np.random.default_rng(1)
    network.set_weights([values.uniform(0.1, 0.5, w.shape) for w in network.weights])
    def terms(targets, out):
        return {"square": ops.square(out[:, 0] - ops.mean(ops.cast(targets["segmentation"], "float32"), (1, 2)))}
    model = strategy.model(name, network, terms, {"square": 1.0})
    model.compile(keras.optimizers.AdamW(1e-2, use_ema=True, ema_momentum=0.9))
batches = lambda share: training_batches(images, size=(8, 8), batch_size=4, how=Augmentation(), seed=2, share=share)
history = model.fit(strategy.distributed(name, batches), epochs=4, steps_per_epoch=5, shuffle=False, verbose=0).history
strategy.barrier(name)
if strategy.worker(name)[0] == 0:
    np.savez(sys.argv[2], loss=history["loss"], **transfer.weights(network))
"""


def started(command, environment):
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_workers_end_with_the_weights_of_one_device(worker_environments, tmp_path):
    files = {"none": tmp_path / "one.npz", "multi_worker": tmp_path / "two.npz"}
    one, *workers = worker_environments(1), *worker_environments(2)
    commands = [(name, [sys.executable, "-c", SCRIPT, name, str(file)]) for name, file in files.items()]
    processes = [started(commands[0][1], one[0]), *(started(commands[1][1], worker) for worker in workers)]
    for process in processes:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error[-3000:]
    one, two = (dict(np.load(file)) for file in files.values())
    assert one.keys() == two.keys() and len(one) > 10
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=1e-5, err_msg=name)
