"""kerastransfer: reuses what an object detector has learnt for dense prediction.

    import kerastransfer as kt

provides kt.data, kt.encoder, kt.detector, kt.segmenter, kt.classifier, kt.batches, kt.validation_batches, kt.PixelLoss,
kt.save, kt.load, kt.evaluate, kt.export, kt.push and kt.from_preset, which docs/api.md describes. Importing the package
imports neither TensorFlow nor Keras; the first use of one of these names does.

The vocabulary of all docstrings in the package:

    B images, H x W pixels, N boxes (padded), A anchors or candidate boxes, K classes, D features, S x S cells

    image         (B, H, W, 3)              uint8 or float32 in 0..255; encoders rescale it themselves
    boxes         (B, N, (y1, x1, y2, x2))  fractions of the image; padded with zeros
    labels        (B, N)                    int32 in [0, K); padded with -1
    masks         (B, N, H, W)              bool, one per box; in training crops (B, N, m, m), see data/mask_crops.py
    segmentation  (B, H, W)                 uint8 class per pixel, 0 is background; 255 is void
    label         (B,)                      int32, the class of the whole image

Parts of every model: `encoder` (image to taps c1..c5), `decoder` (taps to maps), `head` (maps to raw predictions).
"""

import importlib

__version__ = "0.2.0"
__all__ = (
    *("PixelLoss", "batches", "classifier", "data", "detector", "encoder", "evaluate", "export", "from_preset"),
    *("load", "push", "save", "segmenter", "validation_batches"),
)


def __getattr__(name: str):
    if name in ("data", "export"):
        # These are also packages, which can be called.
        return importlib.import_module(f"kerastransfer.{name}")
    if name in __all__:
        return getattr(importlib.import_module("kerastransfer.api"), name)
    raise AttributeError(f"module 'kerastransfer' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
