"""Segmenters on a detector's encoder: boxes train it, then it is frozen under a SegNet and a U-Net decoder.

    python -m kerastransfer.recipes.yolo_segnet --config recipes/penn_fudan.toml --data DIR/PennFudanPed

The main job of paper A: a YOLOv1 detector is trained on boxes, its encoder is frozen, and decoders without and with
skips are trained on it with masks. --controls adds what the frozen encoder must be held against: the same decoders on
an encoder with random weights, on one that is trained through, and a SegNet with as many weights as the U-Net.
--masks from-boxes trains them with no mask at all (docs/dense.md).
"""

import dataclasses
from pathlib import Path
from typing import Literal

from kerastransfer import files
from kerastransfer.detectors import families
from kerastransfer.errors import UserError
from kerastransfer.phases import from_boxes
from kerastransfer.recipes.detector import DetectorConfig, detector
from kerastransfer.runs import fitting, outcome, settings
from kerastransfer.runs.folder import RunFolder

MODELS = {"segnet": "yolo_segnet", "unet": "yolo_unet", "segnet_matched": "segnet_matched"}


@dataclasses.dataclass
class Config(DetectorConfig):
    """Train a detector on boxes, freeze its encoder, and train decoders on it with masks."""

    encoder: str | None = None
    """The encoder.npz of a trained detector: the detector is then not trained again."""
    decoders: tuple[Literal["segnet", "unet", "segnet_matched"], ...] = ("segnet", "unet")
    """Without skips, with skips, and without skips but as many weights as with."""
    masks: tuple[Literal["true", "from-boxes"], ...] = ("true",)
    """What decoders train on: true masks, masks that follow from boxes, or each in turn."""
    freeze: Literal["full", "weights"] = "full"
    """The encoder as it is, or with batch statistics that drift (the author's code)."""
    controls: bool = False
    """Also train what the frozen encoder must be held against."""
    control_kinds: tuple[Literal["random", "through", "matched"], ...] = ("random", "through", "matched")
    """A frozen encoder with random weights, one that is trained through, a SegNet with as many weights as the U-Net."""
    decoder_epochs: int = 60
    """Epochs of each decoder."""
    decoder_learning_rate: float = 3e-3
    """Its peak, for decoders."""
    dice: float = 1.0
    """Weight of the Dice loss beside cross-entropy; 0 is the paper's."""
    cache_features: bool = False
    """Compute what a frozen encoder says of the images once, and train decoders on that: faster, but their images are
    mirrored (--flip) and not augmented otherwise."""
    feature_folder: str = "saved_models/features"
    """Where --cache-features keeps them, in half precision; several runs may share it."""
    export: bool = True
    """Write SavedModel and LiteRT files, and check them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require_positive(self, "decoder_epochs", "decoder_learning_rate")
        if not self.decoders:
            raise UserError("--decoders names none: give segnet, unet or both")
        if self.cache_features and self.freeze != "full":
            raise UserError("--cache-features needs an encoder that stays as it is: leave out --freeze weights")
        if self.cache_features and self.strategy != "none":
            raise UserError(f"--cache-features does not work with --strategy {self.strategy}: leave one of them out")
        if not self.masks:
            raise UserError("--masks names none: give true, from-boxes or both")


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return outcome.over_seeds("yolo_segnet", config, once)


def once(config: Config, run: RunFolder) -> outcome.Outcome:
    """One seed: the detector (unless an encoder is given), then every decoder, then the controls."""
    boxes = config.encoder is None or "from-boxes" in config.masks
    fields = ("boxes", "segmentation") if boxes else ("segmentation",)
    data = fitting.load_data(config, *fields)
    result = outcome.Outcome(config, run, data)
    if config.encoder:
        encoder = config.encoder
    else:
        detector(config, run, data, result)
        encoder = run.models / "encoder.npz"
    if "true" in config.masks:
        for decoder in config.decoders:
            segmenter(decoder, encoder, config, run, data, result)
            result.export(MODELS[decoder], *data.parts["segmentation"])
    if "from-boxes" in config.masks:
        train = from_boxes.pseudo_masked(data.parts["boxes"][0], run, config.quiet)
        test = data.parts["segmentation"][1]
        unmasked = dataclasses.replace(data, parts={**data.parts, "segmentation": (train, test)})
        for decoder in config.decoders:
            segmenter(decoder, encoder, config, run, unmasked, result, suffix="_from_boxes")
            result.export(f"{MODELS[decoder]}_from_boxes", train, test)
    controls = config.control_kinds if config.controls else ()
    for decoder in config.decoders:
        if "random" in controls:
            segmenter(decoder, None, config, run, data, result)
        if "through" in controls:
            segmenter(decoder, encoder, config, run, data, result, through=True)
    if "matched" in controls and "segnet_matched" not in config.decoders:
        segmenter("segnet_matched", encoder, config, run, data, result)
    return result


def segmenter(
    decoder: str,
    encoder,
    config: Config,
    run: RunFolder,
    data: fitting.Data,
    result: outcome.Outcome,
    *,
    through=False,
    suffix: str = "",
) -> None:
    """Train and score one decoder on an encoder with the weights of a file, or with random ones (None).

    through: the encoder is trained with the decoder, and not frozen. suffix: of the model's name.
    """
    from kerastransfer.losses.pixels import pixel_loss
    from kerastransfer.models import segmenter as segmenters
    from kerastransfer.models.parts import freeze
    from kerastransfer.training import statistics, strategy, transfer

    train, test = data.parts["segmentation"]
    name = MODELS[decoder] + (suffix or ("_random" if encoder is None else "_through" if through else ""))
    classes = data.dataset.segmentation_classes

    def work() -> dict:
        with strategy.scope(config.strategy):
            part = families.encoder(config)
            report = transfer.load(part, encoder) if encoder else {"source": "random weights", "copied": []}
            if encoder is None:
                statistics.estimate(part, fitting.some_images(train, config))
            network = segmenters.segmenter(part, decoder, len(classes), name=MODELS[decoder])
            if not through:
                freeze(part, config.freeze)
            before = transfer.weights(part)
            fit = fit_on_features if config.cache_features and not through else fitting.fit
            fit(
                network,
                pixel_loss,
                {"cross_entropy": 1.0, "dice": config.dice},
                train,
                config,
                run,
                phase=name,
                fields=("segmentation",),
                epochs=config.decoder_epochs,
                learning_rate=config.decoder_learning_rate,
            )
        after = transfer.weights(part)
        if run.leads:
            outcome.keep(run, network, name, "segmentation", classes, config.image_size, resize=config.resize)
        happened = transfer.compared(before, after)
        return {**report, **happened, "frozen": [] if through else happened["frozen"]}

    transfers = run.path / "transfer_report.json"
    report = fitting.phase(config, run, name, work)
    if run.leads:
        files.write_json(transfers, {**files.read_json(transfers, {}), name: report})
    if not through and config.freeze == "full" and report["moved"]:
        raise RuntimeError(f"{name}: the encoder was frozen, but {report['moved'][:3]} moved")
    result.score(name, "segmentation", test)


def fit_on_features(
    network, terms, weights, train, config: Config, run: RunFolder, *, phase: str, fields: tuple[str, ...], **options
) -> None:
    """`fitting.fit` of what follows the encoder, on taps that are computed once."""
    from kerastransfer.models.segmenter import behind_encoder
    from kerastransfer.training import features

    decoded = fitting.decode(train, fields, config, run, phase, config.image_size)
    part = behind_encoder(network)
    taps = features.cached(
        network.get_layer("encoder"),
        decoded,
        Path(config.feature_folder),
        taps=list(part.input),
        flip=config.flip > 0,
        batch_size=config.batch_size,
        progress=None if config.quiet else "features of the frozen encoder",
    )
    size = sum(values.nbytes for values in taps.values())
    if not config.quiet:
        print(f"features in {config.feature_folder}: {size / len(decoded) / 1e6:.2f} MB for an image", flush=True)

    def batches(first_epoch, share):  # one worker alone: the settings see to it
        return features.training_batches(
            taps, decoded, batch_size=config.batch_size, flip=config.flip, seed=config.seed, first_epoch=first_epoch
        )

    fitting.fit_on(batches, len(decoded), part, terms, weights, config, run, phase=phase, **options)


if __name__ == "__main__":
    settings.run(main, Config)
