"""The studies of two models that need no training: seconds, CPU time over all threads, and most memory of their own.

    python benchmarks/studies.py [--images 1000] [--encoders small resnet18] [--only trimap co_assignment]

The images are drawn scenes of 224 x 224 pixels, whose features two encoders with random weights compute once into
memory-mapped files; maps of 21 classes have 500 x 375 pixels and a void line. The settings are the defaults of the
studies. Memory is what the process holds while a study is made, looked at every twentieth of a second; pages of mapped
files are not counted, since the system takes them back when memory is short. Linux only.
"""

import argparse
import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from machine import describe

from kerastransfer.analysis import studies, trimap
from kerastransfer.analysis.material import Features, Segmented
from kerastransfer.vocabulary import VOID

STUDIES = {name: one for name, one in studies.STUDIES.items() if one.NEEDS in (Features, Segmented)}
CLASSES, SIZE, SIDE = 21, (375, 500), 224
# Different maps; the images take them in turns.
MAPS = 16


def main():
    flags = arguments()
    print(describe("tensorflow", "keras", "scipy", "scikit-learn"))
    print(f"{flags.images} images; encoders {', '.join(flags.encoders)}\n")
    print("| study | s | CPU s | most MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        material = {Segmented: segmented(flags.images)}
        if any(STUDIES[name].NEEDS is Features for name in flags.only):
            material[Features] = timed("features", lambda: features(flags, Path(folder)))
        for name in flags.only:
            module = STUDIES[name]
            timed(name, lambda module=module: module.study(module.Settings(), material[module.NEEDS], iter))


def timed(name, work):
    """What `work` returns; a row of the table says what it took."""
    started = time.perf_counter(), time.process_time()
    with most_memory() as held:
        found = work()
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"| {name} | {wall:.1f} | {cpu:.1f} | {max(held) / 1e6:,.0f} |", flush=True)
    return found


@contextlib.contextmanager
def most_memory(seconds=0.05):
    """A list, to which bytes that are no file's are appended while the block runs."""
    held, ended = [own_memory()], threading.Event()

    def watch():
        while not ended.wait(seconds):
            held.append(own_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield held
    finally:
        ended.set()
        watcher.join()


def own_memory():
    """Bytes of this process in memory, without pages of files (proc(5), statm)."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def features(flags, folder):
    """Features of two encoders of drawn scenes, whose classes are those of their largest objects."""
    from kerastransfer.data import derive
    from kerastransfer.data.toy import toy
    from kerastransfer.encoders import ENCODERS, taps
    from kerastransfer.phases import study_material

    scenes = derive.require(toy(count=flags.images, image_size=SIDE), "label")
    encoders = {name: ENCODERS[name]() for name in flags.encoders}
    deepest = {name: taps.last(encoder) for name, encoder in encoders.items()}
    options = {"image_size": SIDE, "resize": "stretch", "taps": deepest, "heads": {}, "quiet": True}
    # Studies that fit nothing read the test images alone, so most are these.
    train = flags.images // 5
    return study_material.features(encoders, scenes[:train], scenes[train:], folder, **options)


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
    parser.add_argument("--encoders", nargs=2, default=("small", "resnet18"))
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
