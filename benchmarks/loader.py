"""Cost of the data pipeline: its images per second, and how long a training step waits for it.

    python benchmarks/loader.py [--image-sizes 224 320] [--batch-size 16] [--rounds 5] [--steps 10]
    python benchmarks/loader.py --photos FOLDER [--threads 1 2] [--counts 1000 20000] [--caches none]

The data are drawn scenes, with the augmentation of `recipes.detector` and mosaics in half of each batch. The detector
of training.py is trained on the pipeline and, in another process, on a single batch in memory. The difference is the
cost of the data: the time that a step waits for its batch, and the CPU time that is taken from the training.

With --photos, a folder in COCO's form, the photos are copied under so many names as --counts says: images per second by
threads of the loader, and of `recipes.detector` the seconds to its first step, when it starts the first and the second
time, and the largest resident memory in its first steps.
"""

import argparse
import statistics
import time

from machine import describe
from rounds import Contestant, answer, spread

MOSAIC = 0.5
# Number of steps before the first one that is timed.
WARM_UP = 4
CONTESTANTS = ("loader", "memory", "pipeline")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    print(describe("tensorflow", "keras"))
    if flags.photos:
        import large_data

        large_data.threads(flags)
        large_data.starts(flags)
        return
    print(
        f"{flags.images} drawn scenes, batch {flags.batch_size}, {flags.rounds} rounds of {flags.steps} steps:", end=" "
    )
    print("median (smallest-largest)\n")
    print("| size | precision | | images/s | CPU ms/image | waiting for data |\n|---|---|---|---|---|---|")
    for size in flags.image_sizes:
        for precision in flags.precision:
            compare(flags, size, precision)


def compare(flags, size, precision):
    """The rows of one size and precision."""
    common = [
        "--image-sizes",
        size,
        "--precision",
        precision,
        "--batch-size",
        flags.batch_size,
        "--images",
        flags.images,
    ]
    contestants = {name: Contestant(__file__, *map(str, common), "--contestant", name) for name in CONTESTANTS}
    try:
        for contestant in contestants.values():
            contestant.turn(WARM_UP)
        turns = {name: [] for name in contestants}
        for _ in range(flags.rounds):
            for name, contestant in contestants.items():
                turns[name].append(contestant.turn(flags.steps))
    finally:
        for contestant in contestants.values():
            contestant.close()

    images = flags.steps * flags.batch_size
    decoding = contestants["loader"].first
    rates = {name: [images / turn["seconds"] for turn in taken] for name, taken in turns.items()}
    cpu = {
        name: statistics.median(1000 * turn["cpu_seconds"] / images for turn in taken) for name, taken in turns.items()
    }
    waiting = spread([100 * turn["waiting"] / turn["seconds"] for turn in turns["pipeline"]])
    ratio = spread([a / b for a, b in zip(rates["pipeline"], rates["memory"], strict=True)], ".2f")
    rows = {
        "decoding, once": (
            f"{flags.images / decoding['seconds']:.1f}",
            decoding["cpu_seconds"] * 1000 / flags.images,
            "",
        ),
        "loader alone": (spread(rates["loader"]), cpu["loader"], ""),
        "training, batch in memory": (spread(rates["memory"]), cpu["memory"], ""),
        "training on the pipeline": (spread(rates["pipeline"]), cpu["pipeline"], f"{waiting} %"),
    }
    for name, (rate, milliseconds, wait) in rows.items():
        print(f"| {size} | {precision} | {name} | {rate} | {milliseconds:.1f} | {wait} |")
    print(f"| {size} | {precision} | pipeline / memory | {ratio} | | |", flush=True)


def prepare(flags):
    """One contestant: the batches of the pipeline, discarded or trained on, or its first batch repeatedly."""
    import tensorflow as tf
    from rounds import cpu_seconds
    from small_detector import compiled

    from kerastransfer.data import views
    from kerastransfer.data.decoded import decode
    from kerastransfer.data.pipeline import training_batches
    from kerastransfer.data.toy import toy
    from kerastransfer.phases.detector import DetectorConfig
    from kerastransfer.runs import image_cache
    from kerastransfer.runs.fitting import augmentation

    (size,), (precision,) = flags.image_sizes, flags.precision
    stored = image_cache.side(size)
    started, cpu = time.perf_counter(), cpu_seconds()
    decoded = decode(toy(count=flags.images), ("boxes",), (stored, stored))
    first = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu}
    how = augmentation(DetectorConfig(), mosaic=MOSAIC)
    batches = training_batches(
        decoded, size=(size, size), batch_size=flags.batch_size, view=views.augmented(how), seed=0
    )
    if flags.contestant == "memory":
        batches = batches.take(1).cache().repeat()
    batches = iter(batches)
    train = (lambda batch: None) if flags.contestant == "loader" else tf.function(compiled(precision).train_step)

    def run(steps):
        waiting = 0.0
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(batches)
            waiting += time.perf_counter() - asked
            train(batch)
        return {"waiting": waiting}

    return first, run


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[224, 320])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=160, help="scenes to draw")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--photos", help="folder in COCO's form, whose photos are repeated")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of the loader")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20000], help="numbers of photos")
    parser.add_argument("--caches", nargs="+", choices=("none", "memory", "disk", "auto"), default=["none"])
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
