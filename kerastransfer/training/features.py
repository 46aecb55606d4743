"""The taps of a frozen encoder, computed once and cached on disk, so that only the decoder is trained on them.

There is a folder for each combination of encoder (weights and architecture), images, flips and precision, named by
their checksum, so that the cache is never stale. In it is a file for each tap, with its checksum beside it, so that
damage is noticed. Several runs may share a cache.
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerastransfer import files
from kerastransfer.data import pipeline
from kerastransfer.data.decoded import Decoded, allocate
from kerastransfer.data.pipeline import ahead, at_once, gather, rows_of_epochs, step_seed
from kerastransfer.errors import UserError
from kerastransfer.progress import bar
from kerastransfer.training import architecture, transfer

try:
    import fcntl
except ImportError:
    # On Windows two runs may compute the same features; each file is still written atomically.
    fcntl = None

# Version of the files; increase it when their format or meaning changes.
FORMAT = 1
# Bytes that are read at a time.
CHUNK = 1 << 24


def cached(
    encoder: keras.Model,
    decoded: Decoded,
    folder: Path,
    *,
    taps: Collection[str],
    flip: bool,
    batch_size: int = 16,
    progress: str | None = None,
    remedy: str = "leave out --cache-features",
) -> dict[str, np.ndarray]:
    """{tap: (N, 1, h, w, D) float16, memory-mapped} of the decoded images (N, H, W, 3), computed in inference mode.

    flip: (N, 2, h, w, D) instead, the second being the features of the mirrored image. They must be computed: mirroring
        the features of an image does not give the features of its mirror image.
    folder: the cache. progress: description of the progress bar, or None for no bar. remedy: the end of messages, what
        to do.
    Raises UserError if the disk is full, or if a value is too large for float16.
    """
    made_of = {
        "format": FORMAT,
        "encoder": transfer.checksum(encoder),
        "architecture": architecture.fingerprint(encoder),
        "images": _checksum(decoded.arrays["image"]),
        "flip": flip,
        "precision": keras.mixed_precision.global_policy().compute_dtype,
    }
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    place = Path(folder) / key
    with _alone(place):
        missing = [tap for tap in taps if not _whole(place, tap)]
        if missing:
            files.write_json(place / "made_of.json", made_of)
            _compute(encoder, decoded, place, missing, flip, batch_size, progress, remedy)
    return {tap: np.load(place / f"{tap}.npy", mmap_mode="r") for tap in taps}


def training_batches(
    features: Mapping[str, np.ndarray],
    decoded: Decoded,
    *,
    batch_size: int,
    flip: float,
    seed: int,
    first_epoch: int = 0,
    threads: int = 0,
) -> tf.data.Dataset:
    """An endless data set of ({tap: (B, h, w, D) float16}, {"segmentation": (B, H, W) uint8}), in the order of
    `data.pipeline.training_batches`. flip: probability that an image is mirrored."""
    versions = next(iter(features.values())).shape[1]
    flat = {tap: values.reshape(-1, *values.shape[2:]) for tap, values in features.items()}
    maps = {"segmentation": decoded.arrays["segmentation"]}

    def make(epoch, step, rows):
        u = tf.random.stateless_uniform((batch_size,), step_seed(seed, epoch, step))
        mirror = tf.logical_and(u < flip, versions == 2)
        taps = gather(flat, rows * versions + tf.cast(mirror, rows.dtype))
        segmentation = gather(maps, rows)["segmentation"]
        return taps, {"segmentation": tf.where(mirror[:, None, None], segmentation[:, :, ::-1], segmentation)}

    rows = rows_of_epochs(len(decoded), batch_size, seed, first_epoch)
    return ahead(rows.map(make, num_parallel_calls=at_once(threads), deterministic=True), threads)


def evaluation_batches(
    features: Mapping[str, np.ndarray], decoded: Decoded, *, batch_size: int, threads: int = 0
) -> tf.data.Dataset:
    """({tap: (B, h, w, D)}, {"segmentation": (B, H, W)}, weights (B,)), every image once, as from
    `data.pipeline.evaluation_batches`."""
    arrays = {tap: values[:, 0] for tap, values in features.items()}
    arrays["segmentation"] = decoded.arrays["segmentation"]

    def view(batch, seed, size, share):
        segmentation = batch.pop("segmentation")
        return batch, {"segmentation": segmentation}

    of_rows = Decoded(decoded.names, arrays)
    return pipeline.evaluation_batches(of_rows, size=(0, 0), batch_size=batch_size, view=view, threads=threads)


def _compute(encoder, decoded, place, taps, flip, batch_size, progress, remedy):
    images = decoded.arrays["image"]
    part = keras.Model(encoder.input, {tap: encoder.output[tap] for tap in taps})
    starts = bar(progress)(range(0, len(images), batch_size))
    with contextlib.ExitStack() as stack:
        arrays = {}
        for start in starts:
            batch = images[start : start + batch_size]
            for version, pixels in enumerate((batch, batch[:, :, ::-1]) if flip else (batch,)):
                for tap, values in part.predict_on_batch(pixels.astype("float32")).items():
                    if tap not in arrays:
                        path = stack.enter_context(files.replacing(place / f"{tap}.npy"))
                        shape = (len(images), 2 if flip else 1, *values.shape[1:])
                        arrays[tap] = allocate(path, shape, "float16", remedy)
                    values = np.asarray(values, "float32")
                    if np.abs(values).max(initial=0) > np.finfo("float16").max:
                        raise UserError(f"tap {tap} has values too large for float16; {remedy}")
                    arrays[tap][start : start + len(batch), version] = values
        for array in arrays.values():
            array.flush()
        checksums = {tap: _checksum(array) for tap, array in arrays.items()}
    # Checksums are written last: a kill before this leaves arrays without checksums, never a wrong checksum.
    for tap, checksum in checksums.items():
        files.write_json(place / f"{tap}.json", {"blake2b": checksum})


def _whole(place, tap):
    path = place / f"{tap}.npy"
    try:
        expected = json.loads((place / f"{tap}.json").read_text(encoding="utf-8"))["blake2b"]
        return _checksum(np.load(path, mmap_mode="r")) == expected
    except (OSError, ValueError, KeyError, TypeError):
        # The file is missing, truncated or not ours; it is computed again.
        return False


def _checksum(array):
    """BLAKE2 hash of type, shape and bytes."""
    digest = hashlib.blake2b(f"{array.dtype}{array.shape}".encode(), digest_size=16)
    rows = max(1, CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        digest.update(np.ascontiguousarray(array[start : start + rows]))
    return digest.hexdigest()


@contextlib.contextmanager
def _alone(place):
    """One process at a time: the others wait, and then find what it computed."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / ".lock").open("a") as lock:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror}); choose another --feature-folder") from None
