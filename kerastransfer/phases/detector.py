"""The phase that trains a detector on boxes and keeps its encoder."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from kerastransfer import detectors
from kerastransfer.detectors.detector import Detector, Purpose
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fit_settings, fitting, outcome, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import one_of
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset


@dataclasses.dataclass
class DetectorConfig(fit_settings.TrainingConfig):
    """The flags of all recipes that train a detector."""

    CHOSEN: ClassVar = {**fit_settings.TrainingConfig.CHOSEN, "net": ("model", detectors.settings_of)}

    model: str = "small"
    """The detector's net: small, fast_yolo or yolov1 (YOLOv1 on the small encoder of this package, on that of Fast
    YOLO, or on the published one); yolov3-tiny, yolov3-small, yolov3 or yolov3-spp; retinanet, fcos, faster_rcnn
    or mask_rcnn, which learns from masks, on the encoder of --net.encoder."""
    net: one_of(detectors.SETTINGS) = None
    """Settings of the family that --model belongs to."""
    start: str | None = None
    """Start from a trained detector instead of from random weights: a detector's .keras file, or the name of published
    weights (`kerastransfer presets` lists them). Its net is used, so --model only needs to be of the same family.
    Classes of the same name are kept."""
    start_factor: float = 0.3
    """Learning rate of the encoder and decoder that --start loaded, or of the encoder that --net.encoder did, as a
    multiple of that of the other parts."""
    freeze_stages: Literal["none", "c1", "c2", "c3", "c4", "c5"] = "none"
    """With --start or --net.encoder, freeze the encoder up to this stage, batch statistics included."""
    multi_scale: bool = False
    """Train on inputs of about 3/4 to 5/4 of --image-size, changing the size every ten steps (YOLO9000, Redmon and
    Farhadi 2017); the last eighth of the epochs uses only --image-size."""
    detector_epochs: int = 120
    """Number of epochs to train the detector for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "detector_epochs", "start_factor")
        if self.start:
            trained.require(self.start, "--start")
        elif self.freeze_stages != "none" and not hasattr(self.net, "encoder"):
            raise UserError(f"--freeze-stages {self.freeze_stages} needs --start; random weights cannot be frozen")
        if self.multi_scale:
            if self.jit or self.strategy == "data_parallel":
                compiled = "--jit" if self.jit else "--strategy data_parallel"
                raise UserError(f"--multi-scale would make {compiled} compile every size; leave one of them out")
            if not detectors.family(self.model).any_size(self.net):
                raise UserError("--multi-scale needs a network that takes several sizes; use --net.head fully_conv")


def detector(
    config: DetectorConfig, run: RunFolder, data: Data, result: outcome.Outcome, *, name: str | None = None
) -> str:
    """Train, score and export a detector; returns NAME of its file, models/NAME.keras.

    name: by default that of its family; the encoder is then kept as models/encoder.keras, which other recipes take as
        --encoder. Give one to train several in a run.
    """
    from kerastransfer.training import strategy

    task = detectors.task_of(config.model)
    train, test = data.parts[detectors.field_of(config.model)]
    phase, encoder = (name, None) if name else ("detector", "encoder")
    name, built = name or detectors.FAMILY[config.model], build(config, train)

    def work():
        with strategy.scope(config.strategy):
            network, report = begun(built, config)
            from kerastransfer.data import views

            objective = fitting.Objective(
                built.trained(network),
                built.terms,
                built.weights,
                fields=built.fields,
                epochs=config.detector_epochs,
                learning_rate=config.learning_rate,
                mosaic=config.mosaic,
                view=views.annotated if built.reading else None,
                sides=fitting.sides(config.image_size, built.stride) if config.multi_scale else (),
                rates=rates(network, built, config),
            )
            fitting.fit(objective, train, config, run, phase)
        keep(name, network, built, config, run, data, encoder=encoder)
        return report()

    if report := fitting.phase(config, run, phase, work):
        run.write_transfer(name, report)
    result.score(name, task, test)
    result.export(name, train, test)
    return name


def keep(
    name: str,
    network: "keras.Model",
    built: Detector,
    config: DetectorConfig,
    run: RunFolder,
    data: Data,
    *,
    encoder: str | None = "encoder",
) -> None:
    """Write models/NAME.keras, and the encoder as models/ENCODER.keras."""
    if run.leads:
        size = (config.image_size, config.image_size)
        if encoder:
            outcome.keep_part(run, encoder, network.get_layer("encoder"))
        outcome.keep(run, name, network, About(built.task, data.dataset.classes, size, config.resize, built.codec))


def build(config: DetectorConfig, train: "Dataset") -> Detector:
    """The detector of --model, or of --start, for the classes of the training images."""
    start = trained.start(config.start) if config.start else None
    purpose = Purpose(
        train.classes, config.image_size, train, config.resize, config.seed, start, encoder=trained.encoder
    )
    built = detectors.family(config.model).build(config.net, config.model, purpose)
    if config.freeze_stages != "none" and not built.loaded:
        raise UserError(
            f"--freeze-stages {config.freeze_stages} needs a trained encoder; give --start or another --net.encoder"
        )
    if start and built.fresh is None:
        raise UserError(f"--model {config.model} cannot start from another detector; leave out --start {config.start}")
    return built


def begun(built: Detector, config: DetectorConfig) -> "tuple[keras.Model, Callable[[], dict]]":
    """The network before training, with the stages of --freeze-stages frozen, and a function that returns, after
    training, the network's part of transfer_report.json: empty if all weights are random."""
    network = built.build()
    if not built.loaded:
        return network, dict
    import keras

    from kerastransfer.models import two_stages
    from kerastransfer.models.new_classes import last_layers
    from kerastransfer.models.parts import freeze
    from kerastransfer.training import transfer

    source = config.start or config.net.encoder
    encoder, frozen = network.get_layer("encoder"), set()
    if config.freeze_stages != "none":
        if config.freeze_stages not in encoder.output:
            stages = ", ".join(encoder.output)
            raise UserError(f"--freeze-stages {config.freeze_stages}: the encoder of {source} has {stages}; choose one")
        part = keras.Model(encoder.input, encoder.output[config.freeze_stages])
        freeze(part)
        frozen = set(transfer.weights(part))
    before = transfer.weights(network)
    if config.start:
        if any(layer.name == "branch" for layer in network.layers):
            last = two_stages.class_layers(network)
        else:
            last = last_layers(network.get_layer("head"))
        fresh = [name for name in before if built.fresh and name.split("/")[0] in last]
    else:
        fresh = sorted(set(before) - set(transfer.weights(encoder)))

    def report() -> dict:
        happened = transfer.compared(before, transfer.weights(network))
        if moved := frozen.intersection(happened["moved"]):
            raise RuntimeError(f"{sorted(moved)[:3]} were frozen, but changed")
        loaded = {"copied": sorted(set(before) - set(fresh)), "fresh": fresh}
        if built.fresh is not None:
            loaded["fresh_classes"] = list(built.fresh)
        return {"source": source, **loaded, **happened, "frozen": sorted(frozen)}

    return network, report


def rates(network: "keras.Model", built: Detector, config: DetectorConfig) -> dict[str, float]:
    """The factor of the learning rate of each part with trained weights."""
    parts = {layer.name for layer in network.layers}
    factor = config.start_factor
    return {name: factor for name in built.loaded if name in parts} if factor != 1 else {}
