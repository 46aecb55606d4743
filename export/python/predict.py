"""Run a .tflite file that kerastransfer exported on a photo.

    python predict.py model.tflite photo.jpg --output overlay.png --json

A client to take along and change: one file, with ai-edge-litert, numpy and pillow. Labels and thresholds are read from
the file. Where kerastransfer is installed, kerastransfer.export.predictor does the same.
"""

import argparse
import colorsys
import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageDraw, ImageFont, ImageOps

BILINEAR = Image.Resampling.BILINEAR


def run(path, photo, threads):
    """The model's outputs for a photo, {name: float32 array without the batch axis}."""
    interpreter = Interpreter(model_path=path, num_threads=threads)
    model = interpreter.get_signature_runner()
    ((name, entry),) = model.get_input_details().items()
    _, height, width, _ = entry["shape"]
    pixels = np.asarray(photo.resize((width, height), BILINEAR))[None]
    outputs = model(**{name: pixels.astype(entry["dtype"])})  # pixels are 0..255 in every kind of file
    return {name: value[0] for name, value in outputs.items()}


def detections(outputs, size, labels, score, iou, limit):
    """Boxes that stay after greedy non-maximum suppression within each class: dicts of label, score and box
    (y1, x1, y2, x2) in pixels, best first."""
    boxes, scores = np.clip(outputs["boxes"], 0, 1), outputs["scores"]
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    found = []
    for k, label in enumerate(labels):
        order = np.argsort(-scores[:, k], kind="stable")
        order = order[scores[order, k] >= score]
        while len(order):
            best, order = order[0], order[1:]
            found.append({"label": label, "score": float(scores[best, k]), "box": boxes[best] * np.tile(size[::-1], 2)})
            sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
            shared = sides.clip(0).prod(axis=1)
            order = order[shared <= iou * (areas[best] + areas[order] - shared)]
    found.sort(key=lambda one: -one["score"])
    return [one | {"box": one["box"].tolist()} for one in found[:limit]]


def classes(outputs, size):
    """The class of every pixel of the photo (H, W): probabilities are scaled to the photo, then compared."""
    probabilities = np.moveaxis(outputs["segmentation"], -1, 0)
    layers = (
        np.asarray(Image.fromarray(layer).resize(size, BILINEAR)) for layer in map(np.ascontiguousarray, probabilities)
    )
    best, chosen = next(layers), np.zeros(size[::-1], np.uint8)
    for k, layer in enumerate(layers, start=1):  # one class at a time, so that a large photo fits into memory
        chosen[layer > best] = k
        best = np.maximum(best, layer)
    return chosen


def colour(k):
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.85, 1))


def draw_boxes(photo, found, labels):
    picture = photo.copy()
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(10, min(photo.size) // 25))
    for one in reversed(found):
        y1, x1, y2, x2 = one["box"]
        shade = colour(labels.index(one["label"]))
        pen.rectangle((x1, y1, x2, y2), outline=shade, width=max(1, min(photo.size) // 150))
        pen.text((x1 + 3, y1 + 3), f"{one['label']} {one['score']:.2f}", fill=shade, font=font)
    return picture


def draw_classes(photo, chosen, labels):
    palette = np.array([colour(k) for k in range(len(labels))], np.uint8)
    opacity = Image.fromarray(np.where(chosen > 0, 128, 0).astype(np.uint8))
    return Image.composite(Image.fromarray(palette[chosen]), photo, opacity)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a .tflite file exported by kerastransfer")
    parser.add_argument("photo")
    parser.add_argument("--output", metavar="PICTURE", help="write the photo with the prediction drawn over it")
    parser.add_argument("--json", action="store_true", help="print the prediction as JSON")
    parser.add_argument("--score", type=float, help="lowest score of a detection; by default the file's own")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    try:
        photo = ImageOps.exif_transpose(Image.open(given.photo)).convert("RGB")
        with zipfile.ZipFile(given.model) as appended:
            about = json.loads(appended.read("metadata.json"))
        outputs = run(given.model, photo, given.threads)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"{given.model} on {given.photo}: {error}")

    labels, limits = about["labels"], about["thresholds"]
    if about["task"] == "detection":
        score = limits["score"] if given.score is None else given.score
        found = detections(outputs, photo.size, labels, score, limits["iou"], limits["detections"])
        picture = draw_boxes(photo, found, labels)
    else:
        chosen = classes(outputs, photo.size)
        shares = np.bincount(chosen.ravel(), minlength=len(labels)) / chosen.size
        found = [
            {"label": label, "fraction": float(share)} for label, share in zip(labels, shares, strict=True) if share
        ]
        picture = draw_classes(photo, chosen, labels)

    if given.output:
        picture.save(given.output)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for one in found:
            print(*(f"{value:.3f}" if isinstance(value, float) else value for value in one.values()))


if __name__ == "__main__":
    main()
