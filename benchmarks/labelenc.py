"""What LabelEnc costs while it trains: seconds of a step of step 1 and of step 2 over those of a plain one.

    python benchmarks/labelenc.py [--models retinanet yolov3-small] [--encoder resnet50] [--channels 256] [--towers 4]
        [--image-size 320] [--batch-size 8] [--classes 20] [--precision mixed_bfloat16]

A step is forward, backward and AdamW, compiled with tf.function, without XLA, on the same batch and random weights.
--encoder, --channels and --towers concern the detectors on a feature pyramid.
"""

import argparse

from drawn import batch
from machine import describe
from rounds import answer, compete, spread
from steps import trained

WORK = ("plain", "step 1", "step 2")
LEARNING_RATE = 1e-4


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags))
        return
    print(describe("tensorflow", "keras"))
    print(f"{flags.image_size} x {flags.image_size}, batch {flags.batch_size}, {flags.classes} classes,", end=" ")
    print(f"{flags.precision}, {flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| model | step | ms/image | of plain |\n|---|---|---|---|")
    for model in flags.models:
        given = ("encoder", "channels", "towers", "image_size", "batch_size", "classes", "precision")
        same = [word for name in given for word in (f"--{name.replace('_', '-')}", str(getattr(flags, name)))]
        commands = {work: [__file__, *same, "--models", model, "--contestant", work] for work in WORK}
        turns = compete(commands, flags.rounds, flags.steps)
        seconds = {work: [turn["seconds"] for turn in taken] for work, taken in turns.items()}
        for work, own in seconds.items():
            ratio = spread([mine / plain for mine, plain in zip(own, seconds["plain"], strict=True)], ".2f")
            each = spread([1e3 * one / flags.steps / flags.batch_size for one in own])
            print(f"| {model} | {work} | {each} | {ratio} |", flush=True)


def prepare(flags):
    import keras
    import tensorflow as tf

    import kerastransfer as kt
    from kerastransfer import detectors
    from kerastransfer.detectors.detector import Purpose
    from kerastransfer.models import labelenc
    from kerastransfer.models.parts import freeze
    from kerastransfer.training import optimizers
    from kerastransfer.training.terms import TermModel

    keras.config.set_dtype_policy(flags.precision)
    (net,) = flags.models
    family = detectors.family(net)
    on_pyramid = detectors.FAMILY[net] not in ("yolov1", "yolov3")
    settings = {"channels": flags.channels, "towers": flags.towers, "encoder": flags.encoder} if on_pyramid else {}
    names = tuple(f"class {number}" for number in range(flags.classes))
    purpose = Purpose(names, flags.image_size, None, encoder=kt.encoder)
    built = family.build(family.Settings(**settings), net, purpose)
    detector = built.build()
    graph, terms, weights = built.trained(detector), built.terms, dict(built.weights)
    if flags.contestant != "plain":
        network = labelenc.label_network(detector, flags.classes)
        reconstruct = flags.contestant == "step 1"
        if not reconstruct:
            freeze(network)
        reading = built.reading(detector) if built.reading else None
        graph = labelenc.trainer(detector, network, reconstruct=reconstruct, reading=reading)
        terms = labelenc.labelenc_terms(built.terms, reconstruct=reconstruct)
        if reconstruct:
            weights |= {f"{labelenc.CODES}{name}": weight for name, weight in built.weights.items()}
        weights["distance"] = 1.0
    model = TermModel(graph, terms, weights)
    model.compile(optimizers.AdamW(1e-4).build(LEARNING_RATE))
    image, boxes, labels = batch(flags, flags.classes)
    truth = {"boxes": boxes, "labels": labels}
    inputs = {"image": image, **truth} if isinstance(graph.input, dict) else image
    return trained(model, tf.data.Dataset.from_tensors((inputs, truth)).repeat())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=("retinanet", "yolov3-small"))
    parser.add_argument("--encoder", default="resnet50", help="a name, or a .keras file")
    parser.add_argument("--channels", type=int, default=256, help="of the pyramid")
    parser.add_argument("--towers", type=int, default=4, help="convolutions in each head")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--precision", default="mixed_bfloat16", help="a dtype policy of Keras")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--contestant", choices=WORK, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
