"""The phase that trains a U-Net on few masks, in one of four transfer scenarios (Dippel et al. 2022, figure 1)."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.phases import pretext
from kerastransfer.phases.pretext import PretextConfig
from kerastransfer.runs import fitting, outcome
from kerastransfer.runs.data import Data, load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About
from kerastransfer.training import optimizers

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset

DECODER = "unet_plain"
# Steps in an epoch, at least: few images are repeated, so that an epoch is worth validating.
STEPS = 10

Scenario = Literal["random", "cls-enc", "seg-enc", "seg-enc-dec"]


@dataclasses.dataclass(frozen=True)
class Start:
    """What a segmenter starts from.

    name: of the pretext or encoder. scenario: "random" (nothing is transferred), "cls-enc" (the encoder of a pretext
        without a decoder), "seg-enc" or "seg-enc-dec" (of one with a decoder, the encoder, or both).
    source: the file or the name of published weights, of which "random" takes the architecture alone; None is the
        encoder of --encoder and --width.
    """

    name: str
    scenario: Scenario
    source: str | None = None

    @property
    def label(self) -> str:
        """The name of the models that start from it."""
        return self.name if self.scenario == "random" else f"{self.name}_{self.scenario}"


@dataclasses.dataclass
class FinetuneConfig(PretextConfig):
    """The flags of all recipes that train a U-Net on few masks."""

    target: str | None = None
    """Segment this class alone, on the images that show it; all else is background."""
    finetune_steps: int = 600
    """Number of steps to train each segmenter for, in whole epochs: one at least, and no further one that goes beyond
    this number."""
    finetune_optimizer: str = "adamw"
    """Optimizer of the segmenters, with its default settings: adamw, adam, sgd or lars; --optimizer is that of the
    pretexts."""
    finetune_learning_rate: float = 1e-3
    """Peak learning rate of the segmenters."""
    dice_over: Literal["image", "batch"] = "image"
    """What the Dice loss sums over: the pixels of each image, or of the whole batch."""
    cross_entropy: float = 0.0
    """Weight of the cross-entropy, which is added to the Dice loss; 0 leaves it out, as published."""
    validation: float = 0.25
    """Share of the labelled images to hold out for validation; the weights of the epoch with the lowest validation loss
    are kept. With 0, all labelled images are used for training."""
    early_stopping: int = 15
    """Stop training when the validation loss has not improved for this many epochs; 0 never stops early."""

    def __post_init__(self) -> None:
        if not self.validation:
            # The default of the one needs the other.
            self.early_stopping = 0
        super().__post_init__()
        require_positive(self, "finetune_steps", "finetune_learning_rate")
        optimizers.settings_of(self.finetune_optimizer)
        if self.cross_entropy < 0:
            raise UserError(f"--cross-entropy is {self.cross_entropy}; it must be at least 0")


def labelled_data(config: FinetuneConfig, *fields: str) -> Data:
    """Read --data with a segmentation, of --target alone if it is given, and with further fields."""
    data = load_data(config, *fields, "segmentation")
    if config.target is None:
        return data
    from kerastransfer.data import target

    # Split before, so that no pretext learns from an image that is tested on.
    train, test = (target.only(part, config.target) for part in data.parts["segmentation"])
    return dataclasses.replace(data, parts={**data.parts, "segmentation": (train, test)})


def numbers(data: Data, wanted: Iterable[float], config: FinetuneConfig) -> list[int]:
    """The numbers of labelled images that --labelled means, in order. Raises UserError, before anything is trained, for
    a number that cannot be drawn, or that is given twice."""
    from kerastransfer.data import labelled

    train = data.parts["segmentation"][0]
    found = sorted(len(labelled.few(train, one, config.seed)) for one in wanted)
    if len(set(found)) < len(found):
        raise UserError(f"--labelled means {' and '.join(map(str, found))} images; name each number once")
    return found


def finetune(
    name: str,
    start: Start,
    labelled: float,
    config: FinetuneConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
    *,
    role: outcome.Role = "subject",
) -> int:
    """Train models/NAME.keras, a U-Net that begins as `start` says, on `labelled` images (a number, or a share below
    1), and score it by its Dice on each test image. All of it is trained. Returns the number of steps in an epoch."""
    train, test = data.parts["segmentation"]
    classes = train.segmentation_classes

    def work() -> dict:
        from kerastransfer.data import labelled as low_data
        from kerastransfer.data.pipeline import steps_per_epoch
        from kerastransfer.training import strategy, transfer

        few, held = spared(low_data.few(train, labelled, config.seed), config)
        if held is None and config.validation:
            result.say(f"{name}: none of {len(few)} labelled images can be spared for validation; all are trained on")
        names = sorted(sample.name for sample in few)
        few = repeated(few, STEPS * config.batch_size)
        steps = steps_per_epoch(len(few), config.batch_size)
        with strategy.scope(config.strategy):
            network, report = begun(start, len(classes), config)
            before = transfer.weights(network)
            objective = fitting.Objective(
                network,
                _Terms(config.dice_over),
                {"dice": 1.0, "cross_entropy": config.cross_entropy},
                fields=("segmentation",),
                epochs=max(1, config.finetune_steps // steps),
                learning_rate=config.finetune_learning_rate,
            )
            changes = {"optimizer": config.finetune_optimizer, "optim": None}
            if held is None:
                changes |= {"validation": 0.0, "early_stopping": 0}
            own = dataclasses.replace(config, **changes)
            fitting.fit(objective, few, own, run, name, validation=held)
        after = transfer.weights(network)
        if run.leads:
            size = (config.image_size, config.image_size)
            outcome.keep(run, name, network, About("segmentation", classes, size, config.resize))
        return {
            **report,
            **transfer.compared(before, after),
            "labelled": names,
            "steps": steps,
        }

    report = fitting.phase(config, run, name, work)
    run.write_transfer(name, report)
    result.score(name, "segmentation", test, role)
    result.models[name].main = "dice_mean"
    result.forget(name)
    return report["steps"]


def spared(few: "Dataset", config: FinetuneConfig) -> "tuple[Dataset, Dataset | None]":
    """(training images, validation images) of the labelled ones: --validation's share, one at least; or none, where
    each image is the only one of its class."""
    from kerastransfer.data import splits

    if not config.validation or len(few) < 2:
        return few, None
    least = 1 / len(few)
    try:
        return splits.holdout(few, min(max(config.validation, least), 1 - least), config.seed)
    except UserError:
        return few, None


def begun(start: Start, num_classes: int, config: PretextConfig) -> "tuple[keras.Model, dict]":
    """The segmenter before training, and {"source", "scenario", "copied", "fresh"}.

    The 1 x 1 convolutions of the skip connections belong to the decoder. The output convolution is always new. Raises
    UserError if the file does not have what the scenario transfers, or an architecture that does not fit.
    """
    from kerastransfer.models.segmenter import segmenter
    from kerastransfer.training import transfer

    if start.source is None:
        if start.scenario != "random":
            raise UserError(f"the scenario {start.scenario} transfers weights; give the file of a pretext")
        given, encoder = None, pretext.start(dataclasses.replace(config, random=True))
    else:
        given = pretext.opened(start.source)
        encoder = pretext.unlearnt(given)
    pretext.require_size(encoder, config)
    network = segmenter(encoder, DECODER, num_classes, name="segmenter")
    copied: list[str] = []
    if start.scenario != "random":
        refuse_other(start)
        copied += transfer.load(network.get_layer("encoder"), given)["copied"]
    if start.scenario == "seg-enc-dec":
        copied += transfer.load(network.get_layer("decoder"), decoder(start.source))["copied"]
    fresh = sorted(transfer.weights(network).keys() - set(copied))
    source = start.source if copied else "random weights"
    return network, {"source": source, "scenario": start.scenario, "copied": sorted(copied), "fresh": fresh}


def refuse_other(start: Start) -> None:
    """Raises UserError if the file of a start is not of the kind that its scenario transfers."""
    has = has_decoder(start.source)
    if start.scenario == "cls-enc" and has:
        raise UserError(f"{start.source} has a decoder, so its encoder alone is the scenario seg-enc, not cls-enc")
    if start.scenario != "cls-enc" and not has:
        raise UserError(
            f"{start.source} has no U-Net decoder; only the scenario cls-enc is possible, not {start.scenario}"
        )


def has_decoder(source: str | Path) -> bool:
    """Whether a file holds a decoder that a U-Net can start from: one that ends in pixels."""
    from kerastransfer.export import loading
    from kerastransfer.runs import sharing, trained

    if trained.is_name(source):
        return False
    return "joined" in loading.parts(sharing.local(source)).get("decoder", {}).get("output_layers", ())


def decoder(source: str | Path) -> "keras.Model":
    """The decoder in a file that has one."""
    from kerastransfer.export.loading import load_keras
    from kerastransfer.models.parts import thaw
    from kerastransfer.runs import sharing

    found = load_keras(sharing.local(source)).get_layer("decoder")
    thaw(found)
    return found


def repeated(few: "Dataset", least: int) -> "Dataset":
    """The images, each as often as needed for `least` in all, under different names."""
    copies = max(1, -(-least // len(few)))
    samples = [
        dataclasses.replace(sample, name=f"{sample.name}#{copy}" if copy else sample.name)
        for copy in range(copies)
        for sample in few.samples
    ]
    return dataclasses.replace(few, samples=tuple(samples))


@dataclasses.dataclass(frozen=True)
class _Terms:
    """The Dice loss of --dice-over, and the cross-entropy."""

    over: str

    def __call__(self, targets: Mapping[str, Any], logits: Any) -> dict:
        from kerastransfer.losses import pixels

        segmentation = targets["segmentation"]
        return {
            "dice": pixels.smooth_dice(segmentation, logits, over=self.over),
            "cross_entropy": pixels.cross_entropy(segmentation, logits),
        }
