"""Drawing label maps: milliseconds for an image, and how much memory the map and the drawing take.

    python benchmarks/label_map.py [--sizes 320 512] [--classes 4 80] [--boxes 20] [--batch 4] [--rounds 9]

Compiled with tf.function, without XLA. `map` is the size of the label map of a batch in float32; `fill` is the time to
write as many zeros, which no drawing can fall below.
"""

import argparse
import statistics
import time

import numpy as np
from machine import describe


def main():
    flags = arguments()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    print(describe("tensorflow", "keras"))
    print(f"{flags.batch} images of {flags.boxes} boxes, {flags.threads} threads, {flags.rounds} rounds: median\n")
    print("| size | classes | ms/image | fill, ms/image | map, MB |\n|---|---|---|---|---|")
    for size in flags.sizes:
        for classes in flags.classes:
            drawn, filled = (
                statistics.median(timed(work, flags.rounds)) / flags.batch * 1e3
                for work in contestants(size, classes, flags.boxes, flags.batch)
            )
            megabytes = flags.batch * size * size * classes * 4 / 1e6
            print(f"| {size} | {classes} | {drawn:.1f} | {filled:.1f} | {megabytes:.0f} |", flush=True)


def contestants(size, classes, boxes, batch):
    """Functions without arguments that draw a batch, and that fill one with zeros."""
    import tensorflow as tf

    from kerastransfer.codecs.labelenc import label_map

    random = np.random.default_rng(0)
    near = random.uniform(0, 0.7, (batch, boxes, 2))
    corners = np.concatenate([near, near + random.uniform(0.05, 0.3, near.shape)], axis=-1)
    corners = tf.constant(corners.astype("float32"))
    labels = tf.constant(random.integers(0, classes, (batch, boxes)).astype("int32"))
    draw = tf.function(lambda corners, labels: label_map(corners, labels, classes, (size, size)))
    # Not a constant, which would be folded.
    fill = tf.function(lambda zero: tf.fill((batch, size, size, classes), zero))
    return lambda: draw(corners, labels), lambda: fill(corners[0, 0, 0] * 0)


def timed(work, rounds):
    """Seconds of each round, after one that is not counted."""
    work()
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        # Waits until all of it is there.
        work()[0, 0, 0, 0].numpy()
        found.append(time.perf_counter() - started)
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=(320, 512), metavar="SIDE")
    parser.add_argument("--classes", type=int, nargs="+", default=(4, 80))
    parser.add_argument("--boxes", type=int, default=20, help="in an image")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
