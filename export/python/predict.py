"""Run a .tflite file that kerastransfer exported on a photo.

    python predict.py model.tflite photo.jpg --output overlay.png --json

A client to copy and adapt: a single file that needs ai-edge-litert, numpy and pillow. Labels and thresholds are read
from the model file. If kerastransfer is installed, kerastransfer.export.predictor does the same.
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


def run(path, photo, image, threads):
    """The model's outputs for a photo, {name: array without the batch axis}; `image` is that of the metadata."""
    interpreter = Interpreter(model_path=path, num_threads=threads)
    model = interpreter.get_signature_runner()
    ((name, entry),) = model.get_input_details().items()
    left, top, right, bottom = window(photo.size, image)
    picture = Image.new("RGB", (image["width"], image["height"]), (128, 128, 128))
    picture.paste(photo.resize((right - left, bottom - top), BILINEAR), (left, top))
    pixels = np.asarray(picture)[None]
    # Pixels are 0..255 in every kind of file.
    outputs = model(**{name: pixels.astype(entry["dtype"])})
    return {name: value[0] for name, value in outputs.items()}


def rgb(photo):
    """A picture of any mode in RGB, turned upright by its EXIF orientation. 16-bit grey keeps its upper byte; Pillow's
    own conversion would clip it to white."""
    if photo.mode in ("I", "F"):
        raise ValueError("32 bits per pixel; store it with 8 or 16")
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I;16"):
        photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
    # A palette may have transparent colours.
    if photo.mode == "P":
        photo = photo.convert("RGBA")
    return photo.convert("RGB")


