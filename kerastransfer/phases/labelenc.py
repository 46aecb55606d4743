"""The phases of LabelEnc (Hao et al. 2020): a label encoder is trained with a detector's head; then it supervises the
features of a detector, which begins with that head."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kerastransfer import detectors, files
from kerastransfer.detectors.detector import Detector
from kerastransfer.errors import UserError
from kerastransfer.flags import some
from kerastransfer.phases import detector as detector_phase
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.runs import fitting, outcome, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset

# Of step 1, the share in which the distance does not count: 30,000 of 120,000 steps (section 4.1).
WARMUP = 1 / 4
# Of step 2, the share at the end in which it does not: the last 10,000 of 90,000 steps.
ALONE = 1 / 9
# Families whose terms are sums over the objects of an image.
SUMS = ("yolov1", "yolov3")
# Settings of nets in which step 1 and step 2 may differ.
NOT_OF_THE_HEAD = ("encoder", "random", "norms", "loss")


@dataclasses.dataclass
class LabelEncConfig(DetectorConfig):
    """The flags of all recipes that train with a label encoder."""

    model: str = "retinanet"
    """The detector's net: retinanet, fcos, faster_rcnn or mask_rcnn, on the encoder of --net.encoder; yolov3-tiny,
    yolov3-small, yolov3 or yolov3-spp; small, fast_yolo or yolov1."""
    label_map: Literal["boxes", "masks"] = "boxes"
    """What the label encoder reads: the boxes of the objects, or the masks in them."""
    distance_weight: float = 0.0
    """Weight of the distance between features and codes, a mean over all places; 0 chooses it: 1 as published, and 50
    for YOLOv1 and YOLOv3, because their terms are sums over an image, where those of the other detectors are means."""
    step1_epochs: int = 0
    """Number of epochs of step 1; 0 is 4/3 of --detector-epochs, as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step1_epochs < 0:
            raise UserError(f"--step1-epochs is {self.step1_epochs}; it must be at least 0")
        if self.distance_weight < 0:
            raise UserError(f"--distance-weight is {self.distance_weight}; it must be at least 0")

    @property
    def distance(self) -> float:
        """Weight of the distance."""
        return self.distance_weight or (50.0 if detectors.FAMILY[self.model] in SUMS else 1.0)

    @property
    def first_epochs(self) -> int:
        """Number of epochs of step 1."""
        return self.step1_epochs or round(self.detector_epochs * 4 / 3)


def plain(name: str, epochs: int, config: LabelEncConfig, run: RunFolder, data: Data, result: outcome.Outcome) -> None:
    """Train models/NAME.keras, the detector without a label encoder, for comparison; and score it."""

    def work(built: Detector, network: "keras.Model") -> dict:
        graph = built.trained(network)
        _fit(graph, built.terms, built.weights, name, epochs, built, network, config, run, data, reads=False)
        return {}

    _phase(name, work, config, run, data, file=name)
    _score(name, config, data, result)


def step1(
    name: str,
    config: LabelEncConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
    *,
    image: bool = True,
) -> Path:
    """Train a label encoder and the detector's head together, and return its file, models/NAME.keras. The detector that
    learns beside it is models/NAME_detector.keras, which is scored.

    image: False trains the label encoder and the head alone, so that they only reconstruct boxes from label maps.
    """
    from kerastransfer.models import labelenc

    path = run.models / f"{name}.keras"

    def work(built: Detector, detector: "keras.Model") -> dict:
        network = labelenc.label_network(detector, len(data.dataset.classes))
        read = _read(built, detector, config)
        graph = labelenc.trainer(detector, network, reconstruct=True, seed=config.seed, **read)
        terms = labelenc.labelenc_terms(built.terms, reconstruct=True)
        own = dict(built.weights) if image else dict.fromkeys(built.weights, 0.0)
        codes = {f"{labelenc.CODES}{term}": weight for term, weight in built.weights.items()}
        warmup = labelenc.Warmup(round(WARMUP * _steps(config.first_epochs, config, data)), config.distance)
        distance = warmup.weight if image else 0.0
        weights = {**own, **codes, "distance": distance}
        resting = {"adaption": warmup.resting} if image else {}
        _fit(graph, terms, weights, name, config.first_epochs, built, detector, config, run, data, resting=resting)
        if run.leads:
            outcome.keep_part(run, name, labelenc.with_heads(network, detector))
            files.write_json(path.with_suffix(".json"), _made_for(config, data.dataset.classes))
        return {}

    _phase(name, work, config, run, data, file=f"{name}_detector" if image else None)
    if image:
        _score(f"{name}_detector", config, data, result, role="beside")
    return path


