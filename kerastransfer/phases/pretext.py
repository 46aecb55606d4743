"""The phase that trains an encoder, and for some pretexts a decoder, before it is transferred to segmentation."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerastransfer import pretexts
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fit_settings, fitting, outcome, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset
    from kerastransfer.pretexts.pretext import Pretext

# What random weights are called, among pretexts.
RANDOM = "random"
# Smaller images have no room for what is painted over.
SMALLEST = 32


@dataclasses.dataclass
class PretextConfig(fit_settings.TrainingConfig):
    """The flags of all recipes that train pretexts."""

    encoder: str = "unet"
    """The encoder: one that is built here with random weights (unet, small, resnet18, ...), a .keras file, or the name
    of published weights (`kerastransfer presets` lists them), or hub:NAME for a backbone of keras-hub."""
    width: int = 16
    """Channels of the first level of --encoder unet, doubled at each of the others; 64 is published."""
    random: bool = False
    """Start the encoder of a file, or of published weights, from random weights."""
    pretext_epochs: int = 100
    """Number of epochs to train each pretext for."""
    resize: Literal["stretch", "letterbox"] = "letterbox"
    """How images are brought to --image-size, in training, in scoring and in exported files: by stretching them, or by
    padding them with grey so that they keep their aspect ratio (`letterbox`)."""
    scale: tuple[float, ...] = (0.71, 1.0)
    """Augmentation: smallest and largest side of the window that is cropped from an image, as a share of the image's
    side; above 1, the image is surrounded by grey. Pretexts that compare views or restore images have windows of their
    own."""
    aspect: float = 4 / 3
    """Augmentation: largest factor by which the aspect ratio of the window changes; pretexts as for --scale."""
    colour: float = 0.0
    """Augmentation: largest relative change of brightness and contrast; that of saturation is 1.5 times as large.
    Pretexts that compare views or restore images have changes of their own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "width", "pretext_epochs")
        if self.image_size < SMALLEST:
            raise UserError(f"--image-size {self.image_size} is too small for altered images; give {SMALLEST} or more")
        require_known_encoder(self.encoder)


def require_known_encoder(encoder: str) -> None:
    """Raises UserError unless this is an encoder of the package, a file, or the name of published weights."""
    if encoder == "unet":
        # The default needs no Keras, which is slow to import for --help.
        return
    from kerastransfer.runs.command_line import import_keras

    import_keras()
    from kerastransfer.encoders import ENCODERS

    if encoder not in ENCODERS:
        trained.require_encoder(encoder)


def pretext(
    name: str, settings: Any, config: PretextConfig, run: RunFolder, data: Data, result: outcome.Outcome
) -> Path:
    """Train a pretext of `pretexts.PRETEXTS`, and return its file, models/NAME.keras, which holds the part "encoder",
    and for pretexts with a decoder "decoder". It is trained on the training images that have what it learns from; its
    terms on the test images are its metrics."""
    path = run.models / f"{name}.keras"

    def work() -> dict:
        from kerastransfer.phases import pretext_views
        from kerastransfer.training import strategy, transfer

        train, test = images(data, name, config)
        with strategy.scope(config.strategy):
            built = build(name, settings, config, train)
            encoder = built.network.get_layer("encoder")
            before = transfer.weights(encoder)
            require_batch(len(train), built, config)
            objective = fitting.Objective(
                built.trained,
                built.terms,
                built.weights,
                fields=pretexts.pretext(name).FIELDS,
                epochs=config.pretext_epochs,
                learning_rate=config.learning_rate,
                view=built.view,
                mosaic=config.mosaic if pretexts.pretext(name).FIELDS == ("boxes",) else 0.0,
            )
            fitting.fit(objective, train, config, run, name)
        given = source(config)
        report = {"source": given, "copied": sorted(before) if given != "random weights" else []}
        report |= transfer.compared(before, transfer.weights(encoder))
        found = {"transfer": report}
        if run.leads:
            outcome.keep_part(run, name, built.network)
            found |= pretext_views.looked_at(name, built, objective.fields, config, run, test)
        return found

    found = fitting.phase(config, run, name, work)
    run.write_transfer(name, found["transfer"])
    if run.leads:
        from kerastransfer.phases import pretext_views

        result.add(name, found["metrics"], {}, found["main"], None, "beside")
        if found["picture"]:
            result.figures.append(pretext_views.figure(name, run))
    return path


