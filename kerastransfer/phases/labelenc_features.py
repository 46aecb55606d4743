"""Pictures of what detectors and a label encoder make of images (LabelEnc, Hao et al. 2020, figure 3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerastransfer.data.letterbox import placement
from kerastransfer.phases.labelenc import LabelEncConfig, split
from kerastransfer.runs import trained
from kerastransfer.runs.data import Data

if TYPE_CHECKING:
    import keras

# Number of test images.
SHOWN = 4


def figure(detectors: Mapping[str, Path], source: Path, config: LabelEncConfig, data: Data) -> tuple:
    """A figure of the report: for a few test images, the length of the features at each place of the finest map that
    the head reads, of each detector, and of the label encoder in the file `source`."""
    from kerastransfer.report import pictures
    from kerastransfer.report.page import Figure

    size = (config.image_size, config.image_size)
    examples = [sample.read() for sample in split(config, data)[1].spread(SHOWN).samples]
    places = [placement(example["image"].shape[:2], size, config.resize) for example in examples]
    images = [place.image(example["image"]) for place, example in zip(places, examples, strict=True)]
    maps = {name: _of_images(trained.stored(path)[0], np.stack(images)) for name, path in detectors.items()}
    boxes = [place.to_picture(example["boxes"]) for place, example in zip(places, examples, strict=True)]
    maps["label encoder"] = _of_labels(source, boxes, [example["labels"] for example in examples], size)
    tiles = []
    for row, image in enumerate(images):
        tiles.append(("image", pictures.fitted(image, pictures.TILE)))
        tiles += [(name, pictures.lengths(one[row])) for name, one in maps.items()]
    caption = "The length of the features at each place of the finest map: white where it is largest."
    return "features", Figure("Features", caption, b""), pictures.sheet(tiles, columns=1 + len(maps))


def _of_images(network: "keras.Model", images: np.ndarray) -> np.ndarray:
    """(B, h, w, D), the finest map that the head reads."""
    import keras

    from kerastransfer.models.parts import feed

    encoder, decoder, head = (network.get_layer(part) for part in ("encoder", "decoder", "head"))
    maps = feed(decoder, encoder(images.astype("float32")))
    return keras.ops.convert_to_numpy(maps[next(iter(head.input))])


def _of_labels(source: Path, boxes: list, labels: list, size: tuple[int, int]) -> list[np.ndarray]:
    """The codes (h, w, D) of each image, in the same map."""
    import keras

    from kerastransfer.codecs.labelenc import label_map
    from kerastransfer.export.loading import load_keras

    model = load_keras(source)
    network, level = model.get_layer("label_network"), next(iter(model.get_layer("head").input))
    found = []
    for own, kinds in zip(boxes, labels, strict=True):
        codes = network(label_map(own[None], kinds[None].astype("int32"), network.input.shape[-1], size))
        found.append(keras.ops.convert_to_numpy(codes[level])[0])
    return found