def step2(
    name: str,
    source: str | Path,
    config: LabelEncConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
    *,
    supervise: bool = True,
    initialise: bool = True,
) -> None:
    """Train models/NAME.keras, a detector whose features the label encoder in the file `source` supervises, and whose
    head and decoder begin with the weights that step 1 found; and score it.

    supervise, initialise: leave out one of the two, for comparison.
    """
    from kerastransfer.models import labelenc
    from kerastransfer.models.parts import freeze
    from kerastransfer.training import transfer

    def work(built: Detector, detector: "keras.Model") -> dict:
        network, parts = opened(source, detector, data.dataset.classes)
        report = {"source": str(source)}
        if initialise:
            _require_heads(source, detector, parts, config)
            report |= _copied(source, detector, parts, network.get_layer("label_decoder"))
        if not supervise:
            epochs, graph = config.detector_epochs, built.trained(detector)
            _fit(graph, built.terms, built.weights, name, epochs, built, detector, config, run, data, reads=False)
            return report
        freeze(network)
        before = transfer.weights(network)
        graph = labelenc.trainer(detector, network, reconstruct=False, **_read(built, detector, config))
        terms = labelenc.labelenc_terms(built.terms, reconstruct=False)
        off = _switched_off(config, data)
        weights = {**built.weights, "distance": off.weight}
        _fit(graph, terms, weights, name, config.detector_epochs, built, detector, config, run, data)
        happened = transfer.compared(before, transfer.weights(network))
        if happened["moved"]:
            raise RuntimeError(f"the label encoder was frozen, but {happened['moved'][:3]} changed")
        return report | {"label_network": happened}

    report = _phase(name, work, config, run, data, file=name)
    run.write_transfer(name, report)
    _score(name, config, data, result)


def distilled(
    name: str,
    teacher: str | Path,
    config: LabelEncConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
    *,
    initialise: bool = False,
) -> None:
    """Train models/NAME.keras, a detector that is supervised by the features of a trained detector in place of those of
    a label encoder (knowledge distillation; section 4.3, table 6); and score it.

    initialise: begin with the teacher's head and decoder.
    """
    from kerastransfer.models import labelenc

    def work(built: Detector, detector: "keras.Model") -> dict:
        theirs = taught_by(teacher, detector, config, data.dataset.classes, initialise=initialise)
        report = {"source": str(teacher)}
        if initialise:
            report |= _copied(f"--teacher {teacher}", detector, labelenc.heads(theirs), theirs.get_layer("decoder"))
        reading = built.reading(detector) if built.reading else None
        graph = labelenc.distiller(detector, theirs, reading=reading, fields=built.fields)
        terms = labelenc.labelenc_terms(built.terms, reconstruct=False)
        off = _switched_off(config, data)
        weights = {**built.weights, "distance": off.weight}
        epochs = config.detector_epochs
        _fit(graph, terms, weights, name, epochs, built, detector, config, run, data, reads=False)
        return report

    report = _phase(name, work, config, run, data, file=name)
    run.write_transfer(name, report)
    _score(name, config, data, result)


def require_teacher(
    teacher: str, config: LabelEncConfig, run: RunFolder, data: Data, *, initialise: bool = False
) -> None:
    """Raises UserError, before anything is trained, unless `distilled` can use this teacher."""

    def work(built: Detector, detector: "keras.Model") -> dict:
        taught_by(teacher, detector, config, data.dataset.classes, initialise=initialise)
        return {}

    _phase("teacher", work, config, run, data, file=None)


