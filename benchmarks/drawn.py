"""A batch of noise with boxes, to time training on."""

import numpy as np

# Number of boxes in an image.
OBJECTS = 8


def batch(flags, num_classes):
    """Images (B, H, W, 3) float32, boxes (B, N, 4) as fractions, labels (B, N), the same in every process. flags: with
    batch_size and image_size."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (flags.batch_size, flags.image_size, flags.image_size, 3)).astype("float32")
    near = rng.uniform(0, 0.6, (flags.batch_size, OBJECTS, 2))
    boxes = np.concatenate([near, near + rng.uniform(0.1, 0.4, near.shape)], -1).astype("float32")
    return image, boxes, rng.integers(0, num_classes, boxes.shape[:2]).astype("int32")
