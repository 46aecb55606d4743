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


def corners(*pixels, size=100):
    return [[value / size for value in box] for box in pixels]


def test_a_difficult_object_is_ignored_but_matched_once_by_iou():
    """VOC's rule (devkit, section 4.4.1). Three detections lie inside the difficult object, none with an IoU of half,
    so that they are false: by hand, the right one comes fourth and the precision is 1/4 at every recall. As a crowd
    the object would swallow all three."""
    boxes = corners((0, 0, 50, 50), (60, 60, 90, 90))
    truth = one_square(size=(100, 100), boxes=boxes, labels=[0, 0], crowd=[False, False], difficult=[True, False])
    found = corners((0, 0, 10, 10), (20, 20, 30, 30), (40, 40, 50, 50), (60, 60, 90, 90))
    detected = {"name": "a", "boxes": found, "scores": [0.9, 0.8, 0.7, 0.5], "labels": [0] * 4}
    assert detection.evaluate([truth], [detected], ["thing"])["AP50"] == pytest.approx(0.25)
    as_crowd = truth | {"crowd": [True, False], "difficult": [False, False]}
    assert detection.evaluate([as_crowd], [detected], ["thing"])["AP50"] == pytest.approx(1.0)
    annotation = detection.coco_truth([truth], ["thing"])["annotations"][0]
    assert (annotation["iscrowd"], annotation["area"]) == (0, 1e11)


def test_a_difficult_object_is_matched_by_one_detection_alone():
    """Two detections on the difficult object: the first is ignored, the second is false and ranks before the right
    one. By hand: precision 1/2 at every recall."""
    boxes = corners((0, 0, 50, 50), (60, 60, 90, 90))
    truth = one_square(size=(100, 100), boxes=boxes, labels=[0, 0], difficult=[True, False])
    found = corners((0, 0, 50, 50), (0, 0, 49, 50), (60, 60, 90, 90))
    detected = {"name": "a", "boxes": found, "scores": [0.9, 0.8, 0.5], "labels": [0] * 3}
    assert detection.evaluate([truth], [detected], ["thing"])["AP50"] == pytest.approx(0.5)


def voc_ap50(truths, detections):
    """Average precision of one class by VOC's own rules, written anew: greedy by score, IoU, difficult ignored and
    matched once; at COCO's 101 recalls."""
    ranked = sorted(
        ((s, d["name"], b) for d in detections for s, b in zip(d["scores"], d["boxes"], strict=True)),
        key=lambda one: -one[0],
    )
    of = {t["name"]: t for t in truths}
    taken = {name: np.zeros(len(t["boxes"]), bool) for name, t in of.items()}
    total = sum((~np.asarray(t["difficult"])).sum() for t in truths)
    hits = []
    for _, name, box in ranked:
        others = np.asarray(of[name]["boxes"], float).reshape(-1, 4)
        sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
        shared = sides.clip(0).prod(1)
        areas = np.prod(others[:, 2:] - others[:, :2], 1) + np.prod(np.subtract(box[2:], box[:2]))
        iou = np.where(taken[name], 0, shared / (areas - shared))
        # COCO's order: an object that counts is preferred to one that is ignored.
        counts = ~np.asarray(of[name]["difficult"])
        for group in (counts, ~counts):
            candidates = np.where(group & (iou >= 0.5), iou, -1)
            if candidates.size and candidates.max() > 0:
                taken[name][candidates.argmax()] = True
                if counts[candidates.argmax()]:
                    hits.append(True)
                break
        else:
            hits.append(False)
    true = np.cumsum(hits)
    precision, recall = true / np.arange(1, len(hits) + 1), true / total
    return np.mean([precision[recall >= level - 1e-12].max(initial=0) for level in np.linspace(0, 1, 101)])


def test_difficult_objects_by_the_rules_of_voc():
    for seed in range(5):
        truths, detections = random_set(seed, 30, 1)
        rng = np.random.default_rng(seed)
        for truth in truths:
            truth |= {"crowd": np.zeros(len(truth["labels"]), bool)}
            truth |= {"difficult": rng.uniform(size=len(truth["labels"])) < 0.3}
        for detected in detections:
            detected["scores"] = rng.permutation(np.linspace(0.1, 0.9, len(detected["boxes"]))) + rng.uniform() * 0.01
        assert detection.evaluate(truths, detections, ["thing"])["AP50"] == pytest.approx(voc_ap50(truths, detections))


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
    (tmp_path / "found.json").write_text(json.dumps(detection.coco_results(detections, truth, iou_type="segm")))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = coco.COCO(str(tmp_path / "truth.json"))
        scorer = cocoeval.COCOeval(annotated, annotated.loadRes(str(tmp_path / "found.json")), "segm")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    assert detection.evaluate(truths, detections, "abc", iou_type="segm")["AP"] == pytest.approx(scorer.stats[0])


def test_an_object_that_nobody_outlined_is_neither_found_nor_missed_as_a_mask():
    """Worked by hand: one outlined object, found; one with a box alone, in which a mask is found first."""
    masks = np.zeros((2, 100, 100), bool)
    masks[0, 10:30, 10:30] = True
    boxes = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9]], np.float32)
    truth = {"name": "a", "size": (100, 100), "boxes": boxes, "labels": np.zeros(2, int), "masks": masks}
    inside = np.zeros((100, 100), bool)
    inside[55:85, 55:85] = True
    found = {"name": "a", "boxes": boxes, "scores": np.array([0.5, 0.9]), "labels": np.zeros(2, int)}
    found["masks"] = np.stack([masks[0], inside])
    truths = detection.coco_truth([truth], ["cat"], iou_type="segm")
    results = detection.coco_results([found], truths, iou_type="segm")
    assert detection.evaluate_coco(truths, results, ["cat"], iou_type="segm")["AP50"] == pytest.approx(1)
    of_boxes = detection.coco_truth([truth], ["cat"])
    assert [one["iscrowd"] for one in of_boxes["annotations"]] == [0, 0]
