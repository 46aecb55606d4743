"""Benefit of cached features: decoder training on the frozen 24-convolution encoder, with and without the cache.

    python benchmarks/features.py [--image-size 448] [--batch-size 8] [--images 32] [--rounds 5] [--steps 4]

Each contestant trains a decoder on drawn scenes with the step that `fit` uses, on the batches of its own pipeline, so
that reading the cache from disk is included; flips are the only augmentation. The last two columns are the cost of the
cache.
"""

import argparse
import tempfile
import time
from pathlib import Path

from machine import describe
from rounds import Contestant, answer, spread

# Number of steps before the first one that is timed.
WARM_UP = 2
CONTESTANTS = ("segnet", "segnet cached", "unet", "unet cached")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    print(describe("tensorflow", "keras"))
    print(f"{flags.image_size} x {flags.image_size}, batch {flags.batch_size}, {flags.images} drawn scenes,", end=" ")
    print(f"{flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| precision | decoder | images/s | of uncached | MB for an image | s to compute for an image |")
    print("|---|---|---|---|---|---|")
    for precision in flags.precision:
        with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
            compare(flags, precision, folder)


def compare(flags, precision, folder):
    """The rows of one precision."""
    names = ("image-size", "batch-size", "images")
    sizes = [word for name in names for word in (f"--{name}", str(getattr(flags, name.replace("-", "_"))))]
    contestants, turns = {}, {name: [] for name in CONTESTANTS}
    try:
        for name in CONTESTANTS:
            command = [*sizes, "--precision", precision, "--folder", folder, "--contestant", name]
            contestants[name] = Contestant(__file__, *command)
            contestants[name].turn(WARM_UP)
        for _ in range(flags.rounds):
            for name, contestant in contestants.items():
                turns[name].append(contestant.turn(flags.steps))
    finally:
        for contestant in contestants.values():
            contestant.close()
    rates = {
        name: [flags.steps * flags.batch_size / turn["seconds"] for turn in taken] for name, taken in turns.items()
    }
    for name in CONTESTANTS:
        plain = rates[name.removesuffix(" cached")]
        ratio = spread([ours / theirs for ours, theirs in zip(rates[name], plain, strict=True)])
        made = contestants[name].first
        cost = f"{made['megabytes']:.2f} | {made['seconds']:.2f}" if "cached" in name else "- | -"
        print(f"| {precision} | {name} | {spread(rates[name], '.2f')} | {ratio} | {cost} |", flush=True)


def prepare(flags):
    import keras

    from kerastransfer.data import datasets, decoded, pipeline, views
    from kerastransfer.data.transforms import FLIP_ONLY
    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.losses.pixels import pixel_loss
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.segmenter import behind_encoder, segmenter
    from kerastransfer.training import features, strategy
    from kerastransfer.training.terms import TermModel

    strategy.prepare(precision=flags.precision[0], seed=0)
    size = (flags.image_size, flags.image_size)
    images = decoded.decode(datasets.load(f"toy:{flags.images}", check=False), ("segmentation",), size)
    encoder = yolov1_encoder()
    freeze(encoder)
    name, cached = flags.contestant.removesuffix(" cached"), flags.contestant.endswith(" cached")
    network, first = segmenter(encoder, name, 2), {}
    common = {"batch_size": flags.batch_size, "seed": 0}
    if cached:
        network = behind_encoder(network)
        started = time.perf_counter()
        taps = features.cached(
            encoder, images, Path(flags.folder, name), taps=list(network.input), flip=True, batch_size=flags.batch_size
        )
        first["seconds"] = (time.perf_counter() - started) / flags.images
        first["megabytes"] = sum(values.nbytes for values in taps.values()) / 1e6 / flags.images
        batches = features.training_batches(taps, images, flip=0.5, **common)
    else:
        batches = pipeline.training_batches(images, size=size, view=views.augmented(FLIP_ONLY), **common)
    model = TermModel(network, pixel_loss, {"cross_entropy": 1.0, "dice": 1.0})
    model.compile(keras.optimizers.AdamW(1e-3))
    model.make_train_function()
    batches = iter(batches.map(lambda x, y: (x, {"segmentation": y["segmentation"] % 2})))

    def run(steps):
        for _ in range(steps):
            logs = model.train_function(batches)
        return {"loss": float(logs["loss"])}

    return first, run


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=448, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--images", type=int, default=32, help="number of scenes to draw")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps in a round")
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--folder", help="folder for the cached features; the default is a temporary one")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
