"""Scaling to several workers: images per second of 1 and 2 processes with a core each, and bytes to all-reduce.

    python benchmarks/scale.py [--image-size 224] [--batch-size 8] [--steps 20]

Each worker trains the detector of small_detector.py on its own --batch-size images, so that two workers have twice the
global batch (weak scaling), with TensorFlow's MultiWorkerMirroredStrategy over loopback. The second table is computed:
in a ring, each worker sends 2 (n - 1) / n times the gradients, in float32, in each step.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time

import numpy as np
from machine import describe
from rounds import spread

# Number of steps before the first one that is timed.
WARM_UP = 4
NETWORKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 1e10 / 8, "100 Gbit/s": 1e11 / 8}


def main():
    flags = arguments()
    if flags.worker:
        work(flags)
        return
    print(describe("tensorflow", "keras"))
    print(f"{flags.image_size} x {flags.image_size}, {flags.batch_size} images a worker,", end=" ")
    print(f"{flags.steps} steps: median (smallest-largest)\n")
    print("| workers, a core each | s a step | images/s | of one worker |\n|---|---|---|---|")
    one = None
    for count in (1, 2):
        seconds = run(flags, count)
        rates = [count * flags.batch_size / taken for taken in seconds]
        one = one or statistics.median(rates)
        print(
            f"| {count} | {spread(seconds, '.3f')} | {spread(rates)} | {statistics.median(rates) / one:.2f} |",
            flush=True,
        )
    print("\n| model | weights that are trained | MB a worker sends in a step, 2 / 8 / 64 workers |", end="")
    print(" seconds of it, 64 workers: " + ", ".join(NETWORKS) + " |\n|---|---|---|---|")
    for name, weights in trained_weights():
        sent = {count: 2 * (count - 1) / count * 4 * weights for count in (2, 8, 64)}
        times = ", ".join(f"{sent[64] / speed:.3f}" for speed in NETWORKS.values())
        print(f"| {name} | {weights:,} | {' / '.join(f'{value / 1e6:.0f}' for value in sent.values())} | {times} |")


def run(flags, count):
    """Seconds of each step with `count` workers, measured by the first of them."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    cluster = {"worker": [f"localhost:{opened.getsockname()[1]}" for opened in sockets]}
    for opened in sockets:
        opened.close()
    sizes = ["--image-size", str(flags.image_size), "--batch-size", str(flags.batch_size), "--steps", str(flags.steps)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, *sizes, "--worker", str(index + 1)],
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a worker ended with an error; see above")
    return json.loads(answers[0].splitlines()[-1])


def work(flags):
    """One worker: prints the seconds of its steps as a line of JSON."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[(flags.worker - 1) % len(cores)]})
    from kerastransfer.training import strategy

    name = "multi_worker"
    strategy.join(name)
    import keras
    import tensorflow as tf
    from small_detector import detector_parts

    ends = []
    rng = np.random.default_rng(flags.worker)
    image = rng.uniform(0, 255, (flags.batch_size, flags.image_size, flags.image_size, 3)).astype("float32")
    near = rng.uniform(0, 0.6, (flags.batch_size, 8, 2))
    boxes = np.concatenate([near, near + 0.2], -1).astype("float32")
    targets = {"boxes": boxes, "labels": np.zeros((flags.batch_size, 8), "int32")}
    strategy.prepare()
    with strategy.scope(name):
        model = strategy.model(name, *detector_parts())
        model.compile(keras.optimizers.AdamW(1e-3))
    batches = strategy.distributed(name, lambda _: tf.data.Dataset.from_tensors((image, targets)).repeat())
    clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    model.fit(batches, steps_per_epoch=WARM_UP + flags.steps, shuffle=False, verbose=0, callbacks=[clock])
    strategy.barrier(name)
    print(json.dumps(np.diff(ends)[WARM_UP - 1 :].tolist()))


def trained_weights():
    """(name, number of trained weights) for detectors, and for decoders on a frozen encoder."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders import ENCODERS
    from kerastransfer.encoders.yolov1 import TABLES
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.segmenter import segmenter
    from kerastransfer.models.yolov1 import yolov1

    for encoder in TABLES:
        build = ENCODERS[encoder]
        models = {f"detector, {encoder}": yolov1(build(), YoloV1Codec(20))}
        part = build()
        freeze(part)
        models |= {f"{name} on {encoder}, frozen": segmenter(part, name, 2) for name in ("segnet", "unet")}
        for name, model in models.items():
            yield name, sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8, help="images per worker")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
