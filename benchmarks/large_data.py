"""Data that do not fit: threads of the loader, resident memory, and the time to the first step (see loader.py).

The photos of a COCO folder stand under new names, as copies, with their boxes as YOLO txt.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rounds import Contestant, answer, spread

# Steps after which the resident memory is read.
STEPS = 24


def threads(flags):
    """Images per second of 1, 2, ... threads, with images in memory and decoded on demand."""
    names = [f"{cache}-{count}" for cache in ("memory", "none") for count in flags.threads]
    with tempfile.TemporaryDirectory() as folder:
        repeated(flags.photos, Path(folder), flags.images)
        common = ["--photos", folder, "--image-sizes", flags.image_sizes[-1], "--batch-size", flags.batch_size]
        contestants = {name: Contestant(__file__, *map(str, common), "--contestant", name) for name in names}
        try:
            for contestant in contestants.values():
                contestant.turn(4)
            turns = {name: [] for name in names}
            for _ in range(flags.rounds):
                for name, contestant in contestants.items():
                    turns[name].append(flags.steps * flags.batch_size / contestant.turn(flags.steps)["seconds"])
        finally:
            for contestant in contestants.values():
                contestant.close()
    print("| images | threads | images/s | times one thread |\n|---|---|---|---|")
    for name, rates in turns.items():
        cache, count = name.split("-")
        one = turns[f"{cache}-{flags.threads[0]}"]
        ratio = spread([a / b for a, b in zip(rates, one, strict=True)], ".2f")
        print(f"| {flags.image_sizes[-1]} px, {cache} | {count} | {spread(rates)} | {ratio} |", flush=True)


def prepare(flags):
    """A contestant: batches, discarded."""
    from kerastransfer.data import datasets, views
    from kerastransfer.data.decoded import decode
    from kerastransfer.data.pipeline import training_batches
    from kerastransfer.phases.detector import DetectorConfig
    from kerastransfer.runs import image_cache
    from kerastransfer.runs.fitting import augmentation

    cache, count = flags.contestant.split("-")
    (size,) = flags.image_sizes
    stored = image_cache.side(size)
    data = datasets.load(flags.photos, check=False)
    decoded = decode(data, ("boxes",), (stored, stored), on_demand=cache == "none", most=400)
    batches = iter(
        training_batches(
            decoded,
            size=(size, size),
            batch_size=flags.batch_size,
            view=views.augmented(augmentation(DetectorConfig(), mosaic=0.25)),
            seed=0,
            threads=int(count),
        )
    )

    def run(steps):
        for _ in range(steps):
            next(batches)

    return {}, run


def starts(flags):
    """Seconds to the first step, the first and the second time, and the resident memory after some."""
    print("\n| photos | --cache | start | s to the first step | resident, GB |\n|---|---|---|---|---|")
    for count in flags.counts:
        for cache in flags.caches:
            with tempfile.TemporaryDirectory() as folder:
                data, home = Path(folder, "data"), Path(folder, "home")
                repeated(flags.photos, data, count)
                for number in ("first", "second"):
                    found = start(data, home, Path(folder, number), cache, flags)
                    row = f"{count} | {cache} | {number} | {found['seconds']:.1f} | {found['gibibytes']:.2f}"
                    print(f"| {row} |", flush=True)


def start(data, home, output, cache, flags):
    """What one start of `recipes.detector` reports, in a process of its own, from its beginning."""
    command = [sys.executable, __file__, "--start", str(time.time()), "--data", str(data), "--output", str(output)]
    command += ["--cache", cache, "--size", str(flags.image_sizes[-1]), "--batch", str(flags.batch_size)]
    done = subprocess.run(command, env={**os.environ, "KERASTRANSFER_HOME": str(home)}, capture_output=True, text=True)
    if not done.stdout.strip():
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def started(began, data, output, cache, size, batch):
    """Runs in the process of `start`, and ends it after some steps."""
    from kerastransfer.recipes import detector
    from kerastransfer.runs.command_line import import_keras

    import_keras()
    from kerastransfer.training.callbacks import StopOnNonFinite

    seconds = []

    def on_train_batch_end(self, step, logs=None):
        seconds.append(time.time() - began)
        if len(seconds) == STEPS:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print("\n" + json.dumps({"seconds": seconds[0], "gibibytes": peak}), flush=True)
            os._exit(0)

    StopOnNonFinite.on_train_batch_end = on_train_batch_end
    detector.main(detector.Config(data=data, output=output, cache=cache, image_size=size, batch_size=batch, quiet=True))


def repeated(photos, folder, count):
    """`count` photos of a COCO folder in turn, each a file of its own, with their boxes in YOLO txt."""
    from kerastransfer.data import datasets

    dataset = datasets.load(photos, check=False)
    samples = [sample for sample in dataset.having("boxes").samples if sample.read.image.suffix == ".jpg"]
    lines = []
    for sample in samples:
        example = sample.annotations("boxes")
        corners = example["boxes"]
        centres, extents = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        lines.append(
            "".join(
                f"{label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"
                for label, (y, x), (height, width) in zip(example["labels"], centres, extents, strict=True)
            )
        )
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(dataset.classes))
    sizes = []
    for number in range(count):
        sample = samples[number % len(samples)]
        shutil.copy(sample.read.image, folder / "images" / f"{number:06d}.jpg")
        (folder / "labels" / f"{number:06d}.txt").write_text(lines[number % len(samples)])
        sizes.append(sample.read.image.stat().st_size)
    print(f"{count} photos, {statistics.mean(sizes) / 1e3:.0f} kB each", file=sys.stderr)


if __name__ == "__main__":
    import argparse

    if "--start" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--start", type=float)
        for flag in ("--data", "--output", "--cache"):
            parser.add_argument(flag)
        for flag in ("--size", "--batch"):
            parser.add_argument(flag, type=int)
        started(*vars(parser.parse_args()).values())
    else:
        from loader import arguments

        given = arguments()
        answer(lambda: prepare(given))
