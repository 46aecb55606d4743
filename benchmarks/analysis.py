"""Studies of two models: seconds, on drawn numbers of the size of a real test set.

    python benchmarks/analysis.py [--images 5000] [--detections 30] [--classes 20] [--rounds 3]

`average precision` is that of one detector at the thresholds 0.1, 0.2, ..., 0.9; the other rows are whole studies of
two detectors, with their intervals. The truths have three objects in an image on average, of which the detectors find
most; the other detections are anywhere. Each row takes one core, and the number is the median over the rounds.
"""

import argparse
import statistics
import time

import numpy as np
from machine import describe

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


def main():
    flags = arguments()
    print(describe("numpy", "scipy"))
    print(f"{flags.images} images, {flags.detections} detections in each, {flags.classes} classes,", end=" ")
    print(f"{flags.rounds} rounds: median\n")
    print("| what | seconds |\n|---|---|")
    for name, work in detectors(flags.images, flags.detections, flags.classes).items():
        print(f"| {name} | {statistics.median(timed(work, flags.rounds)):.2f} |", flush=True)


def detectors(images, detections, classes):
    """{name: a function without arguments}: what is computed of two detectors."""
    from kerastransfer.analysis import detection, detection_errors, occlusion
    from kerastransfer.analysis.material import Detected
    from kerastransfer.metrics.voc import average_precision

    truths, one = drawn(images, detections, classes, seed=0)
    _, other = drawn(images, detections, classes, seed=1, truths=truths)
    names, labels = [str(number) for number in range(images)], [f"class {number}" for number in range(classes)]
    material = Detected(names, labels, truths, {"one": one, "other": other})
    works = {"average precision": lambda: average_precision(truths, one, classes, THRESHOLDS)}
    for study in (detection, occlusion, detection_errors):
        works[study.TITLE] = lambda study=study: study.study(study.Settings(), material, iter)
    return works


def drawn(images, detections, classes, seed, truths=None):
    """Truths, and detections of which those of an object's number are near it."""
    random = np.random.default_rng(seed)
    truths = truths or [_objects(random, int(count), classes) for count in random.poisson(3, images)]
    found = []
    for truth in truths:
        there = min(len(truth["labels"]), detections)
        boxes = _objects(random, detections, classes)
        boxes["boxes"][:there] = truth["boxes"][:there] + random.normal(0, 6, (there, 4))
        boxes["labels"][:there] = truth["labels"][:there]
        scores = random.uniform(0, 1, detections)
        scores[there:] *= 0.5
        found.append({"boxes": boxes["boxes"], "labels": boxes["labels"], "scores": scores})
    return truths, found


def _objects(random, count, classes):
    corner, sides = random.uniform(0, 300, (count, 2)), random.uniform(30, 200, (count, 2))
    return {
        "boxes": np.concatenate([corner, corner + sides], axis=1),
        "labels": random.integers(0, classes, count),
        "difficult": random.uniform(size=count) < 0.1,
        "truncated": random.uniform(size=count) < 0.2,
        "hidden": random.uniform(-0.3, 0.6, count).clip(0).astype("float32"),
    }


def timed(work, rounds):
    """Seconds of each round."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=30, help="in an image")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