def random_encoder(config: PretextConfig, run: RunFolder) -> Path:
    """The file of an encoder with random weights, models/random.keras."""
    path = run.models / f"{RANDOM}.keras"

    def work() -> dict:
        from kerastransfer.training import strategy

        strategy.prepare(seed=config.seed)
        if run.leads:
            outcome.keep_part(run, RANDOM, start(dataclasses.replace(config, random=True)))
        return {}

    run.phase(RANDOM, work)
    return path


def require_batch(images: int, built: "Pretext", config: PretextConfig) -> None:
    """Raises UserError if images would be repeated in a batch in which they are compared with each other."""
    if "contrast" in built.weights and images < config.batch_size:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {images} training images, which a contrast would then "
            f"compare with themselves; give {images} or less"
        )


def build(name: str, settings: Any, config: PretextConfig, train: "Dataset") -> "Pretext":
    """The pretext, in the current dtype policy."""
    from kerastransfer.training.replicas import everyone

    encoder = start(config)
    require_size(encoder, config)
    module = pretexts.pretext(name)
    return module.build(settings, encoder, train, everyone if config.strategy != "none" else None)


def images(data: Data, name: str, config: PretextConfig) -> "tuple[Dataset, Dataset]":
    """(training images, test images) of a pretext: those with what it learns from, or all of them."""
    from kerastransfer.data import splits

    fields = pretexts.pretext(name).FIELDS
    if fields:
        return data.parts[fields[0]]
    train, test = splits.split(data.dataset, data.rule, ())
    return splits.fraction(train, config.fraction, config.seed), test


def start(config: PretextConfig) -> "keras.Model":
    """The encoder of --encoder and --width, in the current dtype policy, with the momentum of batch normalization that
    a short training needs."""
    from kerastransfer.encoders import ENCODERS
    from kerastransfer.models.parts import quick_to_follow

    if config.encoder not in ENCODERS:
        return opened(config.encoder, random=config.random)
    encoder = ENCODERS["unet"](config.width) if config.encoder == "unet" else ENCODERS[config.encoder]()
    quick_to_follow(encoder)
    return encoder


def opened(path: str | Path, *, random: bool = False) -> "keras.Model":
    """The encoder in a file, or of published weights, in the current dtype policy, with the momentum of batch
    normalization that a short training needs; random: its architecture alone."""
    import keras

    from kerastransfer.models.parts import thaw
    from kerastransfer.models.rewrite import with_policy

    encoder = with_policy(trained.encoder(path), keras.mixed_precision.global_policy().name)
    thaw(encoder)
    return unlearnt(encoder) if random else encoder


def unlearnt(encoder: "keras.Model") -> "keras.Model":
    """A copy of an encoder with new random weights."""
    return encoder.__class__.from_config(encoder.get_config())


def source(config: PretextConfig) -> str:
    """Where the weights of --encoder come from."""
    if config.random or config.encoder == "unet":
        return "random weights"
    from kerastransfer.encoders import ENCODERS

    return "random weights" if config.encoder in ENCODERS else config.encoder


def require_size(encoder: "keras.Model", config: PretextConfig) -> None:
    """Raises UserError unless --image-size is a multiple of the encoder's largest stride."""
    from kerastransfer.detectors.detector import require_multiple
    from kerastransfer.encoders import taps

    require_multiple(config.image_size, max(taps.strides(encoder).values()), "the encoder")
