import contextlib
import io
import json
import math

import numpy as np
import pytest

from kerastransfer.metrics import detection

SIZES = ("small", "medium", "large")
NAMES = ("AP", "AP50", "AP75", *(f"AP_{s}" for s in SIZES), "AR1", "AR10", "AR100", *(f"AR_{s}" for s in SIZES))


def random_boxes(rng, count):
    """Of every size: COCO's small objects end at 32 pixels, its large ones start at 96."""
    first, sides = rng.uniform(0, 0.7, (count, 2)), rng.uniform(0.03, 0.5, (count, 2))
    return np.concatenate([first, np.minimum(first + sides, 1)], -1).astype(np.float32)


def filled(boxes, size, rng):
    """Masks (N, H, W) of the boxes, with ragged insides."""
    y, x = np.mgrid[: size[0], : size[1]]
    y1, x1, y2, x2 = (boxes * [*size, *size]).T[:, :, None, None]
    return (y >= y1) & (y < y2) & (x >= x1) & (x < x2) & (rng.uniform(size=size) < 0.9)


def random_set(seed, images, classes, masks=False):
    """Truths and detections that are partly right; tied scores, crowds and empty images on either side."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for number in rng.permutation(images):
        size = tuple(int(length) for length in rng.integers(90, 300, 2))
        count = int(rng.integers(0, 8))
        boxes, labels = random_boxes(rng, count), rng.integers(0, classes, count)
        noise = random_boxes(rng, int(rng.integers(0, 6)))
        found = np.concatenate([np.clip(boxes + rng.normal(0, 0.01, boxes.shape), 0, 1), noise])[: rng.integers(0, 14)]
        wrong = rng.integers(0, classes, len(found))
        right = np.concatenate([labels, wrong])[: len(found)]
        truth = {"name": f"{number:03d}", "size": size, "boxes": boxes, "labels": labels}
        truth["crowd"] = rng.uniform(size=count) < 0.15
        detected = {"name": truth["name"], "boxes": found, "scores": np.round(rng.uniform(size=len(found)), 1)}
        detected["labels"] = np.where(rng.uniform(size=len(found)) < 0.2, wrong, right)
        if masks:
            truth["masks"], detected["masks"] = filled(boxes, size, rng), filled(found, size, rng)
        truths.append(truth)
        detections.append(detected)
    return truths, detections


def pycocotools_scores(truths, detections, classes, iou_type):
    """The same numbers from COCO's own code, on files made here."""
    coco, cocoeval, coder = (
        pytest.importorskip(f"pycocotools.{module}") for module in ("coco", "cocoeval", "mask")
    )  # not the package's own conversion
    ids = {name: number for number, name in enumerate(sorted(truth["name"] for truth in truths), start=1)}
    sizes = {truth["name"]: truth["size"] for truth in truths}

    def entries(record):
        height, width = sizes[record["name"]]
        for index, (y1, x1, y2, x2) in enumerate(np.asarray(record["boxes"], np.float64)):
            entry = {"image_id": ids[record["name"]], "category_id": int(record["labels"][index]) + 1}
            entry["bbox"] = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
            if iou_type == "segm":
                entry["segmentation"] = coder.encode(np.asfortranarray(record["masks"][index].astype(np.uint8)))
                entry["area"] = float(record["masks"][index].sum())
            if "scores" in record:
                entry |= {"score": float(record["scores"][index])}
                if iou_type == "segm":
                    del entry["bbox"]
            else:
                entry |= {"iscrowd": int(record["crowd"][index])}
            yield entry

    annotations = [entry for truth in truths for entry in entries(truth)]
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": ids[name], "height": sizes[name][0], "width": sizes[name][1]} for name in ids],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
        "annotations": [entry | {"id": number} for number, entry in enumerate(annotations, start=1)],
    }
    truth.createIndex()
    scorer = cocoeval.COCOeval(truth, truth.loadRes([e for d in detections for e in entries(d)]), iou_type)
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    per_class = scorer.eval["precision"][0, :, :, 0, 2].mean(0)
    return dict(zip(NAMES, scorer.stats, strict=True)) | {f"AP50/{k}": value for k, value in enumerate(per_class)}


