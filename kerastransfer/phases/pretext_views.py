"""What a trained pretext makes of test images: its terms, and pictures of views, masks and what it restores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kerastransfer.runs import fitting, image_cache
from kerastransfer.runs.folder import RunFolder

if TYPE_CHECKING:
    from kerastransfer.data.dataset import Dataset
    from kerastransfer.pretexts.pretext import Pretext

# Number of images in the picture.
SHOWN = 4
TITLES = {
    "reconstruction": "restored",
    "colours": "in its own colours",
    "altered": "where it was altered",
    "blackened": "black where altered",
}


def looked_at(name: str, built: "Pretext", fields: tuple[str, ...], config, run: RunFolder, test: "Dataset") -> dict:
    """{"metrics": the means of its terms on test images, "main": the one to show first, "picture": whether one was
    written to figures/NAME_views.png}."""
    from kerastransfer.data import views
    from kerastransfer.data.pipeline import evaluation_batches
    from kerastransfer.training.terms import TermModel

    size = (config.image_size, config.image_size)
    shown = image_cache.decode(test, fields, config, run, f"{name}-test", config.image_size)
    how = fitting.augmentation(config) if built.view else views.STILL
    view = (built.view or views.augmented)(how)
    batches = evaluation_batches(
        shown, view=view, size=size, batch_size=config.batch_size, threads=config.loader_threads
    )
    model = TermModel(built.trained, built.terms, built.weights)
    model.compile("sgd", jit_compile=False)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    metrics = {term: float(found[term]) for term in built.weights}
    main = "accuracy" if "accuracy" in metrics else next(iter(metrics))
    if built.view is None:
        return {"metrics": metrics, "main": main, "picture": False}
    inputs, targets, _ = next(iter(batches))
    _draw(built, inputs, targets).save(_path(name, run))
    return {"metrics": metrics, "main": main, "picture": True}


def figure(name: str, run: RunFolder) -> tuple:
    """The figure of the report that `looked_at` wrote."""
    import PIL.Image

    from kerastransfer.report.page import Figure

    caption = "Views of test images, and what the network gives for the first of them."
    return f"{name}_views", Figure(f"What {name} sees", caption, b""), PIL.Image.open(_path(name, run)).copy()


def _path(name, run):
    run.figures.mkdir(exist_ok=True)
    return run.figures / f"{name}_views.png"


def _draw(built, inputs, targets):
    import keras

    from kerastransfer.report import pictures

    if not isinstance(inputs, Mapping):
        shown = (np.asarray(image) for image in inputs[:SHOWN])
        tiles = [("input", pictures.fitted(_rgb(image), pictures.TILE // 2)) for image in shown]
        return pictures.sheet(tiles, columns=SHOWN)
    inputs, targets = ({key: np.asarray(value) for key, value in some.items()} for some in (inputs, targets))
    outputs = built.network(inputs["first"][:SHOWN], training=False)
    tiles = []
    for row in range(min(SHOWN, len(inputs["first"]))):
        images = {"first view": targets["first"][row], "second view": targets["second"][row]}
        if built.shown:
            images = {**images, "input": inputs["first"][row], "altered": 255 * targets["first_altered"][row]}
        for task in built.shown:
            logits = keras.ops.convert_to_numpy(keras.ops.cast(outputs[task][row], "float32"))
            images[TITLES[task]] = 255 / (1 + np.exp(-logits))
        tiles += [(title, pictures.fitted(_rgb(image), pictures.TILE // 2)) for title, image in images.items()]
    return pictures.sheet(tiles, columns=len(tiles) // min(SHOWN, len(inputs["first"])))


def _rgb(image):
    image = np.clip(np.round(image), 0, 255).astype(np.uint8)
    image = image[..., None] if image.ndim == 2 else image
    return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
