"""The phase that trains a decoder on any encoder, with masks."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fit_settings, fitting, image_cache, outcome
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset

Freeze = Literal["full", "weights", "none"]


@dataclasses.dataclass
class SegmenterConfig(fit_settings.TrainingConfig):
    """The flags of all recipes that train a segmenter."""

    decoder_epochs: int = 60
    """Number of epochs to train each decoder for."""
    decoder_learning_rate: float = 3e-3
    """Peak learning rate of the decoders, reached after the warm-up."""
    dice: float = 1.0
    """Weight of the Dice loss, which is added to the cross-entropy; with 0 only cross-entropy is used."""
    output_stride: int = 0
    """Largest stride of the encoder under the decoders, 8 or 16: strides beyond it are replaced by dilation, with the
    same weights, as DeepLab does. With 0 the encoder stays as it is."""
    cache_features: bool = False
    """Compute the features of a frozen encoder once and train the decoders on them. This is faster, but mirroring
    (--flip) is then the only augmentation."""
    feature_folder: str = dataclasses.field(default="saved_models/features", metadata={"variable": True})
    """Folder where --cache-features stores the features, in half precision; several runs can share it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "decoder_epochs", "decoder_learning_rate")
        if self.output_stride not in (0, 8, 16):
            raise UserError(f"--output-stride is {self.output_stride}; give 8 or 16, or 0 for the encoder as it is")
        if self.cache_features and self.cache == "none":
            raise UserError(
                "--cache none does not work with --cache-features, which reads every image before the first step; use "
                "--cache disk, or add --no-cache-features"
            )
        if self.cache_features and self.strategy != "none":
            raise UserError(
                f"--cache-features does not work with --strategy {self.strategy}; add --no-cache-features, or leave "
                "out --strategy"
            )


def segmenter(
    name: str,
    decoder: str,
    encoder: Path,
    config: SegmenterConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
    *,
    random: bool = False,
    freeze: Freeze = "full",
    train: "Dataset | None" = None,
    role: outcome.Role = "subject",
) -> None:
    """Train models/NAME.keras, a decoder on the encoder in a .keras file, and score it.

    random: use the architecture of that encoder alone, with random weights.
    freeze: "full" or "weights" (`models.parts.freeze`), or "none" to train the encoder as well.
    train: training images to use instead of those of `data`.
    """
    from kerastransfer.losses.pixels import pixel_loss
    from kerastransfer.models import segmenter as segmenters
    from kerastransfer.models.parts import freeze as frozen
    from kerastransfer.runs import trained
    from kerastransfer.training import statistics, strategy, transfer

    given, test = data.parts["segmentation"]
    train = train or given
    classes = data.dataset.segmentation_classes

    def work() -> dict:
        with strategy.scope(config.strategy):
            part = strided(trained.encoder(encoder), config.output_stride)
            require_size(part, config)
            if random:
                part = random_twin(part)
                statistics.estimate(part, fitting.some_images(train, config))
            network = segmenters.segmenter(part, decoder, len(classes), name=name)
            if freeze != "none":
                frozen(part, freeze)
            before = transfer.weights(part)
            fit = fit_on_features if config.cache_features and freeze == "full" else fitting.fit
            objective = fitting.Objective(
                network,
                pixel_loss,
                {"cross_entropy": 1.0, "dice": config.dice},
                fields=("segmentation",),
                epochs=config.decoder_epochs,
                learning_rate=config.decoder_learning_rate,
            )
            fit(objective, train, config, run, name)
        after = transfer.weights(part)
        if run.leads:
            size = (config.image_size, config.image_size)
            outcome.keep(run, name, network, About("segmentation", classes, size, config.resize))
        happened = transfer.compared(before, after)
        copied = [] if random else sorted(before)
        report = {
            "source": "random weights" if random else str(encoder),
            "copied": copied,
            "fresh": sorted(before.keys() - copied),
        }
        return {**report, **happened, "frozen": [] if freeze == "none" else happened["frozen"]}

    report = fitting.phase(config, run, name, work)
    run.write_transfer(name, report)
    if freeze == "full" and report["moved"]:
        raise RuntimeError(f"{name}: the encoder was frozen, but {report['moved'][:3]} changed")
    result.score(name, "segmentation", test, role)


def require_decoders(names: tuple[str, ...], flag: str = "--decoders") -> None:
    """Raises UserError for a name that is not in `models.segmenter.DECODERS`."""
    from kerastransfer.models.segmenter import DECODERS

    for name in names:
        if name not in DECODERS:
            raise UserError(f"unknown {flag} {name}; choose {', '.join(DECODERS)}")


def strided(encoder: "keras.Model", output_stride: int) -> "keras.Model":
    """The encoder of --output-stride. Raises UserError for an encoder that cannot have it."""
    from kerastransfer.models.dense import dilated

    return dilated(encoder, output_stride) if output_stride else encoder


def random_twin(encoder: "keras.Model") -> "keras.Model":
    """The same architecture with new random weights."""
    import keras

    return keras.models.clone_model(encoder)


def require_size(encoder: "keras.Model", config: SegmenterConfig) -> None:
    """Raises UserError unless --image-size is a multiple of the encoder's largest stride."""
    from kerastransfer.detectors.detector import require_multiple
    from kerastransfer.encoders import taps

    require_multiple(config.image_size, max(taps.strides(encoder).values()), "the encoder")


def fit_on_features(
    objective: fitting.Objective, train, config: SegmenterConfig, run: RunFolder, phase: str, *, validation=None
) -> None:
    """`fitting.fit` for the layers behind the encoder, on taps that are computed once."""
    from kerastransfer.models.segmenter import behind_encoder
    from kerastransfer.training import features

    part = behind_encoder(objective.network)

    def taps(dataset, name, flip):
        decoded = image_cache.decode(dataset, objective.fields, config, run, name, config.image_size, kept=True)
        found = features.cached(
            objective.network.get_layer("encoder"),
            decoded,
            Path(config.feature_folder),
            taps=list(part.input),
            flip=flip,
            batch_size=config.batch_size,
            progress=None if config.quiet else "features of the frozen encoder",
        )
        if not config.quiet:
            size = sum(values.nbytes for values in found.values()) / len(decoded) / 1e6
            print(f"features in {config.feature_folder}: {size:.2f} MB per image", flush=True)
        return found, decoded

    train, validation = fitting.held_out(objective, train, config, validation)
    found, decoded = taps(train, phase, config.flip > 0)
    held = taps(validation, f"{phase}-validation", False) if validation is not None else None

    # There is only one worker here: --cache-features does not work with --strategy.
    def batches(first_epoch, share):
        return features.training_batches(
            found,
            decoded,
            batch_size=config.batch_size,
            flip=config.flip,
            seed=config.seed,
            first_epoch=first_epoch,
            threads=config.loader_threads,
        )

    def to_validate(share):
        return features.evaluation_batches(*held, batch_size=config.batch_size, threads=config.loader_threads)

    fitting.fit_on(
        batches,
        len(decoded),
        dataclasses.replace(objective, network=part),
        config,
        run,
        phase,
        validation=to_validate if held else None,
    )
