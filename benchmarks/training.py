"""Images per second in training: ours, the same net with plain Keras layers, and the same net in PyTorch.

    python benchmarks/training.py [--image-size 224] [--batch-size 16] [--rounds 5] [--steps 10]

The detector of small_detector.py is trained with its loss and AdamW (forward, backward and update) on one batch in
memory. All contestants start from the same kernels, so the loss of the first step shows that they compute the same.
"""

import argparse
import os
import statistics

import numpy as np
from drawn import batch
from machine import describe
from rounds import Contestant, MissingError, answer, spread
from small_detector import LEARNING_RATE, NUM_CLASSES, WEIGHT_DECAY, compiled, kernel
from steps import trained

# Number of steps before the first one that is timed.
WARM_UP = 3
CONTESTANTS = ("kerastransfer", "plain Keras", "PyTorch")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: PREPARE[flags.contestant](flags))
        return
    print(describe("tensorflow", "keras", "torch"))
    print(f"{flags.image_size} x {flags.image_size}, batch {flags.batch_size}, AdamW,", end=" ")
    print(f"{flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| precision | contestant | images/s | of PyTorch | CPU ms/image | first loss |\n|---|---|---|---|---|---|")
    for precision in flags.precision:
        compare(flags, precision)


def compare(flags, precision):
    """Print a row of the table for each contestant."""
    contestants, turns = {}, {}
    try:
        for name in flags.contestants:
            try:
                contestants[name] = Contestant(__file__, *settings(flags, precision), "--contestant", name)
            except MissingError as reason:
                print(f"| {precision} | {name} | left out: {reason} | | | |")
        for name, contestant in contestants.items():
            contestant.turn(WARM_UP)
            turns[name] = []
        for number in range(flags.rounds):
            order = list(contestants)[:: 1 if number % 2 else -1]
            for name in order:
                turns[name].append(contestants[name].turn(flags.steps))
    finally:
        for contestant in contestants.values():
            contestant.close()

    images = flags.steps * flags.batch_size
    rates = {name: [images / turn["seconds"] for turn in taken] for name, taken in turns.items()}
    for name, taken in turns.items():
        ratio = "-"
        if "PyTorch" in rates:
            ratio = spread([a / b for a, b in zip(rates[name], rates["PyTorch"], strict=True)], ".2f")
        cpu = statistics.median(1000 * turn["cpu_seconds"] / images for turn in taken)
        loss = contestants[name].first["loss"]
        print(f"| {precision} | {name} | {spread(rates[name])} | {ratio} | {cpu:.1f} | {loss:.4f} |", flush=True)


def prepare_keras(flags, plain=False):
    import tensorflow as tf

    model = compiled(flags.precision[0], plain=plain, jit=flags.jit)
    image, boxes, labels = batch(flags, NUM_CLASSES)
    truth = {"boxes": boxes, "labels": labels}
    return trained(model, tf.data.Dataset.from_tensors((image, truth)).repeat())


def prepare_torch(flags):
    import torch

    # It loads triton, which ends the process if TensorFlow is loaded before.
    import torch._dynamo
    from torch_yolov1 import Detector, loss, set_kernels

    from kerastransfer.encoders.yolov1 import SMALL

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = Detector(SMALL, NUM_CLASSES)
    rng = np.random.default_rng(1)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    set_kernels(network, [kernel(rng, (*c.kernel_size, c.in_channels, c.out_channels)) for c in convolutions])
    network = network.to(memory_format=torch.channels_last).train()
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        fused=True,
    )
    image, boxes, labels = (torch.from_numpy(array) for array in batch(flags, NUM_CLASSES))
    # Channels are already last in memory.
    image = image.permute(0, 3, 1, 2)

    def run(steps):
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=flags.precision[0] == "bfloat16"):
                predictions = network(image)
            total = loss(predictions, boxes, labels, NUM_CLASSES)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
        return {"loss": float(total)}

    return run(1), run


PREPARE = {
    "kerastransfer": prepare_keras,
    "plain Keras": lambda flags: prepare_keras(flags, plain=True),
    "PyTorch": prepare_torch,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--jit", action="store_true", help="compile ours with XLA")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def settings(flags, precision):
    """The flags for a contestant's process."""
    sizes = ["--image-size", str(flags.image_size), "--batch-size", str(flags.batch_size)]
    return [*sizes, "--precision", precision, *(["--jit"] if flags.jit else [])]


if __name__ == "__main__":
    main()
