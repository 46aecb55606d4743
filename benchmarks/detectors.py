"""Images per second of detectors on a feature pyramid, in training and in inference: ours, KerasHub's, torchvision's.

    python benchmarks/detectors.py [--models retinanet fcos faster_rcnn] [--image-size 256] [--batch-size 2]

All have a ResNet-50 with trained batch normalization, a pyramid of 256 channels, the head as published, random weights
and the same batch, in float32. A training step is forward, backward and AdamW; inference goes from images to detections
after suppression, up to 100 in an image. KerasHub has RetinaNet alone.
"""

import argparse
import os

import numpy as np
from drawn import batch
from machine import describe
from rounds import MissingError, answer, compete, spread
from steps import trained

NUM_CLASSES = 20
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 1e-4
# Scores below are no detections; of random weights, RetinaNet's and FCOS's all are.
THRESHOLD = 0.05
MODELS = ("retinanet", "fcos", "faster_rcnn")
CONTESTANTS = ("kerastransfer", "KerasHub", "torchvision")


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: PREPARE[flags.contestant](flags))
        return
    print(describe("tensorflow", "keras", "keras-hub", "torch", "torchvision"))
    print(f"{flags.image_size} x {flags.image_size}, batch {flags.batch_size}, float32,", end=" ")
    print(f"{flags.rounds} rounds of {flags.steps} steps: median (smallest-largest)\n")
    print("| model | work | contestant | images/s | ours, times as fast |\n|---|---|---|---|---|")
    for model in flags.models:
        for work in flags.work:
            compare(flags, model, work)


def compare(flags, model, work):
    """Print a row of the table for each contestant."""
    same = ["--image-size", str(flags.image_size), "--batch-size", str(flags.batch_size)]
    same += ["--models", model, "--work", work]
    commands = {name: [__file__, *same, "--contestant", name] for name in CONTESTANTS}

    def left_out(name, reason):
        print(f"| {model} | {work} | {name} | left out: {reason} | |")

    turns = compete(commands, flags.rounds, flags.steps, left_out)
    images = flags.steps * flags.batch_size
    rates = {name: [images / turn["seconds"] for turn in taken] for name, taken in turns.items()}
    for name, own in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["kerastransfer"], own, strict=True)]
        ratio = "-" if name == "kerastransfer" else spread(ratios, ".2f")
        print(f"| {model} | {work} | {name} | {spread(own, '.2f')} | {ratio} |", flush=True)


def prepare_ours(flags):
    import tensorflow as tf

    import kerastransfer as kt
    from kerastransfer.encoders.resnet import resnet50
    from kerastransfer.models.predictor import predictor
    from kerastransfer.training import optimizers

    (net,), image_size = flags.models, flags.image_size
    classes = [f"class {number}" for number in range(NUM_CLASSES)]
    model = kt.detector(net, classes=classes, encoder=resnet50(), norms="trained", image_size=image_size)
    image, boxes, labels = batch(flags, NUM_CLASSES)
    if flags.work == ["inference"]:
        return predicted(predictor(model.kept(), model.about.decoder, score_threshold=THRESHOLD), image)
    model.compile(optimizers.AdamW(WEIGHT_DECAY).build(LEARNING_RATE))
    truth = {"boxes": boxes, "labels": labels}
    inputs = {"image": image, **truth} if isinstance(model.network.input, dict) else image
    return trained(model, tf.data.Dataset.from_tensors((inputs, truth)).repeat())


def prepare_hub(flags):
    import tensorflow as tf
    from keras_hub import layers, models

    if flags.models != ["retinanet"]:
        raise MissingError("KerasHub does not have it")
    import keras

    encoder = models.ResNetBackbone(
        [64],
        [7],
        [64, 128, 256, 512],
        [3, 4, 6, 3],
        [1, 2, 2, 2],
        "bottleneck_block",
        image_shape=(None, None, 3),
    )
    backbone = models.RetinaNetBackbone(encoder, 3, 7, use_p5=True, image_shape=(None, None, 3))
    model = models.RetinaNetObjectDetector(backbone, NUM_CLASSES, bounding_box_format="yxyx")
    model.prediction_decoder = layers.NonMaxSuppression("yxyx", from_logits=True, confidence_threshold=THRESHOLD)
    image, boxes, labels = batch(flags, NUM_CLASSES)
    if flags.work == ["inference"]:
        return predicted(model, image)
    model.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        box_loss=keras.losses.Huber(reduction="sum"),
        classification_loss=keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, from_logits=True, reduction="sum"
        ),
    )
    truth = {"boxes": boxes * flags.image_size, "labels": labels.astype("float32")}
    return trained(model, tf.data.Dataset.from_tensors((image, truth)).repeat())


def predicted(model, image):
    """A step is what `predict` calls, compiled."""
    import tensorflow as tf

    batch = [tf.constant(image)]
    model.make_predict_function()

    def run(steps):
        for _ in range(steps):
            found = model.predict_function(batch)
        return {"rows": int(np.shape(found["scores" if "scores" in found else "confidence"])[1])}

    return run(1), run


def prepare_torchvision(flags):
    import torch
    from torchvision.models import detection

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    build = {
        "retinanet": detection.retinanet_resnet50_fpn,
        "fcos": detection.fcos_resnet50_fpn,
        "faster_rcnn": detection.fasterrcnn_resnet50_fpn,
    }[flags.models[0]]
    # Faster R-CNN counts the background as a class.
    classes = NUM_CLASSES + (flags.models == ["faster_rcnn"])
    size = flags.image_size
    limit = {"score_thresh": THRESHOLD}
    if flags.models == ["faster_rcnn"]:
        # As many proposals and boxes as ours; it has 2,000, 1,000 and 512.
        limit = {"box_score_thresh": THRESHOLD, "box_batch_size_per_image": 128}
        limit |= {"rpn_post_nms_top_n_train": 200, "rpn_post_nms_top_n_test": 100}
    model = build(weights=None, weights_backbone=None, num_classes=classes, min_size=size, max_size=size, **limit)
    model = model.to(memory_format=torch.channels_last)
    image, boxes, labels = batch(flags, NUM_CLASSES)
    images = [torch.from_numpy(one).permute(2, 0, 1) / 255 for one in image]
    if flags.work == ["inference"]:
        model.eval()

        def run(steps):
            with torch.inference_mode():
                for _ in range(steps):
                    found = model(images)
            return {"rows": len(found[0]["scores"])}

        return run(1), run
    first = int(flags.models == ["faster_rcnn"])
    targets = [
        {"boxes": torch.from_numpy(own[:, [1, 0, 3, 2]] * size), "labels": torch.from_numpy(kinds + first).long()}
        for own, kinds in zip(boxes, labels, strict=True)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    model.train()

    def run(steps):
        for _ in range(steps):
            total = sum(model(images, targets).values())
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
        return {"loss": float(total)}

    return run(1), run


PREPARE = {"kerastransfer": prepare_ours, "KerasHub": prepare_hub, "torchvision": prepare_torchvision}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--work", nargs="+", choices=("training", "inference"), default=["training", "inference"])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
