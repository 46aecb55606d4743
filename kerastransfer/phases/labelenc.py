"""The phases of LabelEnc (Hao et al. 2020): a label encoder is trained with a detector's head; then it supervises the
features of a detector, which begins with that head."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kerastransfer import detectors, files
from kerastransfer.detectors.detector import Detector
from kerastransfer.errors import UserError
from kerastransfer.phases import detector as detector_phase
from kerastransfer.phases import labelenc_sources
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.runs import fitting, outcome
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
            files.write_json(path.with_suffix(".json"), labelenc_sources.made_for(config, data.dataset.classes))
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
        network, parts = labelenc_sources.opened(source, detector, data.dataset.classes)
        report = {"source": str(source)}
        if initialise:
            labelenc_sources.require_heads(source, detector, parts, config)
            report |= labelenc_sources.copied(source, detector, parts, network.get_layer("label_decoder"))
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
        theirs = labelenc_sources.teacher(teacher, detector, config, data.dataset.classes, initialise=initialise)
        report = {"source": str(teacher)}
        if initialise:
            report |= labelenc_sources.copied(
                f"--teacher {teacher}", detector, labelenc.heads(theirs), theirs.get_layer("decoder")
            )
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
        labelenc_sources.teacher(teacher, detector, config, data.dataset.classes, initialise=initialise)
        return {}

    _phase("teacher", work, config, run, data, file=None)


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
