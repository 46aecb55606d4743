"""Rate of mask-out maps against plain inference: masked copies are made while the encoder runs.

    python benchmarks/mask_out.py [--encoder small] [--image-size 224] [--batch-size 32] [--rounds 5] [--steps 1]

A step is one image: a copy for each position of the square, and the image itself. Plain inference reads as many images,
which are in memory, in the same batches. Both pool the deepest tap, and the masked copies go through a linear
classifier as well.
"""

import argparse

import numpy as np
from machine import describe
from rounds import answer, compete, spread

CONTESTANTS = ("plain", "masked")
CLASSES = 100


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    print(describe("tensorflow", "keras"))
    print(
        f"{flags.encoder}, {flags.image_size} x {flags.image_size}, batch {flags.batch_size}, {copies(flags)} copies,"
    )
    print(f"{flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    names = ("encoder", "image-size", "batch-size", "stride")
    sizes = [word for name in names for word in (f"--{name}", str(getattr(flags, name.replace("-", "_"))))]
    commands = {name: (__file__, *sizes, "--contestant", name) for name in CONTESTANTS}
    turns = compete(commands, flags.rounds, flags.steps)
    rates = {name: [flags.steps * copies(flags) / turn["seconds"] for turn in taken] for name, taken in turns.items()}
    shares = [ours / plain for ours, plain in zip(rates["masked"], rates["plain"], strict=True)]
    print("| plain, images/s | masked, images/s | share |\n|---|---|---|")
    print(f"| {spread(rates['plain'])} | {spread(rates['masked'])} | {spread(shares, '.2f')} |")


def copies(flags) -> int:
    """Copies of an image."""
    from kerastransfer.analysis.mask_out import SIDE, places

    return 1 + len(places(flags.image_size, max(1, round(flags.stride * flags.image_size / SIDE)))) ** 2


def prepare(flags):
    import keras

    from kerastransfer.analysis import mask_out
    from kerastransfer.analysis.linear_classifier import ImageProbe
    from kerastransfer.encoders import ENCODERS, taps

    encoder = ENCODERS[flags.encoder]()
    deepest = encoder.output[taps.last(encoder)]
    model = keras.Model(encoder.input, keras.layers.GlobalAveragePooling2D(dtype="float32")(deepest))
    random, depth = np.random.default_rng(0), deepest.shape[-1]
    images = random.integers(0, 256, (flags.batch_size, *[flags.image_size] * 2, 3), np.uint8)
    probe = ImageProbe(np.zeros(depth), np.ones(depth), random.normal(size=(depth, CLASSES)), np.zeros(CLASSES), 1.0)
    settings = mask_out.Settings(stride=flags.stride, batch_size=flags.batch_size)

    def score(batch, of):
        return probe.probabilities(model.predict_on_batch(batch))[:, 0]

    def masked(steps):
        for step in range(steps):
            image = images[step % len(images)][None]
            mask_out.maps(image, score, settings, np.full(3, 128, np.uint8))

    def plain(steps):
        for _ in range(-(-steps * copies(flags) // flags.batch_size)):
            model.predict_on_batch(images)

    return {}, {"plain": plain, "masked": masked}[flags.contestant]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="small", help="a name in kerastransfer.encoders.ENCODERS")
    parser.add_argument("--image-size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--stride", type=int, default=16, help="of the square, in pixels of an image of 224 pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="images in a round")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
