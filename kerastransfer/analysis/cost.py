"""What an encoder costs on this machine."""

import time

import keras
import numpy as np

# Calls before the first that is timed, and those that are.
WARM_UP, CALLS = 2, 10


def milliseconds(encoder: keras.Model, size: tuple[int, int], *, calls: int = CALLS) -> float:
    """Median time for one image of `size` (height, width), in compiled calls that include the copy of the image and of
    the taps."""
    image, taken = np.zeros((1, *size, 3), np.float32), []
    for _ in range(WARM_UP + calls):
        start = time.perf_counter()
        encoder.predict_on_batch(image)
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken[WARM_UP:]))
