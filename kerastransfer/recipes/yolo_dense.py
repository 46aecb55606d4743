"""Dense inference of a trained detector: a map of objects without a single mask.

    python -m kerastransfer.recipes.yolo_dense --detector RUN/models/yolov1.keras --data DIR/PennFudanPed

The detector's own weights on other strides (paper A's dense mode, and a trous), and every location's box painted with
its score (box voting, ours). Thresholds are chosen on training images by their boxes; pixel AUC and IoU are against the
true masks of the test images. models/yolo_dense.keras is the segmenter that comes of it, and is exported.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kerastransfer import files
from kerastransfer.codecs.votes import classes_by_votes
from kerastransfer.data.dataset import Dataset
from kerastransfer.detectors import families
from kerastransfer.errors import UserError
from kerastransfer.metrics import segmentation
from kerastransfer.phases import dense_maps
from kerastransfer.progress import bar
from kerastransfer.recipes import detector as detection
from kerastransfer.runs import fitting, outcome, settings, trained
from kerastransfer.runs.folder import RunFolder


@dataclasses.dataclass
class Config(detection.DetectorConfig):
    """Read a trained detector at every few pixels: objectness, box votes, and a segmenter from boxes alone."""

    detector: str | None = None
    """The yolov1.keras of a trained detector, at whose image size all is done; without it one is trained first."""
    output_strides: tuple[int, ...] = (16, 8, 4)
    """Pixels between predictions a trous; the trained grid's stride, and powers of two below it down to 1."""
    stride_removed: bool = False
    """Also paper A's dense mode: every stride 1, nothing dilated. As dear as a trous at output stride 1."""
    segmenter_stride: int = 8
    """Output stride of models/yolo_dense.keras."""
    tile: int = 0
    """Side in pixels of the tiles that are computed one at a time, which bounds the memory; 0 takes the image whole."""
    threshold_images: int = 24
    """Training images whose boxes choose the thresholds."""
    beside: tuple[str, ...] = ()
    """Segmenters (.keras or .tflite) that are scored beside it."""
    pictures: int = 6
    """Test images whose maps are written to predictions/maps as arrays and overlays, and are shown in the report."""
    export: bool = True
    """Write SavedModel and LiteRT files, and check them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require_positive(self, "segmenter_stride", "threshold_images")
        for stride in (*self.output_strides, self.segmenter_stride):
            if stride < 1 or stride & (stride - 1):
                raise UserError(f"output stride {stride}: give powers of two, from 1 to the detector's own stride")
        for name in ("tile", "pictures"):
            if getattr(self, name) < 0:
                raise UserError(f"{settings.flag(name)} is {getattr(self, name)}: it must be at least 0")
        if self.detector is None and families.family(self.model) != "yolov1":
            raise UserError(f"--model {self.model}: dense inference reads the grid of YOLOv1; give --model small")
        if self.detector is None and self.head != "fully_conv":
            raise UserError(f"--head {self.head} knows one size of grid: dense inference needs --head fully_conv")
        if self.resize != "stretch":
            raise UserError(f"--resize {self.resize}: dense inference stretches images; leave it out")
        for path in (*self.beside, *filter(None, [self.detector])):
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file; give the path of a trained model")


def main(config: Config) -> dict:
    """Run the recipe; returns {map or model: {metric: value}}."""
    return outcome.over_seeds("yolo_dense", config, once)


def once(config: Config, run: RunFolder) -> outcome.Outcome:
    """One seed: the detector (unless one is given), every map, the segmenter, and what stands beside it."""
    data = fitting.load_data(config, "boxes", "segmentation")
    result = outcome.Outcome(config, run, data)
    path = config.detector
    if path is None:
        detection.detector(config, run, data, result)
        path = run.models / "yolov1.keras"
    train, test = data.parts["boxes"][0], data.parts["segmentation"][1]
    labels = dense_maps.read_detector(path)[1].labels
    classes = dense_maps.classes_of(data.dataset, labels)
    few = trained.spread(train, config.threshold_images)

    variants = {f"stride{stride}": (stride, True) for stride in (*config.output_strides, config.segmenter_stride)}
    if config.stride_removed:
        variants["stride_removed"] = (1, False)
    for name, (stride, dilate) in variants.items():
        predictor = dense_maps.open_maps(path, stride, dilate=dilate, merge=classes.merge, tile=config.tile)
        chosen = score_maps(name, predictor, classes, few, test, config, run, result)
        if stride == config.segmenter_stride and dilate:
            segmenter(predictor, chosen["votes"], classes, run)
    result.score("yolo_dense", "segmentation", test)
    result.export("yolo_dense", train, test)
    for beside in config.beside:
        score_beside(beside, test, config, run, result)
    result.figures += shown(test, config, run, variants)
    return result


def score_maps(
    name: str, predictor, classes: dense_maps.Classes, few: Dataset, test: Dataset, config: Config, run, result
) -> dict[str, list[float]]:
    """Choose the thresholds of both maps by boxes, and score the maps on the test images; returns the thresholds."""
    drawn = {sample.name for sample in trained.spread(test, config.pictures).samples} if config.pictures else set()

    def work() -> dict:
        chosen = dense_maps.thresholds(
            predictor, few, classes, bar(None if config.quiet else f"{name}: boxes choose thresholds")
        )
        tables: dict[str, dict[str, list]] = {kind: {"auc": [], "iou": []} for kind in dense_maps.KINDS}
        counts: dict[str, list] = {kind: [] for kind in dense_maps.KINDS}
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
    for kind in dense_maps.KINDS:
        result.add(f"{kind}_{name}", "map", found["metrics"][kind], found["per_image"][kind])
    return found["thresholds"]


def summary(scores: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> dict[str, float]:
    """What `metrics.segmentation.summarise` says of images scored one by one."""
    joined = {key: np.concatenate([one[key] for one in scores]) for key in scores[0]}
    return segmentation.summarise(joined, names)


def segmenter(predictor, thresholds: Sequence[float], classes: dense_maps.Classes, run: RunFolder) -> None:
    """models/yolo_dense.keras: image to logits by votes, as any segmenter of this package."""
    from kerastransfer.models.dense import yolo_dense

    def work() -> dict:
        network = yolo_dense(predictor.network, predictor.vote, thresholds)
        outcome.keep(run, network, "yolo_dense", "segmentation", classes.names, predictor.vote.image_size[0])
        return {}

    run.phase("yolo_dense", work)


def score_beside(path: str, test: Dataset, config: Config, run: RunFolder, result: outcome.Outcome) -> None:
    """AUC and IoU of another segmenter on the same images."""
    name = Path(path).stem

    def work() -> dict:
        predictor = trained.open_predictor(path)
        if predictor.metadata.task != "segmentation":
            raise UserError(f"--beside {path} is no segmenter; give one, such as RUN/models/yolo_segnet.keras")
        from kerastransfer.data.resize import resize_scores

        counts, areas = [], []
        for sample in bar(None if config.quiet else f"{name}: scoring")(test.samples):
            example = sample.read()
            truth, found = example["segmentation"], predictor.predict(example["image"])
            counts.append(segmentation.per_image([truth], [found.segmentation], len(found.names)))
            areas.append(segmentation.pixel_auc(truth, resize_scores(1 - found.probabilities[..., 0], truth.shape)))
        return {
            "metrics": {"auc_mean": float(np.nanmean(areas)), "auc_min": float(np.nanmin(areas))}
            | summary(counts, predictor.metadata.labels),
            "per_image": {s.name: float(c["iou"][0]) for s, c in zip(test.samples, counts, strict=True)},
        }

    found = run.phase(f"beside_{name}", work)
    result.add(name, "map", found["metrics"], found["per_image"])


def write_maps(folder: Path, name: str, image_name: str, image: np.ndarray, maps, thresholds) -> None:
    """Both maps of an image as NAME.npz (H, W, K), and an overlay of each (see the caption of the report's picture)."""
    from kerastransfer.tasks import overlay

    stem = folder / name / image_name.replace("/", "_")
    with files.replacing(stem.with_name(f"{stem.name}.npz")) as temporary:
        np.savez_compressed(temporary, objectness=maps.objectness.astype("f2"), votes=maps.votes.astype("f2"))
    shares = {"objectness": maps.objectness, "votes": maps.votes / (2 * np.asarray(thresholds, np.float32))}
    for kind, share in shares.items():
        with files.replacing(stem.with_name(f"{stem.name}_{kind}.png")) as temporary:
            overlay.draw_heat(image, share.max(axis=-1), 1.0).save(temporary)


def shown(test: Dataset, config: Config, run: RunFolder, variants: Iterable[str]) -> list:
    """The report's picture: test images with their truth and every map."""
    if not config.pictures:
        return []
    import PIL.Image

    from kerastransfer.report import pictures
    from kerastransfer.report.page import Figure

    columns = [f"{kind}_{name}" for kind in dense_maps.KINDS for name in variants]
    tiles = []
    for sample in trained.spread(test, config.pictures).samples:
        example = sample.read()
        tiles += [("", pictures.draw_map(example["image"], example["segmentation"]))]
        for column in columns:
            kind, _, name = column.partition("_")
            path = run.predictions / "maps" / name / f"{sample.name.replace('/', '_')}_{kind}.png"
            with PIL.Image.open(path) as picture:
                tiles += [("", pictures.fitted(np.asarray(picture.convert("RGB")), pictures.TILE))]
    sheet = pictures.sheet(tiles, columns=1 + len(columns), headings=("truth", *columns))
    caption = (
        "Truth, objectness and box votes; yellow is a score of 1, or twice the votes that make a pixel foreground."
    )
    return [("maps", Figure("Dense maps", caption, b""), sheet)]


if __name__ == "__main__":
    settings.run(main, Config)
