"""The phases of Models Genesis (Zhou et al. 2019): a 3-D U-Net learns to restore deformed volumes, and is then trained
to segment a few labelled ones, from all of what it learnt, from its encoder, or from random weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fit_settings, fitting, outcome, under_tensorflow
from kerastransfer.runs.folder import RunFolder

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.volumes import Volumes

# The scenarios of Dippel et al. 2022 by the parts that are transferred: 1, 3 and 4 of figure 1.
SCENARIOS = {"random": (), "encoder-decoder": ("encoder", "decoder"), "encoder": ("encoder",)}
# The model that each trains; models/encoder.keras is an encoder alone in every run.
MODELS = {"random": "random", "encoder-decoder": "encoder_decoder", "encoder": "encoder_only"}
PRETEXT = "genesis"
# LiteRT files are compared with Keras on so many test volumes.
COMPARED = 4


@dataclasses.dataclass
class GenesisConfig(fit_settings.FitConfig):
    """The flags of all recipes that train on volumes."""

    data: str = "toy"
    """The volumes: a folder with imagesTr/ and labelsTr/ of NIfTI files (Medical Segmentation Decathlon), or with
    images/ and labels/ of .npy files, or drawn ones (`toy`, `toy:COUNT`). Every fifth by name tests."""
    batch_size: int = 4
    """Number of cubes in a training step, over all replicas."""
    volumes: int = 10
    """Number of labelled training volumes to fine-tune on; the seed decides which, and fewer are a subset of more. The
    pretext uses all training volumes, without their labels."""
    spacing: tuple[float, ...] = ()
    """Resample all volumes to voxels with these three sides in millimetres; by default they stay as they are."""
    cube: tuple[int, ...] = (32, 48, 32)
    """Sides, in voxels, of the cubes that are cut from volumes; multiples of 2 ** (depth - 1)."""
    width: int = 16
    """Number of filters of the first convolution; 32 is published."""
    depth: int = 4
    """Number of levels of the U-Net."""
    pretext_epochs: int = 60
    """Number of epochs of the pretext; in an epoch each training volume is seen once."""
    pretext_learning_rate: float = 2e-3
    """Peak learning rate of the pretext; --learning-rate is that of the segmenters."""
    segmenter_epochs: int = 150
    """Number of epochs to train each segmenter for."""
    dice: float = 1.0
    """Weight of the Dice loss, which is added to the cross-entropy; with 0 only cross-entropy is used."""
    flip: float = 0.5
    """Augmentation of segmenters: probability that a cube is mirrored from left to right. The pretext has flips of its
    own."""
    shift: int = 4
    """Augmentation: largest number of voxels by which a cube reaches beyond the border of a volume."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "volumes", "width", "depth", "pretext_epochs", "segmenter_epochs")
        require_positive(self, "pretext_learning_rate")
        for name in ("dice", "shift"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be at least 0")
        if not 0 <= self.flip <= 1:
            raise UserError(f"--flip is {self.flip}; give a probability, from 0 to 1")
        if self.spacing and (len(self.spacing) != 3 or min(self.spacing) <= 0):
            raise UserError(f"--spacing is {_told(self.spacing)}; give three sides in millimetres, such as 1 1 1")
        if self.precision == "float16":
            raise UserError(
                "--precision float16: TensorFlow pools no volumes in it on a CPU; give bfloat16, which is as fast"
            )
        stride = 2 ** (self.depth - 1)
        if len(self.cube) != 3 or any(side < stride or side % stride for side in self.cube):
            raise UserError(
                f"--cube is {_told(self.cube)}; --depth {self.depth} needs three multiples of {stride}, such as "
                f"{4 * stride} {6 * stride} {4 * stride}"
            )


def pretext(config: GenesisConfig, run: RunFolder, train: "Volumes") -> Path:
    """Train a network to restore deformed volumes, and return its file, models/genesis.keras. Labels are not read. Its
    encoder is kept as models/encoder.keras, too."""
    from kerastransfer.data.genesis import Deformations
    from kerastransfer.losses.volumes import restoration_loss
    from kerastransfer.models import genesis
    from kerastransfer.training import strategy

    path = run.models / f"{PRETEXT}.keras"

    def work() -> dict:
        with strategy.scope(config.strategy):
            network = genesis.genesis(width=config.width, depth=config.depth)
            rate = config.pretext_learning_rate
            objective = fitting.Objective(network, restoration_loss, {"mse": 1.0}, (), config.pretext_epochs, rate)
            _fit(objective, train, Deformations(), config, run, PRETEXT, flip=0.0)
        if run.leads:
            outcome.keep_part(run, PRETEXT, network)
            outcome.keep_part(run, "encoder", network.get_layer("encoder"))
        return {}

    fitting.phase(config, run, PRETEXT, work)
    return path


def segmenter(
    scenario: str,
    source: Path,
    config: GenesisConfig,
    run: RunFolder,
    train: "Volumes",
    test: "Volumes",
    result: outcome.Outcome,
) -> str:
    """Train a segmenter on the labelled volumes `train`, score it on `test`, and return its name.

    scenario: of `SCENARIOS`; its parts begin with the weights in the file `source`, the others with random ones.
    """
    from kerastransfer.data.cubes import segmented
    from kerastransfer.export.loading import load_keras
    from kerastransfer.losses.volumes import voxel_loss
    from kerastransfer.models.genesis import genesis_segmenter
    from kerastransfer.training import strategy, transfer

    name, parts = MODELS[scenario], SCENARIOS[scenario]

    def work() -> dict:
        with strategy.scope(config.strategy):
            network = genesis_segmenter(len(train.classes), width=config.width, depth=config.depth)
            trained = load_keras(source) if parts else None
            report = {part: transfer.load(network.get_layer(part), trained.get_layer(part)) for part in parts}
            objective = fitting.Objective(
                network,
                voxel_loss,
                {"cross_entropy": 1.0, "dice": config.dice},
                (),
                config.segmenter_epochs,
                config.learning_rate,
            )
            _fit(objective, train, segmented, config, run, name, flip=config.flip)
        if run.leads:
            outcome.keep_part(run, name, network)
            files.write_json(run.models / f"{name}.json", about(config, train.classes))
        fresh = [part for part in ("encoder", "decoder", "head") if part not in parts]
        return {"source": str(source) if parts else "random weights", "fresh": fresh, **report}

    run.write_transfer(name, fitting.phase(config, run, name, work))
    found = run.phase(f"score_{name}", lambda: _scored(name, config, run, test, result))
    result.add(name, found["metrics"], found["per_image"], "dice_mean", "Dice", "subject" if parts else "control")
    return name


def about(config: GenesisConfig, classes: Sequence[str]) -> dict[str, Any]:
    """What models/NAME.json says: how a network of volumes is used."""
    from kerastransfer.data.volumes import CLIPPED

    return {
        "task": "volumes",
        "labels": list(classes),
        "cube": list(config.cube),
        "spacing": list(config.spacing),
        "axes": "left to right, posterior to anterior, inferior to superior",
        "range": f"percentiles {CLIPPED:g} and {100 - CLIPPED:g} of a volume become 0 and 1",
    }


def export(name: str, config: GenesisConfig, run: RunFolder, test: "Volumes", result: outcome.Outcome) -> None:
    """Write tflite/NAME.tflite for cubes of --cube, in float32, and compare it with the Keras model on test volumes."""

    def work() -> dict:
        from kerastransfer.data.cubes import cut, windows

        result.say(f"exporting {name}")
        cubes = [
            cut(one.image, next(windows(one.image.shape, config.cube)), config.cube) for one in test.volumes[:COMPARED]
        ]
        return under_tensorflow.call(export_file, run.models / f"{name}.keras", run.tflite / f"{name}.tflite", cubes)

    result.models[name].exported = run.phase(f"export_{name}", work)["files"]


def export_file(model: Path, path: Path, cubes: Sequence[np.ndarray]) -> dict[str, list[dict]]:
    """`export.volumes.export` of the network in a file; returns {"files": [its record]}."""
    from kerastransfer.export import volumes
    from kerastransfer.export.loading import load_keras

    record = volumes.export(load_keras(model), path, cubes)
    return {"files": [{**dataclasses.asdict(record), "path": record.path.name}]}


def predictions(name: str, config: GenesisConfig, run: RunFolder, volumes: "Volumes") -> "list[np.ndarray]":
    """What models/NAME.keras predicts for each volume, (D, H, W) of classes."""
    from kerastransfer.export.loading import load_keras
    from kerastransfer.models.windows import labels_of

    network = _called(load_keras(run.models / f"{name}.keras"))
    return [labels_of(network, one.image, config.cube) for one in volumes.volumes]


def restorations(
    config: GenesisConfig, run: RunFolder, volumes: "Volumes"
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(as it is, deformed, restored) of the middle cube of each volume, (d, h, w) each."""
    from kerastransfer.data.cubes import cut
    from kerastransfer.data.genesis import Deformations
    from kerastransfer.export.loading import load_keras

    network, found = _called(load_keras(run.models / f"{PRETEXT}.keras")), []
    # All deformations at once, and no flip, so that the three pictures can be compared.
    deform = Deformations(flip=0.0, shuffle=1.0, bend=1.0, paint=1.0)
    for number, one in enumerate(volumes.volumes):
        corner = tuple((side - length) // 2 for side, length in zip(one.image.shape, config.cube, strict=True))
        deformed, whole = deform(np.random.default_rng((config.seed, number)), cut(one.image, corner, config.cube))
        found.append((whole, deformed, network(deformed[None, ..., None])[0, ..., 0]))
    return found


def _fit(objective, volumes, view, config, run, phase, *, flip):
    from kerastransfer.data.cubes import training_batches

    def batches(first_epoch, share):
        return training_batches(
            volumes.volumes,
            view,
            cube=tuple(config.cube),
            batch_size=config.batch_size,
            seed=config.seed,
            shift=config.shift,
            flip=flip,
            first_epoch=first_epoch,
            share=share,
            threads=config.loader_threads,
        )

    fitting.fit_on(batches, len(volumes), objective, config, run, phase)


def _scored(name, config, run, test, result) -> dict[str, Mapping]:
    from kerastransfer.metrics import volumes as metrics

    result.say(f"scoring {name} on {len(test)} test volumes")
    found = predictions(name, config, run, test)
    scores = metrics.per_volume([one.labels for one in test.volumes], found, len(test.classes))
    names, classes = [one.name for one in test.volumes], test.classes[1:]
    each = {
        volume: {"dice": dice, **dict(zip(classes, by_class, strict=True))}
        for volume, dice, by_class in zip(names, scores["dice"], scores["class_dice"], strict=True)
    }
    files.write_json(run.predictions / f"{name}.json", each)
    return {
        "metrics": metrics.summarise(scores, test.classes),
        "per_image": dict(zip(names, scores["dice"], strict=True)),
    }


def _called(network: "keras.Model"):
    import keras

    return lambda cubes: keras.ops.convert_to_numpy(network(cubes, training=False))


def _told(values):
    return " ".join(map(str, values))
