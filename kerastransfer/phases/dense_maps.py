"""Dense maps of a trained detector: computing, scoring and drawing them, and choosing their thresholds by boxes."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer import files
from kerastransfer.codecs.votes import classes_by_votes, threshold_by_boxes
from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError
from kerastransfer.metrics import segmentation
from kerastransfer.progress import bar
from kerastransfer.runs import outcome, trained
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    from kerastransfer.analysis.dense_predictor import DenseMaps, DensePredictor

KINDS = ("objectness", "votes")


@dataclasses.dataclass(frozen=True)
class Classes:
    """Classes of a segmentation.

    names: background first. merge: whether all classes of the detector are merged into the only foreground class.
    """

    names: tuple[str, ...]
    merge: bool

    def boxes(self, example: dict[str, np.ndarray], k: int) -> np.ndarray:
        """The boxes of an example that belong to the k-th foreground class; all boxes, if classes are merged."""
        return example["boxes"] if self.merge else example["boxes"][example["labels"] == k]


def classes_of(dataset: Dataset, labels: Sequence[str]) -> Classes:
    """The classes of a data set's segmentation, for a detector with these labels. Raises UserError if they do not
    correspond."""
    names = dataset.segmentation_classes
    if tuple(labels) == names[1:]:
        return Classes(names, merge=False)
    if len(names) == 2:
        return Classes(names, merge=True)
    raise UserError(
        f"the masks of {dataset.name} have the classes {', '.join(names[1:])}, the boxes {', '.join(labels)}; boxes "
        "can replace masks only if the classes are the same, or if the masks have a single class"
    )


def read_detector(path: str | Path) -> tuple[Any, About]:
    """The network in NAME.keras, and its `About`. Raises UserError unless it is a detector with a single grid."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec

    network, about = trained.stored(path)
    if about.task != "detection":
        raise UserError(f"{path} is for {about.task}; dense maps need a detector, such as RUN/models/yolov1.keras")
    if not isinstance(about.decoder, YoloV1Codec):
        raise UserError(
            f"{path} is a detector with several grids; give one with the single grid of YOLOv1, RUN/models/yolov1.keras"
        )
    if about.resize != "stretch":
        raise UserError(f"{path} was trained with --resize {about.resize}; give one trained with --resize stretch")
    return network, about


def open_maps(path: str | Path, output_stride: int, *, dilate: bool, merge: bool, tile: int = 0) -> "DensePredictor":
    """The detector in NAME.keras, rebuilt for dense maps. Raises UserError for another model or an invalid stride."""
    network, about = read_detector(path)
    from kerastransfer.analysis.dense_predictor import DensePredictor
    from kerastransfer.codecs.layers import Vote
    from kerastransfer.encoders import taps
    from kerastransfer.models.dense import dense

    try:
        rebuilt = dense(network, output_stride, dilate=dilate)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    stride = max(taps.strides(network.get_layer("encoder")).values())
    vote = Vote(about.decoder, output_stride, stride, about.image_size, merge, name="vote")
    return DensePredictor(rebuilt, vote, tile)


def thresholds(
    predictor: "DensePredictor", dataset: Dataset, classes: Classes, progress: Callable[[Iterable], Iterable] = iter
) -> dict[str, list[float]]:
    """{"objectness", "votes": a threshold for each class}, chosen only by the boxes of the data set."""
    examples = [sample.read() for sample in dataset.samples]
    maps: list[DenseMaps] = [predictor.maps(example["image"]) for example in progress(examples)]
    chosen: dict[str, Any] = {}
    for kind in KINDS:
        found = [getattr(one, kind) for one in maps]
        chosen[kind] = [
            threshold_by_boxes([values[..., k] for values in found], [classes.boxes(e, k) for e in examples])
            for k in range(len(classes.names) - 1)
        ]
    return chosen


def score_maps(
    name: str, predictor, classes: Classes, few: Dataset, test: Dataset, config, run: RunFolder, result: outcome.Outcome
) -> dict[str, list[float]]:
    """Choose the thresholds of both maps by boxes, and score the maps on the test images. Returns the thresholds."""
    drawn = {sample.name for sample in test.spread(config.pictures).samples} if config.pictures else set()

    def work() -> dict:
        chosen = thresholds(predictor, few, classes, bar(None if config.quiet else f"{name}: boxes choose thresholds"))
        tables: dict[str, dict[str, list]] = {kind: {"auc": [], "iou": []} for kind in KINDS}
        counts: dict[str, list] = {kind: [] for kind in KINDS}
        for sample in bar(None if config.quiet else f"{name}: scoring")(test.samples):
            example = sample.read()
            truth, maps = example["segmentation"], predictor.maps(example["image"])
            for kind, table in tables.items():
                values = getattr(maps, kind)
                found = classes_by_votes(values, chosen[kind])
                scores = segmentation.per_image([truth], [found], len(classes.names))
                counts[kind].append(scores)
                table["auc"].append(segmentation.pixel_auc(truth, values.max(axis=-1)))
                table["iou"].append(float(scores["iou"][0]))
            if sample.name in drawn:
                write_maps(run.predictions / "maps", name, sample.name, example["image"], maps, chosen["votes"])
        names = [sample.name for sample in test.samples]
        return {
            "thresholds": chosen,
            "metrics": {
                kind: {"auc_mean": float(np.nanmean(table["auc"])), "auc_min": float(np.nanmin(table["auc"]))}
                | summary(counts[kind], classes.names)
                for kind, table in tables.items()
            },
            "per_image": {kind: dict(zip(names, table["iou"], strict=True)) for kind, table in tables.items()},
        }

    found = run.phase(f"maps_{name}", work)
    for kind in KINDS:
        result.add(f"{kind}_{name}", found["metrics"][kind], found["per_image"][kind], "auc_mean", "IoU", "beside")
    return found["thresholds"]


