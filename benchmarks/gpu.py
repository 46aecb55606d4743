"""Training step and inference of every model on a GPU, on JAX: TensorFlow is not imported and need not be installed.

    python benchmarks/gpu.py [--image-size 448] [--batch-size 16] [--encoders small fast_yolo yolov1] [--cpu]

A detector, a SegNet and a U-Net on each encoder, in float32 and in bfloat16, which take turns. A detector trains whole,
with Darknet's loss; under the decoders the encoder is frozen, as in `recipes.yolo_segnet`. A training step is what
`fit` compiles: forward, backward and AdamW, on a batch that lies on the device. Inference gives raw predictions or
logits. float32 on a GPU is JAX's default: its matrix units may round the factors of a product to TF32.

Without a GPU the script says so and ends with code 0; --cpu runs a tiny size on the processor, as proof that it works.
"""

import argparse
import itertools
import os
import random
import sys
import time

from machine import describe
from rounds import Contestant, MissingError, answer, spread, take_turns
from small_detector import LEARNING_RATE, NUM_CLASSES, WEIGHT_DECAY

ENCODERS = ("small", "fast_yolo", "yolov1")
DECODERS = ("detector", "segnet", "unet")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
OBJECTS = 8  # boxes of an image
SIZES = {"image_size": 448, "batch_size": 16, "rounds": 7, "steps": 10}
TINY = {"image_size": 64, "batch_size": 2, "rounds": 2, "steps": 2}  # with --cpu


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    try:
        machine = Contestant(__file__, *settings(flags, "machine"))
    except MissingError as reason:
        print(f"Nothing was measured: {reason}")
        return
    machine.close()
    stride = max(machine.first["strides"][name] for name in flags.encoders)
    if flags.image_size % stride:
        print(
            f"error: --image-size {flags.image_size} is no multiple of {stride}, an encoder's stride", file=sys.stderr
        )
        raise SystemExit(2)
    print(describe("keras", "jax", "jaxlib"))
    print(f"{machine.first['device']}; {flags.image_size} x {flags.image_size}, batch {flags.batch_size},", end=" ")
    print(f"{flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| net | precision | training, images/s | of float32 | inference, ms | of float32 | TFLOP/s", end=" ")
    print("| one image, ms | first loss |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    for encoder in flags.encoders:
        for decoder in flags.models:
            compare(flags, encoder, decoder)


def compare(flags, encoder, decoder):
    """A row for each precision."""
    title = f"{encoder}, {decoder}"
    contestants = {}
    try:
        for precision in flags.precision:
            try:
                command = settings(flags, f"{encoder} {decoder} {precision}")
                contestants[precision] = Contestant(__file__, *command)
            except MissingError as reason:
                print(f"| {title} | {precision} | left out: {reason} | | | | | | |")
        turns = take_turns(contestants, flags.rounds, flags.steps)
    finally:
        for contestant in contestants.values():
            contestant.close()

    for precision, taken in turns.items():
        first, plain = contestants[precision].first, turns.get("float32")
        cells = [title, precision, spread([flags.batch_size / turn["training"] for turn in taken])]
        cells.append(ratio(plain, taken, "training"))
        cells.append(spread([1000 * turn["inference"] for turn in taken], ".2f"))
        cells.append(ratio(plain, taken, "inference"))
        operations = 2 * first["multiply_adds"] * flags.batch_size
        cells.append(spread([operations / turn["inference"] / 1e12 for turn in taken], ".2f"))
        cells.append(spread([1000 * turn["one_image"] for turn in taken], ".2f"))
        print("|", " | ".join(cells), f"| {first['loss']:.4f} |", flush=True)


def ratio(plain, taken, what):
    """How many times as fast as float32 in the same round."""
    return spread([a[what] / b[what] for a, b in zip(plain, taken, strict=True)], ".2f") if plain else "-"


def prepare(flags):
    """One contestant: the machine, which only reports itself, or a net in a precision."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the contestants share the device
    if flags.cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        import jax
    except ImportError as error:
        raise MissingError(f"JAX is missing ({error}); for a GPU of NVIDIA: pip install 'jax[cuda13]'") from error
    try:
        device = jax.devices()[0]
    except RuntimeError as error:
        raise MissingError(f"JAX finds no device: {' '.join(str(error).split())}") from error
    if device.platform == "cpu" and not flags.cpu:
        raise MissingError("there is no GPU, JAX sees the processor alone; --cpu runs a tiny size on it, as proof")
    if flags.contestant == "machine":
        from kerastransfer.encoders.yolov1 import ENCODERS as builders
        from kerastransfer.encoders.yolov1 import tap_strides

        strides = {name: max(tap_strides(builders[name]()).values()) for name in flags.encoders}
        return {"device": f"{device.device_kind} ({device.platform})", "strides": strides}, None
    try:
        return contestant(flags, *flags.contestant.split())
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MissingError("the device has too little memory") from error


def contestant(flags, encoder, decoder, precision):
    import jax
    import keras
    from graph import flatten, multiply_adds

    from kerastransfer.training.terms import TermModel

    keras.mixed_precision.set_global_policy(POLICIES[precision])
    random.seed(1)  # Keras draws its seeds from here; its own set_random_seed imports TensorFlow where it is installed
    network, terms, weights = trained(encoder, decoder)
    model = TermModel(network, terms, weights)
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, jit_compile=True)
    image, targets = jax.device_put(batch(flags))
    loss = model.train_on_batch(image, targets)  # builds what `fit` builds
    loss = float(loss[0] if isinstance(loss, list) else loss)

    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([variable.value for variable in kind] for kind in variables)
    model.make_train_function()
    infer = jax.jit(lambda learnt, others, image: model.stateless_call(learnt, others, image, training=False)[0])
    one_image = image[:1]
    assert "tensorflow" not in sys.modules, "something has imported TensorFlow"

    def timed(step, steps):
        """Seconds of a step: they are queued on the device, and only the last is waited for."""
        jax.block_until_ready(step())  # compiles, the first time
        started = time.perf_counter()
        for _ in range(steps):
            result = step()
        jax.block_until_ready(result)
        return (time.perf_counter() - started) / steps

    def train():
        nonlocal state
        _, state = model.train_function(state, itertools.repeat((image, targets)))
        return state

    def run(steps):
        return {
            "training": timed(train, steps),
            "inference": timed(lambda: infer(*state[:2], image), steps),
            "one_image": timed(lambda: infer(*state[:2], one_image), steps),
        }

    count = multiply_adds(flatten(network, (1, flags.image_size, flags.image_size, 3)).steps)
    return {"loss": loss, "multiply_adds": count}, run


def trained(encoder, decoder):
    """The network, its loss and the weights of the loss's terms."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import ACTIVATIONS
    from kerastransfer.encoders.yolov1 import ENCODERS as builders
    from kerastransfer.losses.pixels import pixel_loss
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.yolo_unet import DECODERS as decoders
    from kerastransfer.models.yolov1 import yolov1

    part = builders[encoder]()
    if decoder == "detector":
        codec = YoloV1Codec(NUM_CLASSES, sizes="root", score="product")
        return yolov1(part, codec, activation=ACTIVATIONS[encoder]), yolov1_loss(codec, "darknet"), WEIGHTS
    network = decoders[decoder](part, NUM_CLASSES + 1)
    freeze(part)
    return network, pixel_loss, {"cross_entropy": 1.0, "dice": 1.0}


def batch(flags):
    """Images (B, H, W, 3) float32, and random targets of both kinds of loss."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (flags.batch_size, flags.image_size, flags.image_size)
    near = rng.uniform(0, 0.6, (flags.batch_size, OBJECTS, 2))
    boxes = np.concatenate([near, near + rng.uniform(0.1, 0.4, near.shape)], -1).astype("float32")
    return rng.uniform(0, 255, (*shape, 3)).astype("float32"), {
        "boxes": boxes,
        "labels": rng.integers(0, NUM_CLASSES, boxes.shape[:2]).astype("int32"),
        "segmentation": rng.integers(0, NUM_CLASSES + 1, shape).astype("uint8"),
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in SIZES.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, help=f"by default {size}, with --cpu {TINY[name]}")
    parser.add_argument("--precision", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    parser.add_argument("--models", nargs="+", choices=DECODERS, default=DECODERS, help="what stands on each encoder")
    parser.add_argument("--cpu", action="store_true", help="run on the processor")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    for name, size in (TINY if flags.cpu else SIZES).items():
        if getattr(flags, name) is None:
            setattr(flags, name, size)
        if getattr(flags, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(flags, name)}: it must be above 0")
    return flags


def settings(flags, contestant):
    """Flags of a contestant's process."""
    sizes = ["--image-size", str(flags.image_size), "--batch-size", str(flags.batch_size)]
    return [*sizes, "--encoders", *flags.encoders, *(["--cpu"] if flags.cpu else []), "--contestant", contestant]


if __name__ == "__main__":
    main()
