"""Graphs that read annotations while they train: detectors that choose what to learn from by what they find."""

from collections.abc import Callable, Mapping, Sequence

import keras

from kerastransfer.models.parts import feed

# From the maps of a decoder, the annotations and the image to what the terms of the loss read.
Reading = Callable[[Mapping, Mapping, keras.KerasTensor], dict]


def annotations(fields: Sequence[str]) -> dict[str, keras.KerasTensor]:
    """The inputs of a graph that reads these fields of a batch: {"boxes": (B, N, 4), "labels": (B, N)}, and with
    "masks" also {"masks": (B, N, m, m) crops, "frames": (B, N, 4)}."""
    inputs = {
        "boxes": keras.Input((None, 4), name="boxes", dtype="float32"),
        "labels": keras.Input((None,), name="labels", dtype="int32"),
    }
    if "masks" in fields:
        inputs["masks"] = keras.Input((None, None, None), name="masks", dtype="uint8")
        inputs["frames"] = keras.Input((None, 4), name="frames", dtype="float32")
    return inputs


def trainer(network: keras.Model, reading: Reading, fields: Sequence[str]) -> keras.Model:
    """A graph over the parts of `network` for training them: from {"image", "boxes", "labels", ...} to what `reading`
    gives for the maps of its decoder."""
    encoder, decoder = (network.get_layer(part) for part in ("encoder", "decoder"))
    image = keras.Input(encoder.input.shape[1:], name="image")
    truths = annotations(fields)
    outputs = reading(feed(decoder, encoder(image)), truths, image)
    return keras.Model({"image": image, **truths}, outputs, name=network.name)
