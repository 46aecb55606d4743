"""RoIAlign with interpolation matrices, with corrected crop_and_resize, and by gathering the neighbours of each sample.

    python benchmarks/roi_align.py [--boxes 100] [--map 52 52 256] [--size 14] [--samples 2] [--rounds 7] [--steps 10]
    python benchmarks/roi_align.py --choice [--rounds 7] [--steps 10]

With --choice: the time of the matrices divided by that of crop_and_resize for maps of several sizes, in float32 and in
bfloat16, in one process and in turns, on which the choice of the layer's method "auto" rests. Otherwise:

The computation is float32, for one image, compiled with tf.function but without XLA, for which crop_and_resize has no
kernel. The sides of the boxes are uniform between 0.1 and 0.6 of those of the map. `crop_and_resize` is the layer's
method of that name, which computes its gradient with the matrices, because TensorFlow's own gradient loses some values
when several threads add to the same place.

Each contestant has its own process for each pass; its peak memory is the increase of its resident memory over that
before the first step. `of the best` is its time divided by that of the fastest other one in the same round; below 1 is
faster. The largest difference from the matrices is that of the outputs, or of the gradients as a share of the largest
gradient.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe
from rounds import answer, compete, spread

PASSES = ("forward", "forward and backward")
CONTESTANTS = ("matrices", "crop_and_resize", "crop_and_resize, own gradient", "gather")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    print(describe("tensorflow", "keras"))
    if flags.choice:
        choose(flags)
        return
    print(f"{flags.boxes} boxes on a map of {' x '.join(map(str, flags.map))}, P = {flags.size},", end=" ")
    print(f"s = {flags.samples}, {flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print(
        "| pass | method | ms | CPU ms | of the best | peak MiB | largest difference |\n|---|---|---|---|---|---|---|"
    )
    for which in PASSES:
        with tempfile.TemporaryDirectory() as folder:
            compare(flags, which, Path(folder))


def compare(flags, which, folder):
    """The rows of one pass."""
    names = ("boxes", "size", "samples")
    sizes = [word for name in names for word in (f"--{name}", str(getattr(flags, name)))]
    same = [*sizes, "--map", *map(str, flags.map), "--pass", which, "--folder", str(folder)]
    commands = {name: [__file__, *same, "--contestant", name] for name in CONTESTANTS}
    turns = compete(commands, flags.rounds, flags.steps)
    results = {name: np.load(folder / f"{name}.npy") for name in CONTESTANTS}
    seconds = {name: [turn["seconds"] for turn in taken] for name, taken in turns.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name in CONTESTANTS:
        best = min(medians.keys() - {name}, key=medians.get)
        ratio = spread([mine / other for mine, other in zip(seconds[name], seconds[best], strict=True)], ".2f")
        own, cpu = (
            spread([turn[kind] / flags.steps * 1e3 for turn in turns[name]]) for kind in ("seconds", "cpu_seconds")
        )
        memory = max(turn["mebibytes"] for turn in turns[name])
        difference = np.abs(results[name] - results["matrices"]).max()
        if which != "forward":
            difference /= np.abs(results["matrices"]).max()
        print(f"| {which} | {name} | {own} | {cpu} | {ratio} | {memory:.0f} | {difference:.0e} |", flush=True)


def choose(flags):
    """A table with a row for each map, depth and number of bins."""
    columns = [f"{dtype}, {which}" for dtype in ("float32", "bfloat16") for which in PASSES]
    print(f"64 boxes on each of 2 maps; medians of {flags.rounds} rounds of {flags.steps} steps\n")
    print(f"| map | bins | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for depth, size in ((64, 7), (64, 14), (256, 7), (256, 14)):
        for side in (20, 28, 40, 52, 80, 104):
            cells = [ratio(flags, (side, side, depth), size, *column.split(", ")) for column in columns]
            print(f"| {side} x {side} x {depth} | {size} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


def ratio(flags, shape, size, dtype, which):
    """The time of the matrices divided by that of crop_and_resize."""
    import tensorflow as tf

    features, boxes = drawn(shape, 64)
    features, boxes = tf.cast(np.repeat(features, 2, axis=0), dtype), tf.repeat(boxes, 2, axis=0)
    steps = [
        tf.function(step(name, size, flags.samples, backward=which != "forward", dtype=dtype))
        for name in CONTESTANTS[:2]
    ]
    taken = [[], []]
    for turn in range(flags.rounds + 1):
        for one, seconds in zip(steps, taken, strict=True):
            started = time.perf_counter()
            for _ in range(flags.steps):
                found = one(features, boxes)
            found.numpy()
            # The first turn traces.
            seconds += [time.perf_counter() - started] if turn else []
    return statistics.median(taken[0]) / statistics.median(taken[1])


def prepare(flags):
    import tensorflow as tf

    features, boxes = (tf.constant(values) for values in drawn(flags.map, flags.boxes))
    pool = tf.function(step(flags.contestant, flags.size, flags.samples, backward=flags.which != "forward"))
    before = resident()
    np.save(Path(flags.folder, flags.contestant), pool(features, boxes))

    def run(steps):
        for _ in range(steps):
            result = pool(features, boxes)
        # Waits until the last step has finished.
        result.numpy()
        return {"mebibytes": resident() - before}

    return {}, run


def drawn(size, number):
    """A random map (1, H, W, D), and random boxes (1, N, 4) inside it."""
    random = np.random.default_rng(0)
    sides = random.uniform(0.1, 0.6, (1, number, 2))
    near = random.uniform(0, 1 - sides)
    return random.normal(0, 1, (1, *size)).astype("float32"), np.concatenate([near, near + sides], -1).astype("float32")


def step(contestant, size, samples, *, backward, dtype="float32"):
    """A function from features and boxes to the pooled values, or to the gradient of half their sum of squares."""
    import tensorflow as tf

    from kerastransfer.layers.roi_align import RoIAlign, crop_and_resize

    pool = {
        "matrices": RoIAlign(size, sampling_ratio=samples, method="matrices", dtype=dtype),
        "crop_and_resize": RoIAlign(size, sampling_ratio=samples, method="crop_and_resize", dtype=dtype),
        "crop_and_resize, own gradient": lambda features, boxes: crop_and_resize(
            features, boxes, (size, size), samples
        ),
        "gather": lambda features, boxes: by_gather(features, boxes, size, samples),
    }[contestant]

    def gradient(features, boxes):
        with tf.GradientTape() as tape:
            tape.watch(features)
            half = tf.reduce_sum(pool(features, boxes) ** 2) / 2
        return tape.gradient(half, features)

    return gradient if backward else pool


def by_gather(features, boxes, size, samples):
    """RoIAlign as a weighted sum of the four neighbours of each sample, for boxes inside the map of one image."""
    import tensorflow as tf

    _, height, width, depth = features.shape
    number, count = boxes.shape[1], size * samples

    def neighbours(near, far, length):
        """The first of the two pixels around each sample, and the distance of the sample from it."""
        place = near[:, None] + (far - near)[:, None] * (tf.range(count, dtype="float32") + 0.5) / count
        place = tf.clip_by_value(place * length - 0.5, 0, length - 1)
        first = tf.minimum(tf.floor(place), length - 2)
        return tf.cast(first, "int32"), place - first

    y1, x1, y2, x2 = tf.unstack(boxes[0], axis=-1)
    (top, down), (left, along) = neighbours(y1, y2, height), neighbours(x1, x2, width)
    down, along = down[:, :, None, None], along[:, None, :, None]
    flat = tf.reshape(features, (-1, depth))

    def at(row, column):
        return tf.gather(flat, row[:, :, None] * width + column[:, None, :])

    upper = at(top, left) * (1 - along) + at(top, left + 1) * along
    lower = at(top + 1, left) * (1 - along) + at(top + 1, left + 1) * along
    pooled = tf.nn.avg_pool2d(upper * (1 - down) + lower * down, samples, samples, "VALID")
    return tf.reshape(pooled, (1, number, size, size, depth))


def resident():
    """The largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=100, help="number of boxes")
    parser.add_argument("--map", type=int, nargs=3, default=(52, 52, 256), metavar=("H", "W", "D"), help="its shape")
    parser.add_argument("--size", type=int, default=14, help="P, the number of bins along each side")
    parser.add_argument("--samples", type=int, default=2, help="s, the number of samples along each side of a bin")
    parser.add_argument("--choice", action="store_true", help="the table that the method auto rests on")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--pass", dest="which", choices=PASSES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