def taught_by(
    teacher: str | Path,
    detector: "keras.Model",
    config: LabelEncConfig,
    classes: tuple[str, ...],
    *,
    initialise: bool = False,
) -> "keras.Model":
    """The network of a trained detector, which is to teach another. Raises UserError if its maps do not fit, or with
    `initialise` its head or classes."""
    from kerastransfer.models import labelenc

    source = f"--teacher {teacher}"
    network, about = trained.detector(teacher) if trained.is_name(teacher) else trained.stored(teacher)
    labelenc.require_teacher(detector, network, source)
    sides = network.get_layer("encoder").input.shape[1:3]
    if None not in sides and sides != (config.image_size, config.image_size):
        raise UserError(f"{source} takes images of {sides[0]} x {sides[1]} pixels only; give --image-size {sides[0]}")
    if not initialise:
        return network
    remedy = "leave out --initialise-from-teacher"
    if about.labels != classes:
        raise UserError(f"{source} knows {some(about.labels)}, but the data has {some(classes)}; {remedy}")
    if not _same_heads(detector, labelenc.heads(network)):
        raise UserError(f"{source} has another head than the detector; give its --model and --net.towers, or {remedy}")
    return network


def opened(
    source: str | Path, detector: "keras.Model", classes: tuple[str, ...]
) -> "tuple[keras.Model, dict[str, keras.Model]]":
    """The label network, and by their names the detector's heads, in a file of step 1. Raises UserError if they do not
    fit the detector."""
    from kerastransfer.export.loading import load_keras
    from kerastransfer.models.labelenc import channels_read, heads, told
    from kerastransfer.models.parts import thaw

    model = load_keras(source)
    names = [layer.name for layer in model.layers]
    if not {"label_network", "head"} <= set(names):
        raise UserError(f"{source} holds no label encoder; give RUN/models/labelenc.keras of the recipe labelenc_step1")
    thaw(model)
    parts = heads(model)
    network = parts.pop("label_network")
    known = network.input.shape[-1]
    if known != len(classes):
        raise UserError(
            f"{source} was trained for {known} classes, but the data has {len(classes)}; train step 1 on this data"
        )
    made_for = files.read_json(Path(source).with_suffix(".json"), {}).get("labels", classes)
    if tuple(made_for) != classes:
        raise UserError(
            f"{source} was trained for the classes {some(made_for)}, but the data has {some(classes)}; train step 1 on "
            "this data"
        )
    if parts.keys() != heads(detector).keys():
        raise UserError(
            f"{source} has the heads {', '.join(parts)}, but the detector has {', '.join(heads(detector))}; train "
            "step 1 with the same --model"
        )
    ours, theirs = channels_read(detector), channels_read(model)
    if ours != theirs:
        raise UserError(
            f"{source} is for a head that reads {told(theirs)}, but the detector's reads {told(ours)}; train step 1 "
            "with the same --model and --net.channels"
        )
    return network, parts


def _made_for(config, classes):
    """What is beside the file of step 1, so that a file that does not fit can be told from one that does."""
    return {"labels": list(classes), "model": config.model, "net": dataclasses.asdict(config.net)}


def _same_heads(detector, theirs):
    """Whether heads {name: part} compute what those of the detector do."""
    from kerastransfer.models.labelenc import heads
    from kerastransfer.training import transfer

    ours = heads(detector)
    return ours.keys() == theirs.keys() and all(transfer.same_architecture(ours[part], theirs[part]) for part in ours)


def _require_heads(source, detector, theirs, config):
    """Raises UserError unless the detector has the heads of the file `source` of step 1."""
    if _same_heads(detector, theirs):
        return
    # Files of older versions have no json beside them.
    made_for = files.read_json(Path(source).with_suffix(".json"), {})
    ours, net = dataclasses.asdict(config.net), made_for.get("net", {})
    differ = [
        f"{_flag(name)} {net[name]} (here {value})"
        for name, value in ours.items()
        if name in net and name not in NOT_OF_THE_HEAD and net[name] != _plain(value)
    ]
    if made_for.get("model", config.model) != config.model:
        differ = [f"--model {made_for['model']} (here {config.model})", *differ]
    told = f", by {', '.join(differ)}" if differ else ""
    raise UserError(
        f"{source} was trained with another head than this detector's{told}; give the same --model and settings of the "
        "head, such as --net.towers, or --no-initialise"
    )


