"""How alike the encoders of several files are, as a figure and a table of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kerastransfer.runs import fitting, trained
from kerastransfer.runs.folder import RunFolder

# Images in a batch; the debiased estimate has less spread in larger ones.
BATCH = 32


def similarity(
    files: Mapping[str, str | Path], test, config, run: RunFolder, *, taps: Sequence[str] = (), name: str = "cka"
) -> tuple[list[str], np.ndarray]:
    """(names (K,), CKA (K, K)) of the encoders in the files, over the test images.

    taps: those to compare, of every encoder; by default the deepest of each.
    """

    def work() -> dict:
        import dataclasses

        from kerastransfer.analysis import representations
        from kerastransfer.encoders import taps as known

        encoders = {label: trained.encoder(path) for label, path in files.items()}
        wanted = {label: list(taps) or [known.last(encoder)] for label, encoder in encoders.items()}
        batches = fitting.some_images(test, dataclasses.replace(config, batch_size=BATCH), -(-len(test) // BATCH))
        names, values = representations.similarities(encoders, batches, wanted)
        return {"names": names, "values": values.tolist()}

    found = run.phase(name, work)
    return found["names"], np.array([[np.nan if one is None else one for one in row] for row in found["values"]])


def figure(names: Sequence[str], values: np.ndarray, name: str = "cka") -> tuple:
    """The heat map, as a figure of the report."""
    from kerastransfer.report import figures
    from kerastransfer.report.page import Figure

    caption = (
        "Linear CKA without bias (Kornblith et al. 2019) of what the encoders make of the test images: 1 if they are "
        "alike up to rotation and scale, about 0 if they have nothing in common."
    )
    drawn = figures.similarity(np.clip(values, 0, 1), names)
    return name, Figure("How alike the encoders are", caption, b"", chart=True), drawn
