"""kerastransfer: what an object detector has learnt, put to work on dense prediction.

The vocabulary of every docstring in the package:

    B images, H x W pixels, N boxes (padded), A anchors or candidate boxes, K classes, D features, S x S cells

    image         (B, H, W, 3)              uint8 or float32 in 0..255: an encoder rescales for itself
    boxes         (B, N, (y1, x1, y2, x2))  fractions of the image; zeros pad
    labels        (B, N)                    int32 in [0, K); -1 pads
    masks         (B, N, H, W)              bool, one per box; in training crops (B, N, m, m), see data/mask_crops.py
    segmentation  (B, H, W)                 uint8 class per pixel, 0 is background; 255 is void
    label         (B,)                      int32, the class of the whole image

Parts of every model: `encoder` (image to taps c1..c5), `decoder` (taps to maps), `head` (maps to raw predictions).
Importing the package imports neither TensorFlow nor Keras.
"""

__version__ = "0.1.0"
