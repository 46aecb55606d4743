"""Trained models on disk: NAME.keras and, beside it, NAME.json that says what the model is for.

    {"task": "detection", "labels": ["disc", "star"], "image_size": [224, 224], "resize": "stretch",
     "decoder": {"class_name": "YoloV1Codec", "config": {"num_classes": 2, ...}, ...}}

The .keras file holds the network itself, whose outputs are raw predictions or logits; the decoder turns them into
annotations. In place of such a file, a folder that `sharing.push` filled is taken everywhere, and hf://OWNER/NAME.
Importing this module imports neither Keras nor TensorFlow, because .tflite files run without them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kerastransfer import files, presets
from kerastransfer.detectors.detector import Start
from kerastransfer.errors import UserError
from kerastransfer.flags import some
from kerastransfer.runs import sharing
from kerastransfer.runs.command_line import import_keras
from kerastransfer.tasks import TASKS, description
from kerastransfer.tasks.about import About
from kerastransfer.tasks.prediction import Prediction
from kerastransfer.tasks.scored import Predict

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset
    from kerastransfer.export.parity import ExportedFile

CALIBRATION_IMAGES = 32
# With 32 images the score of a good file varied by 0.01 by chance.
PARITY_IMAGES = 128
# The end of the name of what Keras saves without the architecture.
WEIGHTS = ".weights.h5"
NAMES = ", ".join(presets.DETECTORS)


class AnyPredictor(Protocol):
    """What `open_predictor` returns, whatever the file; `export.predictor.Predictor` documents the arguments."""

    about: About

    def predict(
        self,
        image: np.ndarray,
        *,
        score: float | None = None,
        iou: float | None = None,
        detections: int | None = None,
    ) -> Prediction: ...


def write(model: "keras.Model", path: str | Path, about: About) -> None:
    """Write `model` to `path` (NAME.keras), and `about` to NAME.json."""
    import keras

    from kerastransfer.export import loading

    if about.task not in TASKS:
        raise ValueError(f"unknown task {about.task!r}; choose from {', '.join(TASKS)}")
    described = {
        "task": about.task,
        "labels": list(about.labels),
        "image_size": list(about.image_size),
        "resize": about.resize,
    }
    if about.decoder is not None:
        described["decoder"] = keras.saving.serialize_keras_object(about.decoder)
    loading.write_keras(model, path)
    files.write_json(Path(path).with_suffix(".json"), described)


def require_fitting(model: "keras.Model", about: About) -> None:
    """Raises UserError where `exported` would refuse what `write` makes of these."""
    try:
        task = TASKS[description.task({"task": about.task})]
        if task.DECODED:
            _check_decoder(about.decoder, about.labels)
        description.same_count(task.num_classes(task.graph(model, about).output), about.labels)
    # A description of another model may fail anywhere in its decoder.
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"about does not fit the model {model.name!r}: {' '.join(reason.split())[:200]}; give as many labels as "
            "it has classes, and the task, image size and decoder that it was trained for"
        ) from error


def stored(path: str | Path) -> "tuple[keras.Model, About]":
    """The network in NAME.keras as it was trained, and the contents of NAME.json.

    Raises UserError if either file is missing, damaged, or not from this package.
    """
    path = sharing.local(path)
    _refuse_folder(path, (".keras",))
    _refuse_other_kinds(path)
    model = _network(path)
    beside = Path(path).with_suffix(".json")
    try:
        with beside.open("rb") as file:
            described = description.parsed(file.read(description.LARGEST_BYTES + 1))
        task, labels = description.task(described), description.labels(described)
        size, resize = description.size(described.get("image_size")), described.get("resize", "stretch")
        decoder = _decoder(described)
        if TASKS[task].DECODED:
            _check_decoder(decoder, labels)
        return model, About(task, labels, size, resize=description.resize(resize), decoder=decoder)
    except OSError as error:
        if model.name == "encoder":
            raise UserError(
                f"{path}: holds an encoder alone, which finds nothing by itself; give a whole model, such as "
                "RUN/models/yolov3.keras (other recipes take this file as --encoder)"
            ) from error
        raise UserError(
            f"{beside}: cannot be read ({error.strerror}); it holds the labels and sizes, so keep it beside {path}"
        ) from error
    # What Keras raises for a damaged decoder is of many types.
    except Exception as error:
        raise _no_description(path, error) from error


def exported(path: str | Path) -> "tuple[keras.Model, About]":
    """The model in NAME.keras as it is exported, from image to the outputs of its task, and its `About`.

    Raises UserError as `stored` does.
    """
    path = sharing.local(path)
    network, about = stored(path)
    task = TASKS[about.task]
    try:
        model = task.graph(network, about)
        description.same_count(task.num_classes(model.output), about.labels)
    except UserError:
        raise
    # A description of another model may fail anywhere in its decoder.
    except Exception as error:
        raise _no_description(path, error) from error
    return model, about


def _no_description(path: str | Path, error: Exception) -> UserError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return UserError(
        f"{Path(path).with_suffix('.json')}: does not describe a model, or not {path} ({reason[:200]}); copy it again "
        "from the run's folder"
    )


def _check_decoder(decoder: Any, labels: tuple[str, ...]) -> None:
    """Raises ValueError for anything but a decoder of this package for as many classes."""
    if not type(decoder).__module__.startswith("kerastransfer.codecs."):
        raise ValueError(f"its decoder is a {type(decoder).__name__}, not one of kerastransfer")
    inner = getattr(decoder, "codec", decoder)
    description.same_count(getattr(inner, "num_classes", None), labels)


def encoder(path: str | Path) -> "keras.Model":
    """The encoder in a .keras file, or the part called "encoder" of a whole model, such as a detector or a segmenter;
    or the encoder of published weights, by their name in `presets`.

    Raises UserError for a file without an encoder, for an encoder whose outputs are not taps c1, c2, ..., and for an
    unknown name.
    """
    if is_name(path):
        import_keras()
        from kerastransfer.runs import pretrained

        found = pretrained.encoder(str(path))
        _thaw(found)
        return found
    path = sharing.local(path)
    _refuse_folder(path, (".keras",), encoders=True)
    _refuse_other_kinds(path)
    model = _network(path)
    _thaw(model)
    names = [layer.name for layer in model.layers]
    part = model.get_layer("encoder") if "encoder" in names else model
    from kerastransfer.encoders import taps

    try:
        return taps.named(part)
    except UserError as error:
        raise UserError(
            f"{path}: {error}, RUN/models/encoder.keras, or a detector's .keras file; any other image model becomes an "
            "encoder by kt.encoder(model), which can be saved"
        ) from error


def detector(path: str | Path, *, masks: bool = False) -> "tuple[keras.Model, About]":
    """The detector in a .keras file, or that of published weights, by their name in `presets`, and its `About`.

    masks: a Mask R-CNN, which predicts instances, is one too. Raises UserError as `stored` does, for a model that is
        not a detector, and for an unknown name.
    """
    if is_name(path):
        import_keras()
        from kerastransfer.runs import pretrained

        network, about = pretrained.detector(str(path))
        _thaw(network)
        return network, about
    network, about = stored(path)
    whole = masks and any(layer.name == "branch" for layer in network.layers)
    if about.task != "detection" and not whole:
        raise UserError(f"{path} is a model for {about.task}, not a detector; give RUN/models/yolov3.keras, or another")
    _thaw(network)
    return network, about


def _thaw(model):
    """A file keeps what was frozen in training; whoever trains its model says anew what is frozen."""
    from kerastransfer.models.parts import thaw

    thaw(model)


def start(source: str | Path) -> Start:
    """The detector in a .keras file, or that of published weights, for another one to start from. Raises UserError as
    `detector` does."""
    _, about = detector(source, masks=True)
    # Read again wherever it is used, because its variables must be made in the scope of a strategy.
    return Start(str(source), lambda: detector(source, masks=True)[0], about.decoder, about.labels, about.image_size)


def is_name(path: str | Path) -> bool:
    """Whether this is the name of published weights, known or not, and not a file."""
    bare = Path(path).name == str(path) and not Path(path).suffix and not Path(path).exists()
    return bare or str(path) in presets.PRESETS or str(path).startswith(presets.HUB)


def require(path: str, flag: str) -> None:
    """Raises UserError, before anything is read, unless this is a model or the name of published weights."""
    if is_name(path):
        presets.detector(path)
        return
    if sharing.is_shared(path):
        return
    _refuse_folder(path, (".keras",), flag=flag)
    _refuse_other_kinds(path)
    if not Path(path).is_file():
        raise UserError(f"{flag} {path}: no such file; give RUN/models/yolov3.keras, or a name ({NAMES})")


def require_encoder(path: str, flag: str = "--encoder") -> None:
    """Raises UserError, before anything is read, unless this is a model or the name of published weights."""
    if is_name(path):
        if not path.startswith(presets.HUB):
            presets.preset(path)
        return
    if sharing.is_shared(path):
        return
    _refuse_folder(path, (".keras",), encoders=True, flag=flag)
    _refuse_other_kinds(path)
    if not Path(path).is_file():
        names = ", ".join(presets.PRESETS)
        raise UserError(f"{flag} {path}: no such file; give RUN/models/encoder.keras, or a name ({names})")


def _refuse_other_kinds(path):
    """Raises UserError for a file that holds weights without their architecture, and for one that only predicts."""
    if Path(path).name.endswith(WEIGHTS):
        whole = str(path).removesuffix(WEIGHTS) + ".keras"
        raise UserError(f"{path}: weights alone have no architecture; give the .keras file beside it, {whole}")
    if Path(path).suffix == ".tflite":
        raise UserError(
            f"{path}: a .tflite file only predicts; give the .keras file that it was exported from, such as "
            "RUN/models/yolov3.keras"
        )
    if Path(path).suffix == ".npz":
        raise UserError(
            f"{path}: holds weights without their architecture (kerastransfer 0.1 wrote such files); give a .keras "
            "file of the same run, such as RUN/models/yolov1.keras"
        )


def _refuse_folder(path, suffixes=(".keras", ".tflite"), *, encoders=False, flag=""):
    """Raises UserError for a folder, such as that of a run, with the models in it.

    suffixes, encoders: which files are models here. flag: the flag that the folder was given for.
    """
    folder, given = Path(path), f"{flag} {path}".strip()
    if not folder.is_dir():
        return
    found = [one for one in folder.rglob("*") if one.suffix in suffixes and (encoders or one.stem != "encoder")]
    if not found:
        raise UserError(f"{given} is a folder without models; give a {' or a '.join(suffixes)} file")
    raise UserError(f"{given} is a folder; give one of its models: {some([str(one) for one in sorted(found)], 12)}")


def open_predictor(path: str | Path) -> AnyPredictor:
    """The model in a .keras file that this package wrote, or in a .tflite file that it exported. Raises UserError."""
    path = sharing.local(path)
    _refuse_folder(path)
    suffix = Path(path).suffix
    if suffix == ".tflite":
        from kerastransfer.export.predictor import Predictor

        return Predictor(path)
    if suffix == ".keras":
        model, about = exported(path)
        from kerastransfer.export.keras_predictor import KerasPredictor

        return KerasPredictor(model, about)
    _refuse_other_kinds(path)
    raise UserError(f"{path}: give a .keras or a .tflite file, such as saved_models/RUN/models/NAME.keras")


def export(
    path: str | Path, train: "Dataset", test: "Dataset", *, saved_model: Path, tflite: Path
) -> "list[ExportedFile]":
    """Export NAME.keras to the folder saved_model/NAME, and to LiteRT files and NAME.json in the folder `tflite`.

    Images spread over `train` calibrate int8; the files are compared with the Keras model on images spread over `test`.
    Scores are compared where the test images are annotated with what the model predicts. Raises ParityError, after
    everything has been written, if a file is out of tolerance.
    """
    model, about = exported(path)
    from kerastransfer.export import parity
    from kerastransfer.export import saved_model as saving

    task, shown = TASKS[about.task], test.spread(PARITY_IMAGES)
    annotated = shown.having(task.FIELD)

    def score(predict: Predict) -> float:
        return task.score(predict, annotated, about.labels).metrics[task.KEPT]

    name = Path(path).stem
    saving.write(model, saved_model / name)
    return parity.export_all(
        model,
        tflite,
        name,
        about=about,
        calibration=(sample.read()["image"] for sample in train.spread(CALIBRATION_IMAGES).samples),
        images=(sample.read()["image"] for sample in shown.samples),
        score=score if len(annotated) else None,
        scored=len(annotated),
    )


def _network(path):
    import_keras()
    import keras

    from kerastransfer.export.loading import load_keras
    from kerastransfer.silence import silenced

    with silenced():
        # The first operation looks for a GPU, and warns if there is none.
        keras.ops.zeros(())
    return load_keras(path)


def _decoder(described: dict[str, Any]) -> Any:
    import keras

    import kerastransfer.registered  # noqa: F401

    if "codec" in described:
        return _of_version_0_1(described)
    return keras.saving.deserialize_keras_object(described["decoder"]) if "decoder" in described else None


def _of_version_0_1(described):
    """Codecs in the format of version 0.1: the name of their module, and their fields."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.masked_boxes import MaskedBoxes
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.codecs.yolov3 import YoloV3Codec

    fields = dict(described["codec"])
    codec = {"yolov1": YoloV1Codec, "yolov3": YoloV3Codec}[fields.pop("name")](**fields)
    if "masks" not in described:
        return codec
    return MaskedBoxes(codec, MaskCodec(**described["masks"]), int(described["detections"]))
