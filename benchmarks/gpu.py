"""Training steps and inference of all models on a GPU, with JAX; TensorFlow is not imported and need not be installed.

    python benchmarks/gpu.py [--models segnet unet yolov3] [--encoders yolov1] [--image-size 448] [--batch-size 16]
    python benchmarks/gpu.py --models yolov3 yolov3-tiny --batch-size 1 --precision bfloat16

The nets are a detector, a SegNet and a U-Net on each encoder, at 448 x 448, and YOLOv3 and its mask branch with 80
classes, at 416 x 416; in float32 and in bfloat16, which take turns. Detectors are trained as a whole, with Darknet's
loss; with the decoders the encoder is frozen, as in `recipes.yolo_segnet`, and with the mask branch the detector, as in
`recipes.yolo_mask`. A training step is what `fit` compiles: forward, backward and AdamW, on a batch in the memory of
the device. Inference returns raw predictions or logits; the kernels are in the memory of the device, in the type that
is used for computing. float32 on a GPU is JAX's default, in which matrix units may round the factors of a product to
TF32.

Inference of the mask branch is from feature maps and 20 boxes to logits; "instances" is from image to masks, including
non-maximum suppression. The aims for YOLOv3 at 416 x 416, for one image in half precision, are less than 1 ms for the
detector and less than 2 ms for the mask branch (YOLO-Mask reports 2 and 8 ms, on hardware that it does not name).

Without a GPU the script says so and exits with code 0; --cpu runs a tiny size on the CPU, to check that it works.
"""

import argparse
import itertools
import os
import random
import sys
import time

from gpu_nets import DECODERS, ENCODERS, PARTS, SIDES, YOLOV3, net
from machine import describe
from rounds import Contestant, MissingError, answer, spread, take_turns
from small_detector import LEARNING_RATE, WEIGHT_DECAY

from kerastransfer import detectors

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
SIZES = {"batch_size": 16, "rounds": 7, "steps": 10}
# The sizes with --cpu.
TINY = {"image_size": 64, "batch_size": 2, "rounds": 2, "steps": 2}


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
    print(describe("keras", "jax", "jaxlib"))
    print(f"{machine.first['device']}; batch {flags.batch_size},", end=" ")
    print(f"{flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| net | precision | training, images/s | of float32 | inference, ms | of float32 | TFLOP/s", end=" ")
    print("| one image, ms | first loss |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    for base, part in chosen(flags):
        compare(flags, base, part)


def chosen(flags):
    """(base, part) of each net, as `gpu_nets.net` takes them."""
    yield from itertools.product(flags.encoders, [model for model in flags.models if model in DECODERS])
    yield from itertools.product([model for model in flags.models if model in YOLOV3], PARTS)


def compare(flags, base, part):
    """A row for each precision."""
    title = f"{base}, {part}, {side(flags, base)} x {side(flags, base)}"
    contestants = {}
    try:
        for precision in flags.precision:
            try:
                command = settings(flags, f"{base}/{part}/{precision}")
                contestants[precision] = Contestant(__file__, *command)
            except MissingError as reason:
                print(f"| {title} | {precision} | left out: {reason} | | | | | | |")
        turns = take_turns(contestants, flags.rounds, flags.steps)
    finally:
        for contestant in contestants.values():
            contestant.close()

    for precision, taken in turns.items():
        first, plain = contestants[precision].first, turns.get("float32")
        cells, trains = [title, precision], "loss" in first
        cells.append(spread([flags.batch_size / turn["training"] for turn in taken]) if trains else "-")
        cells.append(ratio(plain, taken, "training") if trains else "-")
        cells.append(spread([1000 * turn["inference"] for turn in taken], ".2f"))
        cells.append(ratio(plain, taken, "inference"))
        operations = 2 * first["multiply_adds"] * flags.batch_size
        cells.append(spread([operations / turn["inference"] / 1e12 for turn in taken], ".2f"))
        cells.append(spread([1000 * turn["one_image"] for turn in taken], ".2f"))
        cells.append(f"{first['loss']:.4f}" if trains else "-")
        print("|", " | ".join(cells), "|", flush=True)


def ratio(plain, taken, what):
    """Speed relative to float32 in the same round."""
    return spread([a[what] / b[what] for a, b in zip(plain, taken, strict=True)], ".2f") if plain else "-"


def prepare(flags):
    """One contestant: the machine, which only reports itself, or a net in a precision."""
    os.environ["KERAS_BACKEND"] = "jax"
    # The contestants share the device, so none may allocate all of its memory.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if flags.cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        import jax
    except ImportError as error:
        raise MissingError(f"JAX is missing ({error}); for NVIDIA GPUs: pip install 'jax[cuda13]'") from error
    try:
        device = jax.devices()[0]
    except RuntimeError as error:
        raise MissingError(f"JAX finds no device: {' '.join(str(error).split())}") from error
    if device.platform == "cpu" and not flags.cpu:
        raise MissingError("there is no GPU, JAX only sees the CPU; --cpu runs a tiny size on it")
    if flags.contestant == "machine":
        return {"device": f"{device.device_kind} ({device.platform})"}, None
    try:
        return contestant(flags, *flags.contestant.split("/"))
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MissingError("the device has too little memory") from error


def contestant(flags, base, part, precision):
    import jax
    import keras

    keras.mixed_precision.set_global_policy(POLICIES[precision])
    # Keras draws its seeds from here; its own set_random_seed would import TensorFlow if it is installed.
    random.seed(1)
    own = net(base, part, side(flags, base), flags.batch_size, tiny=flags.cpu)
    first, train = trainer(own) if own.network else ({}, None)
    values, given = held(own.inference), jax.device_put(own.given)
    one_image = jax.tree.map(lambda array: array[:1], given)
    infer = jax.jit(lambda values, given: own.inference.stateless_call(*values, given, training=False)[0])
    assert "tensorflow" not in sys.modules, "something has imported TensorFlow"

    def timed(step, steps):
        """Seconds per step: steps are queued on the device, and only the last one is waited for."""
        # The first step compiles.
        jax.block_until_ready(step())
        started = time.perf_counter()
        for _ in range(steps):
            result = step()
        jax.block_until_ready(result)
        return (time.perf_counter() - started) / steps

    def run(steps):
        return {
            **({"training": timed(train, steps)} if train else {}),
            "inference": timed(lambda: infer(values, given), steps),
            "one_image": timed(lambda: infer(values, one_image), steps),
        }

    return first | {"multiply_adds": own.multiply_adds()}, run


def trainer(own):
    """The first loss, and a function that runs a training step."""
    import jax
    import keras

    from kerastransfer.training.terms import TermModel

    model = TermModel(own.network, own.terms, own.weights)
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, jit_compile=True)
    batch = jax.device_put((own.inputs, own.targets))
    # This builds what `fit` builds.
    loss = model.train_on_batch(*batch)
    loss = float(loss[0] if isinstance(loss, list) else loss)

    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([variable.value for variable in kind] for kind in variables)
    model.make_train_function()

    def train():
        nonlocal state
        _, state = model.train_function(state, itertools.repeat(batch))
        return state

    return {"loss": loss}, train


