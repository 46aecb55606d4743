"""What a training step of a pretext costs, beside the batches that it reads, and beside the same in PyTorch.

    python benchmarks/pretexts.py [--pretexts simclr conrec_one] [--image-size 96] [--width 16] [--batch-size 16]
        [--precision float32 bfloat16]

A step is forward, backward and AdamW on one batch of two views of noise, compiled with tf.function, without XLA;
PyTorch takes NT-Xent from lightly. The batches are made of decoded images, with windows, colours, blur and altered
inputs, while nothing is trained.
"""

import argparse
import os

import numpy as np
from machine import describe
from rounds import answer, compete, spread
from steps import trained

CONTESTANTS = ("kerastransfer", "PyTorch", "batches")
LEARNING_RATE = 1e-4
# The pretexts that the net in PyTorch stands for: without and with a decoder.
IN_PYTORCH = ("simclr", "conrec_one")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: PREPARE[flags.contestant](flags))
        return
    print(describe("tensorflow", "keras", "torch", "lightly"))
    print(
        f"{flags.image_size} x {flags.image_size}, width {flags.width}, {flags.batch_size} images in two views,",
        end=" ",
    )
    print(f"AdamW, {flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| pretext | precision | what | ms/image | speed of PyTorch's step |\n|---|---|---|---|---|")
    for pretext in flags.pretexts:
        for precision in flags.precision:
            compare(flags, pretext, precision)


def compare(flags, pretext, precision):
    """Print a row of the table for each contestant."""
    sizes = ("image_size", "width", "batch_size")
    same = [word for name in sizes for word in (f"--{name.replace('_', '-')}", str(getattr(flags, name)))]
    same += ["--pretexts", pretext, "--precision", precision]
    names = [name for name in CONTESTANTS if name != "PyTorch" or pretext in IN_PYTORCH]
    commands = {name: [__file__, *same, "--contestant", name] for name in names}

    def left_out(name, reason):
        print(f"| {pretext} | {precision} | {name} | left out: {reason} | |")

    turns = compete(commands, flags.rounds, flags.steps, left_out)
    seconds = {name: [turn["seconds"] for turn in taken] for name, taken in turns.items()}
    for name, own in seconds.items():
        each = spread([1e3 * one / flags.steps / flags.batch_size for one in own])
        theirs = seconds.get("PyTorch")
        ratio = spread([one / mine for mine, one in zip(own, theirs, strict=True)], ".2f") if theirs else ""
        print(f"| {pretext} | {precision} | {name} | {each} | {ratio} |", flush=True)


def built(flags):
    import keras

    from kerastransfer.data.toy import toy
    from kerastransfer.encoders.unet import unet_encoder
    from kerastransfer.pretexts import PRETEXTS

    keras.mixed_precision.set_global_policy({"bfloat16": "mixed_bfloat16"}.get(flags.precision[0], "float32"))
    module, data = PRETEXTS[flags.pretexts[0]], toy(count=64)
    return module.build(module.Settings(), unet_encoder(flags.width), data), module, data


def prepare_keras(flags):
    import tensorflow as tf

    from kerastransfer.training.optimizers import OPTIMIZERS
    from kerastransfer.training.terms import TermModel

    pretext, _, _ = built(flags)
    model = TermModel(pretext.trained, pretext.terms, pretext.weights)
    model.compile(OPTIMIZERS["adamw"]().build(LEARNING_RATE), jit_compile=False)
    views = dict(zip(("first", "second"), noise(flags), strict=True))
    targets = {**views, **{f"{name}_colours": view for name, view in views.items()}}
    targets |= {f"{name}_altered": (view[..., 0] > 200).astype("float32") for name, view in views.items()}
    return trained(model, tf.data.Dataset.from_tensors((views, targets)).repeat())


def prepare_batches(flags):
    from kerastransfer.data import decoded, pipeline
    from kerastransfer.data.transforms import Augmentation
    from kerastransfer.data.views import augmented

    pretext, module, data = built(flags)
    given = decoded.decode(data, module.FIELDS, (round(1.2 * flags.image_size),) * 2)
    size = (flags.image_size, flags.image_size)
    view = (pretext.view or augmented)(Augmentation())
    batches = iter(pipeline.training_batches(given, view=view, size=size, batch_size=flags.batch_size, seed=0))

    def run(steps):
        for _ in range(steps):
            next(batches)

    run(1)
    return {}, run


def prepare_torch(flags):
    import torch

    # It loads triton, which ends the process if TensorFlow is loaded before.
    import torch._dynamo
    from lightly.loss.ntx_ent_loss import NTXentLoss
    from torch_unet import Network

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    decoder = flags.pretexts[0] == "conrec_one"
    network = Network(flags.width, decoder=decoder).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, fused=True)
    contrast = NTXentLoss(0.5)
    # Channels are already last in memory.
    image = torch.from_numpy(np.concatenate(noise(flags))).permute(0, 3, 1, 2)

    def run(steps):
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=flags.precision[0] == "bfloat16"):
                embedding, logits = network(image)
            # Lightly averages both directions, and we add them.
            total = 2 * contrast(*embedding.float().chunk(2))
            if decoder:
                total = total + 100 * (logits.float().sigmoid() - image / 255).square().mean()
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
        return {"loss": float(total)}

    return run(1), run


def noise(flags):
    """Two views (B, H, W, 3), the same in every process."""
    shape = (2, flags.batch_size, flags.image_size, flags.image_size, 3)
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


PREPARE = {"kerastransfer": prepare_keras, "batches": prepare_batches, "PyTorch": prepare_torch}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretexts", nargs="+", default=list(IN_PYTORCH), help="names in kerastransfer.pretexts")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--width", type=int, default=16, help="of the U-Net")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
