"""A prediction drawn over its image."""

import colorsys

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from kerastransfer.tasks.prediction import Detections, Instances, Prediction, Segmentation


def colour(label: int) -> tuple[int, int, int]:
    """A colour for a class, far from those of the classes before it (hues by the golden ratio)."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, 1.0))


def draw(image: np.ndarray, prediction: Prediction, alpha: float = 0.5) -> PIL.Image.Image:
    """`image` (H, W, 3) uint8 with boxes, labels and scores, or with the classes other than background in colour."""
    if isinstance(prediction, Segmentation):
        return draw_segmentation(image, prediction, alpha)
    if isinstance(prediction, Instances):
        image = paint_masks(image, prediction, alpha)
    return draw_detections(image, prediction)


def draw_detections(image: np.ndarray, prediction: Detections) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(image)
    pen = PIL.ImageDraw.Draw(picture)
    font = PIL.ImageFont.load_default(max(10, min(image.shape[:2]) // 25))
    width = max(1, min(image.shape[:2]) // 150)
    found = list(
        zip(prediction.pixel_boxes.tolist(), prediction.labels, prediction.names, prediction.scores, strict=True)
    )
    for (y1, x1, y2, x2), label, name, score in reversed(found):  # the best come last, on top
        pen.rectangle((x1, y1, x2, y2), outline=colour(label), width=width)
        text = f"{name} {score:.2f}"
        left, top, right, bottom = pen.textbbox((x1, y1), text, font=font, anchor="lb")
        shift = max(0, -top)  # a caption above the upper edge moves down into the image
        pen.rectangle((left, top + shift, right, bottom + shift), fill=colour(label))
        pen.text((x1, y1 + shift), text, fill=(0, 0, 0), font=font, anchor="lb")
    return picture


def paint_masks(image: np.ndarray, prediction: Instances, alpha: float = 0.5) -> np.ndarray:
    """`image` (H, W, 3) uint8 under its objects' masks, each in a colour of its own, the best on top."""
    painted = image.astype(np.float32)
    for number in reversed(range(len(prediction.masks))):
        mask = prediction.masks[number]
        painted[mask] = (1 - alpha) * image[mask] + alpha * np.array(colour(number), np.float32)
    return painted.round().astype(np.uint8)


def draw_segmentation(image: np.ndarray, prediction: Segmentation, alpha: float = 0.5) -> PIL.Image.Image:
    palette = np.array([colour(label) for label in range(len(prediction.names))], np.uint8)
    painted = PIL.Image.fromarray(palette[prediction.segmentation])
    opacity = np.where(prediction.segmentation > 0, round(255 * alpha), 0).astype(np.uint8)
    return PIL.Image.composite(painted, PIL.Image.fromarray(image), PIL.Image.fromarray(opacity))


def draw_heat(image: np.ndarray, values: np.ndarray, highest: float, alpha: float = 0.6) -> PIL.Image.Image:
    """`image` (H, W, 3) uint8 in grey under `values` (H, W): from nothing at 0 over red to yellow at `highest`."""
    share = np.clip(values / highest, 0, 1)[..., None]
    heat = np.concatenate([np.full_like(share, 255), 255 * share, np.zeros_like(share)], axis=-1)
    grey = np.asarray(PIL.Image.fromarray(image).convert("L"), np.float32)[..., None]
    opacity = alpha * np.minimum(1, 2 * share)
    return PIL.Image.fromarray(((1 - opacity) * grey + opacity * heat).round().astype(np.uint8))