def held(model):
    """Copies of the values of trainable and other variables, because training consumes them; kernels are in the type
    that their layers compute with."""
    import jax

    computed = {id(layer.kernel): layer.compute_dtype for layer in model._flatten_layers() if hasattr(layer, "kernel")}
    return tuple(
        [jax.numpy.array(variable.value, computed.get(id(variable), variable.dtype)) for variable in kind]
        for kind in (model.trainable_variables, model.non_trainable_variables)
    )


def side(flags, base):
    """The side of an image, in pixels."""
    return flags.image_size or SIDES[base]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, help="default: 448; 416 for YOLOv3; 64 with --cpu")
    for name, size in SIZES.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, help=f"default: {size}; {TINY[name]} with --cpu")
    parser.add_argument("--precision", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    models, told = (*DECODERS, *YOLOV3), "models to run on each encoder, and nets of the YOLOv3 family"
    parser.add_argument("--models", nargs="+", choices=models, default=models, help=told)
    parser.add_argument("--cpu", action="store_true", help="run a tiny size on the CPU")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    for name, size in (TINY if flags.cpu else SIZES).items():
        if getattr(flags, name) is None:
            setattr(flags, name, size)
    for name in TINY:
        if (getattr(flags, name) or 1) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(flags, name)}; it must be above 0")
    stride = max(detectors.family(base).NETS[base] for base, _ in chosen(flags))
    if (flags.image_size or 0) % stride:
        parser.error(f"--image-size {flags.image_size} is not a multiple of {stride}, the stride of a net")
    return flags


def settings(flags, contestant):
    """The flags for a contestant's process."""
    sizes = [*(["--image-size", str(flags.image_size)] if flags.image_size else [])]
    sizes += ["--batch-size", str(flags.batch_size)]
    own = ["--encoders", *flags.encoders, "--models", *flags.models]
    return [*sizes, *own, *(["--cpu"] if flags.cpu else []), "--contestant", contestant]


if __name__ == "__main__":
    main()
