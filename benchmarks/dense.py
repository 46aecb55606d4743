"""Cost of dense inference: multiply-adds, seconds, peak memory, and the share of the machine's matrix rate.

    python benchmarks/dense.py [--model yolov1] [--image-size 448] [--tile 224] [--output-stride 8]

Random weights, float32, one image. The dense mode of ElSedfy 2025, section III-B (all strides 1, nothing dilated) runs
in tiles, "a trous" runs at the output stride. Each has its own process, whose resident memory includes TensorFlow and
the weights. The matrix rate is that of a product of two 2048 x 2048 matrices, measured in the same process before and
after. The multiply-adds of all shifts are those of the detector on every shift of the image by less than its stride.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from graph import flatten, multiply_adds
from machine import describe

# Side of the matrices.
SIDE = 2048
VARIANTS = ("stride removed", "a trous")


def main():
    flags = arguments()
    if flags.variant:
        print(json.dumps(measure(flags)))
        return
    print(describe("tensorflow", "keras"))
    print(f"{flags.model} with its head, {flags.image_size} x {flags.image_size}\n")
    costs(flags)
    columns = ("graph", "output stride", "tile", "seconds", "peak GiB", "GFLOP/s", "of the matrix rate")
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for variant in VARIANTS:
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(
            f"| {variant} | {found['output_stride']} | {found['tile'] or 'none'} | {found['seconds']:.1f} "
            f"| {found['gibibytes']:.2f} | {found['rate']:.0f} | {found['rate'] / found['matrix_rate']:.2f} |",
            flush=True,
        )


def costs(flags):
    """Multiply-adds, computed from the shapes."""
    from kerastransfer.models.dense import dense

    detector = build(flags.model)
    stride = flags.image_size // detector.compute_output_shape((1, flags.image_size, flags.image_size, 3))[1]
    once = count(detector, flags.image_size)
    all_shifts = once * stride**2
    print("| multiply-adds | 1e9 | all shifts / this |\n|---|---|---|")
    print(f"| the detector, once | {once / 1e9:.1f} | |")
    print(f"| the detector on all {stride} x {stride} shifts | {all_shifts / 1e9:.0f} | 1 |")
    for name, dilate in (("a trous", True), ("stride removed", False)):
        cost = count(dense(detector, 1, dilate=dilate), flags.image_size)
        print(f"| {name}, output stride 1 | {cost / 1e9:.0f} | {all_shifts / cost:.1f} |")


def build(model):
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders import ENCODERS
    from kerastransfer.encoders.yolov1 import ACTIVATIONS
    from kerastransfer.models.yolov1 import yolov1

    return yolov1(ENCODERS[model](), YoloV1Codec(20), activation=ACTIVATIONS[model])


def count(model, side: int) -> int:
    """Multiply-adds for one image of side x side pixels."""
    return multiply_adds(flatten(model, (1, side, side, 3)).steps)


def measure(flags):
    from kerastransfer.analysis.dense_predictor import DensePredictor
    from kerastransfer.data.tiles import spans
    from kerastransfer.models.dense import Vote, dense, receptive_radius

    detector = build(flags.model)
    removed = flags.variant == "stride removed"
    stride, tile = (1, flags.tile) if removed else (flags.output_stride, 0)
    network = dense(detector, stride, dilate=not removed)
    size = flags.image_size
    computed, tiles = size, 1
    if tile:
        rows, computed = spans(size, tile, receptive_radius(network), stride)
        tiles = len(rows) ** 2
    work = 2 * count(network, computed) * tiles
    del detector
    predictor = DensePredictor(network, Vote(None, stride, 1, (size, size)), tile)
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype("uint8")
    # The first call compiles for this size.
    network.predict_on_batch(image[None, :computed, :computed].astype("float32"))
    before = matrix_rate()
    start = time.perf_counter()
    predictor.predictions(image)
    seconds = time.perf_counter() - start
    return {
        "output_stride": stride,
        "tile": tile,
        "seconds": seconds,
        "gibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "rate": work / seconds / 1e9,
        "matrix_rate": (before + matrix_rate()) / 2,
    }


def matrix_rate() -> float:
    """GFLOP/s of a float32 matrix product: the median of five."""
    import tensorflow as tf

    left, right = tf.random.normal((SIDE, SIDE)), tf.random.normal((SIDE, SIDE))
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        (left @ right)[0, 0].numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / float(np.median(seconds[2:])) / 1e9


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("yolov1", "fast_yolo", "small"), default="yolov1", help="the detector")
    parser.add_argument("--image-size", type=int, default=448, help="height and width in pixels")
    parser.add_argument("--tile", type=int, default=224, help="side of a tile in pixels; 0 computes the whole image")
    parser.add_argument("--output-stride", type=int, default=8, help='output stride of "a trous"')
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