def _flag(name):
    return f"--net.{name.replace('_', '-')}"


def _plain(value):
    """As JSON reads it back."""
    return list(value) if isinstance(value, tuple) else value


def _copied(source, detector, heads, decoder):
    """Begin with the heads {name: part} and the decoder of step 1, or of a teacher; returns what happened to each."""
    from kerastransfer.training import transfer

    report = {part: transfer.load(detector.get_layer(part), theirs) for part, theirs in heads.items()}
    return report | {"decoder": _begun_with(source, detector.get_layer("decoder"), decoder)}


def _begun_with(source, decoder, other):
    """Give a decoder the weights of another, but for layers of another shape, such as those that read an encoder of
    another width."""
    from kerastransfer.training import transfer

    theirs, ours = transfer.weights(other), transfer.weights(decoder)
    if theirs.keys() != ours.keys():
        raise UserError(f"the decoder of {source} has other layers than this detector's; give the same --model")
    fresh = sorted({name.split("/")[0] for name in ours if ours[name].shape != theirs[name].shape})
    values = {name: value for name, value in theirs.items() if name.split("/")[0] not in fresh}
    return transfer.load(decoder, values, fresh=fresh)


def _switched_off(config, data):
    from kerastransfer.models.labelenc import SwitchedOff

    steps = _steps(config.detector_epochs, config, data)
    return SwitchedOff(round((1 - ALONE) * steps), config.distance)


def _masks(config):
    return config.label_map == "masks"


def fields(config: LabelEncConfig) -> tuple[str, ...]:
    """What the samples must have."""
    return ("boxes", "masks") if _masks(config) or detectors.field_of(config.model) == "masks" else ("boxes",)


def split(config: LabelEncConfig, data: Data) -> "tuple[Dataset, Dataset]":
    """(training samples, test samples) of the detector."""
    return data.parts[detectors.field_of(config.model)]


def _score(name, config, data, result, **options):
    result.score(name, detectors.task_of(config.model), split(config, data)[1], **options)


def _read(built, detector, config):
    """What the graphs of both steps read."""
    reading = built.reading(detector) if built.reading else None
    return {"masks": _masks(config), "reading": reading, "fields": fields(config)}


def _steps(epochs, config, data):
    """The number of steps of so many epochs."""
    from kerastransfer.data.pipeline import steps_per_epoch

    train = split(config, data)[0].having(*fields(config))
    if config.validation:
        from kerastransfer.data import splits

        train, _ = splits.holdout(train, config.validation, config.seed)
    return epochs * steps_per_epoch(len(train), config.batch_size)


def _phase(
    name: str,
    work: Callable,
    config: LabelEncConfig,
    run: RunFolder,
    data: Data,
    *,
    file: str | None,
) -> dict:
    """Build the detector, train it by `work(built, network)`, and keep it as models/FILE.keras, unless that is None."""

    def whole() -> dict:
        from kerastransfer.training import strategy

        with strategy.scope(config.strategy):
            built = detector_phase.build(config, split(config, data)[0])
            network, _ = detector_phase.begun(built, config)
            report = work(built, network)
        if run.leads and file:
            size = (config.image_size, config.image_size)
            about = About(built.task, data.dataset.classes, size, config.resize, built.codec)
            outcome.keep(run, file, network, about)
        return report

    return fitting.phase(config, run, name, whole)


def _fit(graph, terms, weights, name, epochs, built, detector, config, run, data, *, resting=None, reads=True):
    """reads: whether the graph reads a label map."""
    from kerastransfer.data import views

    objective = fitting.Objective(
        graph,
        terms,
        weights,
        fields=fields(config) if reads else built.fields,
        epochs=epochs,
        learning_rate=config.learning_rate,
        mosaic=config.mosaic,
        view=views.annotated if reads or built.reading else None,
        sides=fitting.sides(config.image_size, built.stride) if config.multi_scale else (),
        resting=resting or {},
        rates=detector_phase.rates(detector, built, config),
    )
    fitting.fit(objective, split(config, data)[0], config, run, name)