def window(size, image):
    """(left, top, right, bottom) of a photo of `size` (width, height) within the model's input: all of it or, with
    letterboxing, the part in the middle that has the photo's aspect ratio."""
    (w, h), width, height = size, image["width"], image["height"]
    inner = (width, height)
    if image["resize"].startswith("letterbox"):
        narrow = (max(1, w * height // h), height)
        inner = (width, max(1, h * width // w)) if width * h < height * w else narrow
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    return left, top, left + inner[0], top + inner[1]


def objects(outputs, size, image, labels, limits):
    """Dicts with label, score and box (y1, x1, y2, x2) in pixels of the photo, best first; with a mask (H, W) as well,
    if the model predicts masks."""
    boxes, scores = np.clip(outputs["boxes"], 0, 1), outputs["scores"]
    # Boxes with masks are already suppressed, and each has one class.
    if "masks" in outputs:
        count = int(outputs["count"])
        own = outputs["labels"][:count, None] == np.arange(len(labels))
        boxes, scores = boxes[:count], np.where(own, scores[:count, None], -1)
    left, top, right, bottom = window(size, image)
    near, extent = np.array([top, left, top, left]), np.tile([bottom - top, right - left], 2)
    shape = np.tile([image["height"], image["width"]], 2)
    found = []
    for row, k in suppressed(boxes, scores, limits):
        whole = (boxes[row] * shape - near) / extent * np.tile(size[::-1], 2)
        box = np.clip(whole, 0, np.tile(size[::-1], 2))
        if ((box[2:] > box[:2]) != (whole[2:] > whole[:2])).any():
            # The box is outside a letterboxed photo.
            continue
        found.append({"label": labels[k], "score": float(scores[row, k]), "box": box.tolist()})
        if "masks" in outputs:
            found[-1]["mask"] = pasted(outputs["masks"][row], whole, size)
    return found


def suppressed(boxes, scores, limits):
    """(row, class) of the boxes that remain after greedy non-maximum suppression within each class, best first."""
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    found = []
    for k in range(scores.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")
        order = order[scores[order, k] >= limits["score"]]
        while len(order):
            best, order = order[0], order[1:]
            found.append((best, k))
            sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
            shared = sides.clip(0).prod(axis=1)
            order = order[shared <= limits["iou"] * (areas[best] + areas[order] - shared)]
    found.sort(key=lambda one: -scores[one])
    return found[: limits["detections"]]


def pasted(mask, box, size):
    """The pixels (H, W) bool of a photo of `size` (width, height) that a mask (M, M) of probabilities over a box (y1,
    x1, y2, x2), in pixels, covers. Probabilities are interpolated bilinearly between the centres of the cells, are 0
    outside, and must be at least 0.5."""
    whole = np.zeros(size[::-1], bool)
    if (box[2:] > box[:2]).all():
        rows, by_row = lookup(box[0], box[2], len(mask), size[1])
        columns, by_column = lookup(box[1], box[3], len(mask), size[0])
        whole[rows, columns] = by_row @ mask @ by_column.T >= 0.5
    return whole


def lookup(near, far, cells, length):
    """The pixels, of `length`, that a box reaches, and the weight of each cell in each of them."""
    cell = (far - near) / cells
    first, last = (int(np.clip(end, 0, length)) for end in (np.floor(near - cell), np.ceil(far + cell)))
    places = (np.arange(first, last) + 0.5 - near) / cell - 0.5
    return slice(first, last), np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0)


def run_lengths(mask):
    """A mask in COCO's uncompressed run lengths: column by column, the numbers of pixels that are 0, then 1, ..."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, mask.size]).tolist()}


def told(one):
    """A detection for JSON, with its mask as run lengths and the share of the box that the mask fills."""
    if "mask" not in one:
        return one
    y1, x1, y2, x2 = one["box"]
    filled = float(one["mask"].sum() / max((y2 - y1) * (x2 - x1), 1e-9))
    return {**one, "filled": filled, "mask": run_lengths(one["mask"])}


def classes(outputs, size, image):
    """The class of every pixel of the photo (H, W): probabilities are resized to the photo, then compared."""
    probabilities = outputs["segmentation"]
    scale = np.divide(probabilities.shape[1::-1], (image["width"], image["height"]))
    left, top, right, bottom = np.round(window(size, image) * np.tile(scale, 2)).astype(int)
    probabilities = np.moveaxis(probabilities[top : max(bottom, top + 1), left : max(right, left + 1)], -1, 0)
    layers = (
        np.asarray(Image.fromarray(layer).resize(size, BILINEAR)) for layer in map(np.ascontiguousarray, probabilities)
    )
    best, chosen = next(layers), np.zeros(size[::-1], np.uint8)
    # One class at a time, so that a large photo fits in memory.
    for k, layer in enumerate(layers, start=1):
        chosen[layer > best] = k
        best = np.maximum(best, layer)
    return chosen


def colour(k):
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.85, 1))


def paint_masks(photo, found):
    """Paint each object in a different colour, the best on top."""
    pixels = np.asarray(photo)
    painted = pixels.copy()
    for number, one in reversed(list(enumerate(found))):
        if "mask" in one:
            painted[one["mask"]] = (pixels[one["mask"]] + np.array(colour(number), float)) / 2
    return Image.fromarray(painted)


def draw_objects(photo, found, labels):
    picture = paint_masks(photo, found)
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


def read_objects(outputs, photo, about):
    """(picture, findings) of a detector or an instance segmenter."""
    found = objects(outputs, photo.size, about["image"], about["labels"], about["thresholds"])
    return draw_objects(photo, found, about["labels"]), [told(one) for one in found]


def read_classes(outputs, photo, about):
    """(picture, findings) of a segmenter."""
    labels, chosen = about["labels"], classes(outputs, photo.size, about["image"])
    shares = np.bincount(chosen.ravel(), minlength=len(labels)) / chosen.size
    found = [{"label": label, "fraction": float(share)} for label, share in zip(labels, shares, strict=True) if share]
    return draw_classes(photo, chosen, labels), found


def read_label(outputs, photo, about):
    """(picture, findings) of a classifier: the five most likely classes."""
    best = np.argsort(-outputs["probabilities"], kind="stable")[:5]
    found = [{"label": about["labels"][k], "score": float(outputs["probabilities"][k])} for k in best]
    picture = photo.copy()
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(10, min(photo.size) // 15))
    text = f"{found[0]['label']} {found[0]['score']:.2f}"
    pen.rectangle(pen.textbbox((0, 0), text, font=font), fill=colour(int(best[0])))
    pen.text((0, 0), text, fill=(0, 0, 0), font=font)
    return picture, found


READERS = {
    "detection": read_objects,
    "instances": read_objects,
    "segmentation": read_classes,
    "classification": read_label,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a .tflite file exported by kerastransfer")
    parser.add_argument("photo", help="a picture file")
    parser.add_argument("--output", metavar="PICTURE", help="write the photo with the prediction drawn over it")
    parser.add_argument("--json", action="store_true", help="print the prediction as JSON")
    parser.add_argument("--score", type=float, help="lowest score of a detection; the default is stored in the file")
    parser.add_argument("--threads", type=int, default=2, help="number of threads (default: 2)")
    given = parser.parse_args()
    try:
        photo = rgb(Image.open(given.photo))
        with zipfile.ZipFile(given.model) as appended:
            about = json.loads(appended.read("metadata.json"))
        outputs = run(given.model, photo, about["image"], given.threads)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"{given.model} on {given.photo}: {error}")

    if about["task"] not in READERS:
        sys.exit(f"{given.model}: this client does not know the task {about['task']!r}; get a newer client")
    if given.score is not None and "thresholds" in about:
        about["thresholds"]["score"] = given.score
    picture, found = READERS[about["task"]](outputs, photo, about)

    if given.output:
        picture.save(given.output)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for one in found:
            values = [value for name, value in one.items() if name != "mask"]
            print(*(f"{value:.3f}" if isinstance(value, float) else value for value in values))


if __name__ == "__main__":
    main()
