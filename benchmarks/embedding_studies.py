"""The studies of two models that need no training: seconds of each, and of CPU time over all threads.

    python benchmarks/embedding_studies.py [--images 1000] [--features 1280] [--only trimap co_assignment]

Features are drawn in a space of 60 dimensions, which encoders' are about as concentrated as, plus noise; maps of 21
classes have 500 x 375 pixels and a void line. The settings are the defaults of the studies.
"""

import argparse
import time

import numpy as np
from machine import describe

from kerastransfer.analysis import co_assignment, embedding, nearest, segmentation, trimap
from kerastransfer.analysis.material import Features, Segmented
from kerastransfer.vocabulary import VOID

STUDIES = {one.__name__.rpartition(".")[2]: one for one in (trimap, segmentation, co_assignment, nearest, embedding)}
INNER, LABELS, CLASSES, SIZE = 60, 20, 21, (375, 500)
# Different maps; the images take them in turns.
MAPS = 16


def main():
    flags = arguments()
    print(describe("numpy", "scipy", "scikit-learn"))
    print(f"{flags.images} images, {flags.features} features\n\n| study | s | CPU s |\n|---|---|---|")
    material = {Features: features(flags.images, flags.features), Segmented: segmented(flags.images)}
    for name in flags.only:
        module = STUDIES[name]
        started = time.perf_counter(), time.process_time()
        module.study(module.Settings(), material[module.NEEDS], iter)
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
        print(f"| {name} | {wall:.1f} | {cpu:.1f} |", flush=True)


def features(images, count):
    """Features of two models of images in `LABELS` classes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, LABELS, images).astype(np.int32)

    def drawn():
        inner = random.normal(size=(LABELS, INNER))[labels] + random.normal(size=(images, INNER))
        noise = random.random((images, count))
        return np.maximum(inner @ random.normal(size=(INNER, count)), 0).astype(np.float32) + noise.astype(np.float32)

    return Features(
        names=[str(number) for number in range(images)],
        images=random.integers(0, 256, (images, 64, 64, 3), np.uint8),
        maps={},
        pooled={"detection": drawn(), "classification": drawn()},
        heads={},
        encoders={},
        labels=labels,
        classes=[str(number) for number in range(LABELS)],
        train=np.ones(images, bool),
        boxes=None,
        mean=np.full(3, 127.0),
    )


def segmented(images):
    """Discs of one class on background, with a void line, and the same a little moved."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    truths, plain = [], []
    for _ in range(MAPS):
        (y, x), radius = random.uniform(0.3, 0.7, 2) * SIZE, random.uniform(40, 120)
        one = np.where(np.hypot(rows - y, columns - x) < radius, random.integers(1, CLASSES), 0).astype(np.uint8)
        plain.append(one)
        truths.append(np.where(trimap.void_line(one), VOID, one).astype(np.uint8))
    found = {
        "detection": lambda i: np.roll(plain[i % MAPS], 3, 0),
        "classification": lambda i: np.roll(plain[i % MAPS], 6, 1),
    }
    names = [str(number) for number in range(images)]
    return Segmented(names, [str(k) for k in range(CLASSES)], lambda i: truths[i % MAPS], found)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
