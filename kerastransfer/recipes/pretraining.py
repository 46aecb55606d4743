"""What is detection a better start for than classification? Two pre-trainings, fine-tuned on three tasks and analysed.

    python -m kerastransfer.recipes.pretraining
    python -m kerastransfer.recipes.pretraining --data DIR --seeds 0 1 2
    python -m kerastransfer.recipes.pretraining --data DIR --models yolov3-tiny mobilenet-v2

One encoder learns from the boxes of the training images, another from their classes, for equally many steps; or both
are given. Each is then fine-tuned to a detector, to a segmenter (DeepLab) and to a classifier, as far as the images are
annotated. The report is in the order of Li et al. 2019, "An Analysis of Pre-Training on Object Detection": each claim
with its measured difference and whether it held (docs/analysis.md).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kerastransfer import detectors
from kerastransfer.analysis.material import Classified, Detected, Features, Segmented
from kerastransfer.detectors.detector import Purpose
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.phases import compared, studies
from kerastransfer.phases.classifier import ClassifierConfig, classifier
from kerastransfer.phases.detector import DetectorConfig, detector
from kerastransfer.phases.pair import PairConfig, encoders, load, require_fit, required
from kerastransfer.phases.segmenter import SegmenterConfig, require_decoders, segmenter, strided
from kerastransfer.runs import command_line, grid, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.settings import one_of

if TYPE_CHECKING:
    import keras

LEAD = "Two encoders that had learnt different things were fine-tuned on the same images and compared."
# {field that the images need: the kind of models that are trained on it}
TASKS = {"boxes": Detected, "segmentation": Segmented, "label": Classified}


@dataclasses.dataclass
class Config(PairConfig):
    """Compare detection with classification as a pre-training."""

    CHOSEN: ClassVar = {**PairConfig.CHOSEN, "net": ("model", detectors.settings_of)}
    TOY: ClassVar = {
        "image_size": 96,
        "encoder": "small",
        "model": "small",
        "batch_size": 8,
        "fraction": 0.5,
        "pretext_epochs": 8,
        "detector_epochs": 10,
        "decoder_epochs": 4,
        "classifier_epochs": 4,
        "learning_rate": 4e-3,
        "finetune_learning_rate": 2e-3,
        "scale": [0.7, 1.2],
    }

    tasks: tuple[str, ...] = ("boxes", "segmentation", "label")
    """What to fine-tune for, as far as the images are annotated: boxes (a detector), segmentation (a segmenter), label
    (a classifier)."""
    model: str = "retinanet"
    """The detector to fine-tune: retinanet, fcos or faster_rcnn, for encoders with maps of stride 8, 16 and 32; or
    small, a YOLOv1 detector, for any encoder."""
    net: one_of(detectors.SETTINGS) = None
    """Settings of the family that --model belongs to; its encoder is that of each pre-training."""
    detector_epochs: int = 40
    """Number of epochs to fine-tune each detector for."""
    decoder: str = "deeplab"
    """The decoder of the segmenters: deeplab, segnet, unet or unet_plain."""
    output_stride: int = 16
    """Largest stride of the encoder under the decoder, 8 or 16: strides beyond it are replaced by dilation, with the
    same weights, as DeepLab does. With 0 the encoder stays as it is."""
    dice: float = 1.0
    """Weight of the Dice loss, which is added to the cross-entropy; with 0 only cross-entropy is used, as DeepLab
    does."""
    decoder_epochs: int = 40
    """Number of epochs to fine-tune each segmenter for; all of it is trained."""
    decoder_learning_rate: float = 1e-3
    """Peak learning rate of the segmenters."""
    finetune_learning_rate: float = 1e-3
    """Peak learning rate of the detectors and classifiers; --learning-rate is that of the pretexts."""
    classifier_epochs: int = 30
    """Number of epochs to fine-tune each classifier for."""
    export: bool = False
    """Export the detectors and the classifiers as SavedModel and LiteRT files, and check them against the Keras
    models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "detector_epochs", "decoder_epochs", "classifier_epochs")
        require_positive(self, "decoder_learning_rate", "finetune_learning_rate")
        if unknown := [name for name in self.tasks if name not in TASKS]:
            raise UserError(f"unknown --tasks {unknown[0]}; choose {', '.join(TASKS)}")
        if not hasattr(self.net, "encoder"):
            raise UserError(
                f"--model {self.model} has an encoder of its own; choose retinanet, fcos, faster_rcnn or small"
            )


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return grid.over_seeds("pretraining", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    require_decoders((config.decoder,), "--decoder")
    studies.require_possible(config, {Features, *(TASKS[field] for field in config.tasks)})
    data = load(config, *required(config))
    wanted = studies.needs(config)
    fields = [
        field for field, kind in TASKS.items() if field in config.tasks and field in data.parts and kind in wanted
    ]
    require_fit(config, lambda encoder: require_networks(encoder, fields, config, data))
    result = Outcome(config, run, data, LEAD)
    files = encoders(config, run, data, result)
    models = {TASKS[field]: finetuned(field, files, config, run, data, result) for field in fields}
    both = compared.Compared(files, models)
    studies.make(config, compared.sources(both, config, run, data, tap=config.tap), run, result)
    return result


def require_networks(encoder: "keras.Model", fields: Sequence[str], config: Config, data: Data) -> None:
    """Raises UserError for an encoder that the detector, or the decoder of the segmenters, does not go on, and for
    images of one class, where classifiers are wanted."""
    from kerastransfer.models.classifier import require_classes
    from kerastransfer.models.segmenter import segmenter as network

    if "boxes" in fields:
        train = data.parts["boxes"][0]
        purpose = Purpose(
            train.classes, config.image_size, train, config.resize, config.seed, encoder=lambda _: encoder
        )
        detectors.family(config.model).build(net_on("encoder.keras", config), config.model, purpose).build()
    if "segmentation" in fields:
        network(strided(encoder, beyond(encoder, config)), config.decoder, len(data.dataset.segmentation_classes))
    if "label" in fields:
        require_classes(len(data.dataset.image_classes))


def beyond(encoder: "keras.Model", config: Config) -> int:
    """--output-stride for an encoder with a larger stride, and 0 for others."""
    from kerastransfer.encoders import taps

    return config.output_stride if max(taps.strides(encoder).values()) > config.output_stride else 0


def net_on(encoder: str, config: Config) -> Any:
    """The settings of the detector, on an encoder."""
    return dataclasses.replace(config.net, encoder=encoder)


def finetuned(
    field: str, files: dict[str, Path | str], config: Config, run: RunFolder, data: Data, result: Outcome
) -> dict[str, Path]:
    """{name of the encoder: file of the model} that is trained on `field` from each encoder."""
    found = {}
    for name, encoder in files.items():
        model = f"{name}_{field}"
        if field == "boxes":
            net = net_on(str(encoder), config)
            own = of(DetectorConfig, config, net=net, learning_rate=config.finetune_learning_rate)
            detector(own, run, data, result, name=model)
        elif field == "segmentation":
            own = of(SegmenterConfig, config, output_stride=beyond(trained.encoder(encoder), config))
            segmenter(model, config.decoder, Path(encoder), own, run, data, result, freeze="none")
        else:
            own = of(ClassifierConfig, config, learning_rate=config.finetune_learning_rate)
            classifier(model, Path(encoder), own, run, data, result, encoder=None)
        result.forget(model)
        found[name] = run.models / f"{model}.keras"
    result.compare(*(f"{name}_{field}" for name in files))
    return found


def of(kind: type, config: Config, **own: Any) -> Any:
    """The settings of a phase: those that the recipe has as well, and `own`."""
    shared = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(kind) if hasattr(config, field.name)
    }
    return kind(**shared | own)


if __name__ == "__main__":
    command_line.run(main, Config)
