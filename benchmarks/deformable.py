"""Deformable convolution against the plain one: a 3 x 3 layer, forward, and forward and backward.

    python benchmarks/deformable.py [--maps 20 40] [--channels 256] [--rounds 9] [--seconds 0.5] [--threads 2]

The computation is float32, for one image, compiled with tf.function but without XLA (`--jit` compiles with XLA).
Offsets are those of random weights, up to some pixels. Each contestant has its own process and they take turns;
`of Conv2D` is its time divided by that of the plain convolution in the same round.
"""

import argparse
import time

import numpy as np
from machine import describe
from rounds import Contestant, answer, spread, take_turns

PASSES = ("forward", "forward and backward")
CONTESTANTS = ("Conv2D", "offsets", "offsets and factors")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    print(describe("tensorflow", "keras"))
    print(f"{flags.channels} to {flags.channels} channels, {flags.threads} threads, {flags.rounds} rounds", end="")
    print(f"{', XLA' if flags.jit else ''}: median (smallest-largest)\n")
    print("| pass | map | layer | ms | CPU ms | of Conv2D |\n|---|---|---|---|---|---|")
    for which in PASSES:
        for side in flags.maps:
            compare(flags, which, side)


def compare(flags, which, side):
    """The rows of one pass on one map."""
    same = ["--channels", str(flags.channels), "--threads", str(flags.threads), "--pass", which, "--maps", str(side)]
    contestants = {}
    try:
        for name in CONTESTANTS:
            more = ["--jit"] if flags.jit else []
            contestants[name] = Contestant(__file__, *same, *more, "--contestant", name)
        # As many steps as the slowest takes this long for.
        steps = max(1, round(flags.seconds / max(one.first["step_seconds"] for one in contestants.values())))
        turns = take_turns(contestants, flags.rounds, steps)
    finally:
        for contestant in contestants.values():
            contestant.close()
    seconds = {name: [turn["seconds"] for turn in taken] for name, taken in turns.items()}
    for name in CONTESTANTS:
        ratio = spread([own / plain for own, plain in zip(seconds[name], seconds["Conv2D"], strict=True)], ".2f")
        own, cpu = (spread([turn[kind] / steps * 1e3 for turn in turns[name]]) for kind in ("seconds", "cpu_seconds"))
        print(f"| {which} | {side} x {side} | {name} | {own} | {cpu} | {ratio} |", flush=True)


def prepare(flags):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    (side,) = flags.maps
    x = tf.constant(np.random.default_rng(0).normal(size=(1, side, side, flags.channels)).astype("float32"))
    backward = flags.which != "forward"
    work = tf.function(step(flags.contestant, flags.channels, backward=backward), jit_compile=flags.jit)
    work(x)

    def run(steps):
        for _ in range(steps):
            result = work(x)
        # Waits until the last step has finished.
        result.numpy()

    started = time.perf_counter()
    run(3)
    return {"step_seconds": (time.perf_counter() - started) / 3}, run


def step(contestant, channels, *, backward):
    """A function from the map to the sum of the layer's output, or to the largest gradient of half its sum of squares
    by the map and by all weights."""
    import tensorflow as tf

    pool = layer(contestant, channels)

    def forward(x):
        return tf.reduce_sum(pool(x))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            half = tf.reduce_sum(pool(x) ** 2) / 2
        found = tape.gradient(half, [x, *pool.trainable_weights])
        return tf.reduce_max([tf.reduce_max(tf.convert_to_tensor(value)) for value in found])

    return gradient if backward else forward


def layer(contestant, channels):
    """The layer, built, with offsets of up to some pixels."""
    import keras

    from kerastransfer.layers.deformable import DeformableConv2D

    if contestant == "Conv2D":
        made = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)
    else:
        made = DeformableConv2D(channels, 3, modulated=contestant == "offsets and factors", use_bias=False)
    made.build((None, None, None, channels))
    if contestant != "Conv2D":
        kernel = made.offset.kernel
        kernel.assign(np.random.default_rng(1).normal(0, 2 / (9 * channels) ** 0.5, kernel.shape))
    return made


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, nargs="+", default=(20, 40), metavar="SIDE", help="sides of square maps")
    parser.add_argument("--channels", type=int, default=256, help="of input and output")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of the slowest contestant in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--pass", dest="which", choices=PASSES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
