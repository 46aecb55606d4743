"""The nets that inference.py compares, trained or with random weights, and the files that contestants need."""

import dataclasses
import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

from kerastransfer.errors import UserError

# Number of drawn scenes that calibrate int8 files, if a run has not exported one.
CALIBRATION = 8


@dataclasses.dataclass(frozen=True)
class Net:
    """A net and its folder, which has `graph.pickle` (graph.py), `expected.npz` (a scene, and the outputs of Keras for
    it), `float32.tflite` and so on, and `model.json` with the path of the .keras file."""

    name: str
    folder: Path
    size: tuple[int, int]
    multiply_adds: int


def gather(models: Sequence[Path], image_size: int, folder: Path) -> list[Net]:
    """The nets in folders of runs and in .keras files, or, without any, random ones at `image_size`. Raises UserError
    for a path without nets."""
    paths = [model for path in models for model in models_in(path)] or random_models(folder, image_size)
    nets = []
    for number, path in enumerate(paths):
        (folder / f"net{number}").mkdir()
        nets.append(prepared(path, folder / f"net{number}"))
    return nets


def models_in(path: Path) -> list[Path]:
    """The .keras files in the folder of a run, or `path` itself. Raises UserError if there are none."""
    if path.suffix == ".keras":
        return [path]
    # A part that a run keeps, such as its encoder, has no NAME.json.
    found = [model for model in sorted((path / "models").glob("*.keras")) if model.with_suffix(".json").exists()]
    if not found:
        raise UserError(f"{path} is not a .keras file and has no models/*.keras; give the folder of a run")
    return found


def random_models(folder: Path, image_size: int) -> list[Path]:
    """The small detector, SegNet and U-Net with random weights, in the files that a run would write."""
    keras = quiet_keras()
    from small_detector import NUM_CLASSES

    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.data import toy
    from kerastransfer.encoders import taps
    from kerastransfer.encoders.yolov1 import ACTIVATIONS, small_encoder
    from kerastransfer.models.segmenter import segmenter
    from kerastransfer.models.yolov1 import yolov1
    from kerastransfer.runs import trained
    from kerastransfer.tasks.about import About

    keras.utils.set_random_seed(1)
    encoder = small_encoder()
    stride = max(taps.strides(encoder).values())
    if image_size % stride:
        raise UserError(f"--image-size {image_size} is not a multiple of {stride}, the encoder's stride")
    codec = YoloV1Codec(NUM_CLASSES, boxes_per_cell=1, sizes="root", score="product")
    labels, size = toy.CLASSES[:NUM_CLASSES], (image_size, image_size)
    nets = {"yolov1": yolov1(encoder, codec, activation=ACTIVATIONS["small"])}
    nets |= {f"yolo_{name}": segmenter(encoder, name, NUM_CLASSES + 1) for name in ("segnet", "unet")}
    paths = []
    for name, net in nets.items():
        settle(net, scenes(CALIBRATION, image_size))
        about = About(task="detection", labels=labels, image_size=size, decoder=codec)
        if name != "yolov1":
            about = About(task="segmentation", labels=("background", *labels), image_size=size)
        paths.append(folder / "random" / f"{name}.keras")
        trained.write(net, paths[-1], about)
    return paths


def settle(net, images) -> None:
    """Estimate batch statistics for random weights: without them activations fade, and int8 has little to resolve."""
    import numpy as np

    from kerastransfer.training import statistics as batch_statistics

    maps = {"image": np.stack(images).astype("float32")}
    for part in ("encoder", "decoder", "head"):
        if part in (layer.name for layer in net.layers):
            part = net.get_layer(part)
            read = maps["image"] if part.name == "encoder" else {name: maps[name] for name in part.input}
            batch_statistics.estimate(part, [read])
            maps = part(read, training=False)


def quiet_keras():
    """Keras, after it has looked for a GPU silently: it prints warnings if there is none."""
    from kerastransfer.silence import silenced

    with silenced():
        import keras

        keras.ops.zeros(())
    return keras


def scenes(count: int, image_size: int) -> list:
    """Drawn images (H, W, 3) uint8."""
    from kerastransfer.data.toy import toy

    return [sample.read()["image"] for sample in toy(count=count, image_size=image_size).samples]


def prepared(path: Path, folder: Path) -> Net:
    """Write the files of a `Net` to `folder`: exported files are copied from the run, or made if it has none."""
    quiet_keras()
    import numpy as np
    from graph import flatten, multiply_adds

    from kerastransfer.data.resize import resize_image
    from kerastransfer.export import tflite
    from kerastransfer.export.portable import in_float32
    from kerastransfer.runs import trained
    from kerastransfer.tasks import metadata

    model, about = trained.exported(path)
    model = in_float32(model)
    height, width = about.image_size
    graph = flatten(model, (1, height, width, 3))
    net = Net(path.stem, folder, (height, width), multiply_adds(graph.steps))
    (folder / "graph.pickle").write_bytes(pickle.dumps(graph))
    (folder / "model.json").write_text(json.dumps({"model": str(path.resolve())}))

    image = resize_image(*scenes(1, max(height, width)), (height, width))
    outputs = model(image[None].astype("float32"), training=False)
    np.savez(folder / "expected.npz", image=image, **{name: value.numpy()[0] for name, value in outputs.items()})

    for kind in tflite.KINDS:
        suffix = "" if kind == "float32" else f"_{kind}"
        exported = path.parent.parent / "tflite" / f"{path.stem}{suffix}.tflite"
        if path.parent.name == "models" and exported.exists():
            # Raises UserError unless the file is complete and ours.
            metadata.read(exported)
            shutil.copy(exported, folder / f"{kind}.tflite")
        else:
            content = tflite.convert(model, about.image_size, kind, scenes(CALIBRATION, max(height, width)))
            content = metadata.attach(content, dataclasses.replace(about, kind=kind))
            (folder / f"{kind}.tflite").write_bytes(content)
    return net


def large_convolutions(path: Path) -> None:
    """Write an int8 file that consists almost entirely of matrix products, 1 x 1 convolutions from 1024 to 1024
    channels, and beside it the number of its multiply-adds as JSON."""
    keras = quiet_keras()
    from graph import flatten, multiply_adds

    from kerastransfer.export import tflite

    side, width = 32, 1024
    image = x = keras.Input((side, side, 3), name="image")
    for filters in (*(width,) * 5, 8):
        x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(filters, 1)(x))
    model = keras.Model(image, {"map": x}, name="products")
    path.write_bytes(tflite.convert(model, (side, side), "int8", scenes(1, side)))
    count = multiply_adds(flatten(model, (1, side, side, 3)).steps)
    path.with_suffix(".json").write_text(json.dumps({"multiply_adds": count}))
