"""How alike what several models make of the same images is, by CKA."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kerastransfer.analysis import cka
from kerastransfer.errors import UserError

if TYPE_CHECKING:
    import keras

# The least that the unbiased estimate takes.
FEWEST = 4


def similarities(
    encoders: "Mapping[str, keras.Model]", batches: Iterable[np.ndarray], taps: Mapping[str, Sequence[str]]
) -> tuple[list[str], np.ndarray]:
    """(names (K,), CKA (K, K)) of taps of encoders, over batches of images (B, H, W, 3) in 0..255, 4 or more each.

    taps: the names of the taps of each encoder. A tap is called NAME where it is the only one, else NAME.TAP. CKA is
    linear and debiased, and its memory does not grow with the number of images.
    Raises UserError for an unknown tap, and where no batch has 4 images.
    """
    for name, encoder in encoders.items():
        require_taps(name, encoder, taps[name])
    kept = (batch for batch in batches if len(batch) >= FEWEST)
    try:
        found = cka.over_batches(_features(encoders, kept, taps))
    except ValueError:
        raise UserError(f"CKA needs {FEWEST} images or more in a batch; give more images") from None
    names = list(dict.fromkeys(one for one, _ in found))
    return names, np.array([[found[one, other] for other in names] for one in names])


def require_taps(name: str, encoder: "keras.Model", taps: Sequence[str]) -> None:
    """Raises UserError for a tap that the encoder lacks."""
    if unknown := [tap for tap in taps if tap not in encoder.output]:
        raise UserError(f"--taps {unknown[0]}: the encoder {name} has {', '.join(encoder.output)}; choose of these")


def _features(encoders, batches, taps) -> Iterator[dict[str, np.ndarray]]:
    import keras

    for images in batches:
        found = {}
        for name, encoder in encoders.items():
            maps = encoder(images, training=False)
            for tap in taps[name]:
                label = name if len(taps[name]) == 1 else f"{name}.{tap}"
                found[label] = keras.ops.convert_to_numpy(keras.ops.cast(maps[tap], "float32"))
        yield found