def summary(scores: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> dict[str, float]:
    """`metrics.segmentation.summarise` for images that were scored one by one."""
    joined = {key: np.concatenate([one[key] for one in scores]) for key in scores[0]}
    return segmentation.summarise(joined, names)


def voting_segmenter(predictor, thresholds: Sequence[float], classes: Classes, run: RunFolder) -> None:
    """Write models/yolo_dense.keras: image to logits by votes, like any segmenter of this package."""
    from kerastransfer.models.dense import yolo_dense

    def work() -> dict:
        network = yolo_dense(predictor.network, predictor.vote, thresholds)
        outcome.keep(run, "yolo_dense", network, About("segmentation", classes.names, predictor.vote.image_size))
        return {}

    run.phase("yolo_dense", work)


def score_beside(path: str, test: Dataset, config, run: RunFolder, result: outcome.Outcome) -> None:
    """Score another segmenter on the same images: AUC and IoU."""
    name = Path(path).stem

    def work() -> dict:
        predictor = trained.open_predictor(path)
        if predictor.about.task != "segmentation":
            raise UserError(f"--beside {path} is not a segmenter; give one, such as RUN/models/yolo_segnet.keras")
        from kerastransfer.data.resize import resize_scores

        counts, areas = [], []
        for sample in bar(None if config.quiet else f"{name}: scoring")(test.samples):
            example = sample.read()
            truth, found = example["segmentation"], predictor.predict(example["image"])
            counts.append(segmentation.per_image([truth], [found.segmentation], len(found.names)))
            areas.append(segmentation.pixel_auc(truth, resize_scores(1 - found.probabilities[..., 0], truth.shape)))
        return {
            "metrics": {"auc_mean": float(np.nanmean(areas)), "auc_min": float(np.nanmin(areas))}
            | summary(counts, predictor.about.labels),
            "per_image": {s.name: float(c["iou"][0]) for s, c in zip(test.samples, counts, strict=True)},
        }

    found = run.phase(f"beside_{name}", work)
    result.add(name, found["metrics"], found["per_image"], "auc_mean", "IoU", "beside")


def write_maps(folder: Path, name: str, image_name: str, image: np.ndarray, maps, thresholds) -> None:
    """Write both maps of an image (H, W, K) to NAME.npz, and an overlay of each (see the caption in `shown`)."""
    from kerastransfer.tasks import drawing

    stem = folder / name / image_name.replace("/", "_")
    with files.replacing(stem.with_name(f"{stem.name}.npz")) as temporary:
        np.savez_compressed(temporary, objectness=maps.objectness.astype("f2"), votes=maps.votes.astype("f2"))
    shares = {"objectness": maps.objectness, "votes": maps.votes / (2 * np.asarray(thresholds, np.float32))}
    for kind, share in shares.items():
        with files.replacing(stem.with_name(f"{stem.name}_{kind}.png")) as temporary:
            drawing.heat(image, share.max(axis=-1), 1.0).save(temporary)


def shown(test: Dataset, config, run: RunFolder, variants: Iterable[str]) -> list:
    """The figure of the report: test images with their ground truth and all maps."""
    if not config.pictures:
        return []
    import PIL.Image

    from kerastransfer.report import pictures
    from kerastransfer.report.page import Figure

    columns = [f"{kind}_{name}" for kind in KINDS for name in variants]
    tiles = []
    for sample in test.spread(config.pictures).samples:
        example = sample.read()
        tiles += [("", pictures.draw_map(example["image"], example["segmentation"]))]
        for column in columns:
            kind, _, name = column.partition("_")
            path = run.predictions / "maps" / name / f"{sample.name.replace('/', '_')}_{kind}.png"
            with PIL.Image.open(path) as picture:
                tiles += [("", pictures.fitted(np.asarray(picture.convert("RGB")), pictures.TILE))]
    sheet = pictures.sheet(tiles, columns=1 + len(columns), headings=("truth", *columns))
    caption = (
        "Truth, objectness and box votes; yellow is a score of 1, or twice the votes that a foreground pixel needs."
    )
    return [("maps", Figure("Dense maps", caption, b""), sheet)]
