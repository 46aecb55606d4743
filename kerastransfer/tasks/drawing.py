"""Drawing predictions over their image."""

import colorsys
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from kerastransfer import lettering


def colour(label: int) -> tuple[int, int, int]:
    """A colour for a class, different from those of the classes before it (hues in steps of the golden ratio)."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, 1.0))


def boxes(image: np.ndarray, prediction: Any) -> PIL.Image.Image:
    """`image` (H, W, 3) uint8 with the boxes, labels and scores of `tasks.detection.Detections`, the best on top.
    Of many boxes, small ones have no caption."""
    picture = PIL.Image.fromarray(image)
    pen = PIL.ImageDraw.Draw(picture)
    width = max(1, min(image.shape[:2]) // 150)
    found = list(
        zip(prediction.pixel_boxes.tolist(), prediction.labels, prediction.names, prediction.scores, strict=True)
    )
    for (y1, x1, y2, x2), label, name, score in reversed(found):
        pen.rectangle((x1, y1, x2, y2), outline=colour(label), width=width)
        text, font = lettering.drawn(f"{name} {score:.2f}", max(10, min(image.shape[:2]) // 25))
        left, top, right, bottom = pen.textbbox((x1, y1), text, font=font, anchor="lb")
        if not lettering.captioned(len(found), x2 - x1, right - left):
            continue
        # A caption above the upper edge moves down into the image.
        shift = max(0, -top)
        pen.rectangle((left, top + shift, right, bottom + shift), fill=colour(label))
        pen.text((x1, y1 + shift), text, fill=(0, 0, 0), font=font, anchor="lb")
    return picture


def masks(image: np.ndarray, masks: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """`image` (H, W, 3) uint8 under masks (N, H, W) bool, each in a different colour, the first on top."""
    painted = image.astype(np.float32)
    for number in reversed(range(len(masks))):
        mask = masks[number]
        painted[mask] = (1 - alpha) * image[mask] + alpha * np.array(colour(number), np.float32)
    return painted.round().astype(np.uint8)


def classes(image: np.ndarray, segmentation: np.ndarray, num_classes: int, alpha: float = 0.5) -> PIL.Image.Image:
    """`image` (H, W, 3) uint8 with the classes (H, W) other than background in colour."""
    palette = np.array([colour(label) for label in range(num_classes)], np.uint8)
    painted = PIL.Image.fromarray(palette[segmentation])
    opacity = np.where(segmentation > 0, round(255 * alpha), 0).astype(np.uint8)
    return PIL.Image.composite(painted, PIL.Image.fromarray(image), PIL.Image.fromarray(opacity))


def caption(image: np.ndarray, text: str, label: int) -> PIL.Image.Image:
    """`image` (H, W, 3) uint8 with a line of text in its upper left corner, on the colour of a class."""
    picture = PIL.Image.fromarray(image)
    pen = PIL.ImageDraw.Draw(picture)
    text, font = lettering.drawn(text, max(10, min(image.shape[:2]) // 15))
    pen.rectangle(pen.textbbox((0, 0), text, font=font), fill=colour(label))
    pen.text((0, 0), text, fill=(0, 0, 0), font=font)
    return picture


def heat(image: np.ndarray, values: np.ndarray, highest: float, alpha: float = 0.6) -> PIL.Image.Image:
    """`image` (H, W, 3) uint8 in grey under `values` (H, W): transparent at 0, then red, then yellow at `highest`."""
    share = np.clip(values / highest, 0, 1)[..., None]
    colours = np.concatenate([np.full_like(share, 255), 255 * share, np.zeros_like(share)], axis=-1)
    grey = np.asarray(PIL.Image.fromarray(image).convert("L"), np.float32)[..., None]
    opacity = alpha * np.minimum(1, 2 * share)
    return PIL.Image.fromarray(((1 - opacity) * grey + opacity * colours).round().astype(np.uint8))
