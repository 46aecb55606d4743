"""How well two models segment after the same fine-tuning (Li et al. 2019, section 4.2 and table 4): mean IoU over the
classes, background included, from the pixels of all test images together."""

import dataclasses
from collections.abc import Callable

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings
from kerastransfer.analysis.material import Segmented, pair
from kerastransfer.flags import require_positive, some
from kerastransfer.metrics import bootstrap, pooled
from kerastransfer.metrics.segmentation import confusion

TITLE = "Segmentation after fine-tuning"
NEEDS = Segmented


@dataclasses.dataclass
class Settings:
    """Settings of the comparison of segmenters."""

    resamples: int = 1000
    """Number of draws of the test images that the intervals come from."""
    seed: int = 0
    """Seed of these draws."""

    def __post_init__(self) -> None:
        require_positive(self, "resamples", prefix="segmentation.")


def study(settings: Settings, material: Segmented, progress: Callable) -> Findings:
    """The IoU of both models, of all classes and of each."""
    from kerastransfer.report import figures
    from kerastransfer.report.page import Estimate, Figure, Table

    first, second = names = pair(material.found)
    classes = material.classes
    # (N, 2, 3, K)
    counted = np.stack(
        [
            [_counts(material.truth(image), material.found[name](image), len(classes)) for name in names]
            for image in progress(range(len(material.names)))
        ]
    )
    whole, drawn = pooled.resampled(counted, len(counted), resamples=settings.resamples, seed=settings.seed)
    # A class that is nowhere counts as 0, as in the paper's code, so that the mean is always over the same classes.
    means, each = pooled.mean_iou(whole, absent=0.0), pooled.class_iou(whole)
    again, each_again = pooled.mean_iou(drawn, absent=0.0), pooled.class_iou(drawn)

    def differing(values, resampled):
        ends = pooled.ends(resampled[:, 0] - resampled[:, 1])
        return Estimate(float(values[0] - values[1]), *map(float, ends))

    mean = differing(means, again)
    rows = [("mean", [*map(float, means), mean])]
    rows += [
        (name, [*map(float, each[:, k]), differing(each[:, k], each_again[:, :, k])]) for k, name in enumerate(classes)
    ]
    numbers = {
        name: {
            "iou_voc": float(means[model]),
            **{f"iou/{label}": float(value) for label, value in zip(classes, each[model], strict=True)},
        }
        for model, name in enumerate(names)
    }
    of_images = pooled.mean_iou(counted)
    paired = bootstrap.paired_difference(of_images[:, 0], of_images[:, 1], seed=settings.seed)
    return Findings(
        TITLE,
        text=[
            f"Mean IoU over {len(classes)} classes, background included, from one confusion matrix of the "
            f"{len(counted)} test images; void pixels are not scored. The intervals are over draws of the test images; "
            "those of classes that few images have are rough.",
            *_absent(classes, whole),
        ],
        numbers=numbers,
        tables=[Table([first, second, "difference"], rows, "IoU of the test set", "class")],
        figures=[
            (
                "segmentation",
                Figure("Mean IoU of each image", "Over the classes that are in the truth or the prediction of the "
                       "image, background included.", b"", chart=True),
                figures.paired(of_images[:, 0], of_images[:, 1], names, difference=paired),
            )
        ],
        claims=[
            Claim(
                "Pre-training on detection is better for segmentation than pre-training on classification (in the "
                "paper by about 0.03).",
                f"mean IoU, {first} minus {second}",
                mean,
            )
        ],
    )  # fmt: skip


def _counts(truth, prediction, number):
    return pooled.counts(confusion(truth, prediction, number))


def _absent(classes, whole):
    missing = [name for name, pixels in zip(classes, whole[0, 1], strict=True) if not pixels]
    if not missing:
        return []
    return [f"No test image has {some(missing)}: in the mean each of these classes counts as 0, for both models."]