@pytest.mark.parametrize(
    ("seed", "images", "classes", "iou_type"),
    [(0, 40, 1, "bbox"), (1, 60, 5, "bbox"), (2, 30, 60, "bbox"), (3, 30, 3, "segm"), (4, 10, 20, "segm")],
)
def test_equals_pycocotools(seed, images, classes, iou_type):
    truths, detections = random_set(seed, images, classes, masks=iou_type == "segm")
    with contextlib.redirect_stdout(io.StringIO()):
        expected = pycocotools_scores(truths, detections, classes, iou_type)
    scores = detection.evaluate(
        iter(truths), iter(detections), [str(number) for number in range(classes)], iou_type=iou_type
    )
    assert 0.1 < scores["AP50"] < 0.95  # neither trivial end
    assert scores.keys() == expected.keys()
    for name, value in expected.items():
        assert scores[name] == pytest.approx(math.nan if value < 0 else value, abs=1e-9, nan_ok=True), name


def one_square(name="a", **more):
    return {"name": name, "size": (100, 200), "boxes": np.array([[0.1, 0.1, 0.5, 0.5]]), "labels": [0]} | more


def test_hand_computed_average_precision():
    """Found first, then two false ones, of two objects: precision is 1 at the 51 of COCO's 101 recalls up to 0.5."""
    truth = one_square(boxes=[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]], labels=[0, 0])
    boxes = [[0.0, 0.0, 0.5, 0.5], [0.0, 0.6, 0.2, 0.8], [0.8, 0.0, 0.9, 0.1]]
    found = {"name": "a", "boxes": boxes, "scores": [0.9, 0.8, 0.7], "labels": [0, 0, 0]}
    scores = detection.evaluate([truth], [found], ["thing"])
    assert scores["AP"] == pytest.approx(51 / 101)
    assert scores["AP50/thing"] == pytest.approx(51 / 101)
    assert scores["AR100"] == pytest.approx(0.5)


def test_nothing_found_scores_zero_and_nothing_to_find_scores_nan(capsys):
    none = {"name": "a", "boxes": np.zeros((0, 4)), "scores": [], "labels": []}
    for detections in ([], [none]):
        scores = detection.evaluate([one_square()], detections, ["thing", "other"])
        assert scores["AP"] == scores["AR100"] == scores["AP50/thing"] == 0.0
        assert math.isnan(scores["AP50/other"]) and math.isnan(scores["AP_large"])
    empty = one_square(boxes=np.zeros((0, 4)), labels=[])
    assert math.isnan(detection.evaluate([empty], [one_square() | {"scores": [0.5]}], ["thing"])["AP"])
    assert capsys.readouterr() == ("", "")


def test_no_mask_found_scores_zero():
    truth = one_square(masks=np.ones((1, 100, 200), bool))
    assert detection.evaluate([truth], [], ["thing"], iou_type="segm")["AP"] == 0.0


def test_padding_is_left_out():
    padded = one_square(boxes=[[0.1, 0.1, 0.5, 0.5], [0, 0, 0, 0]], labels=[0, -1], crowd=[False, False])
    found = {"name": "a", "boxes": padded["boxes"], "scores": [0.9, 0.0], "labels": [0, -1]}
    assert detection.evaluate([padded], [found], ["thing"])["AP"] == pytest.approx(1)


def test_mistakes_are_named():
    found = {"name": "b", "boxes": [[0, 0, 1, 1]], "scores": [0.5], "labels": [0]}
    with pytest.raises(ValueError, match="'b': no such truth"):
        detection.evaluate([one_square()], [found], ["thing"])
    with pytest.raises(ValueError, match="'b': given twice"):
        detection.evaluate([one_square("b")], [found, found], ["thing"])
    with pytest.raises(ValueError, match="'a': given twice"):
        detection.evaluate([one_square(), one_square()], [], ["thing"])
    with pytest.raises(ValueError, match="a mask of \\(3, 3\\)"):
        detection.evaluate([one_square(masks=np.ones((1, 3, 3), bool))], [], ["thing"], iou_type="segm")


def test_written_files_give_the_score_again(tmp_path):
    coco, cocoeval = (pytest.importorskip(f"pycocotools.{module}") for module in ("coco", "cocoeval"))
    truths, detections = random_set(5, 12, 3, masks=True)
    truth = detection.coco_truth(truths, "abc", iou_type="segm")
    assert [image["file_name"] for image in truth["images"]] == sorted(t["name"] for t in truths)
    detection.write_coco_results(tmp_path / "found.json", detections, truth, iou_type="segm")
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = coco.COCO(str(tmp_path / "truth.json"))
        scorer = cocoeval.COCOeval(annotated, annotated.loadRes(str(tmp_path / "found.json")), "segm")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    assert detection.evaluate(truths, detections, "abc", iou_type="segm")["AP"] == pytest.approx(scorer.stats[0])
