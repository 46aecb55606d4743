"""Scores detections and instance masks by the COCO protocol (Lin et al. 2014), with faster-coco-eval.

    truth       name, size (H, W), boxes (N, 4), labels (N,), for masks also masks (N, H, W); optionally
                crowd (N,), difficult (N,) bool, area (N,) in pixels, owner (id, file name) in the owner's json
    detection   name, boxes (M, 4), scores (M,), labels (M,), for masks also masks (M, H, W)

There is one dict for each image, with boxes as fractions of the image. A label below 0 is padding. An image for which
there is no detection dict has no detections. A crowd (COCO) absorbs any number of detections; a difficult object (VOC)
need not be found, and one detection that matches it by IoU is ignored.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

# In pixels: COCOeval ignores objects whose area is outside all of its ranges, the widest of which ends at 1e10.
IGNORED_AREA = 1e11
# The least side, in pixels, of a box whose object, with a mask without a pixel, is one that nobody outlined.
LEAST_BOX = 2

IouType = Literal["bbox", "segm"]

STATISTICS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)


def evaluate(
    truths: Iterable[Mapping[str, Any]],
    detections: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    iou_type: IouType = "bbox",
) -> dict[str, float]:
    """Average precision and recall as COCO defines them, and AP50/<class> for each class.

    AP is the mean over IoU 0.50:0.95 and classes; AP50 and AP75 are at a single IoU; _small, _medium and _large are by
    the area of the object in pixels (divided at 32² and 96²); AR<n> is the recall of the best n detections per image.
    A score is NaN if there are no objects to find, and 0.0 if there are some but nothing was detected.

    Both sides may be generators, because masks are compressed one image at a time. Raises ValueError for a detection on
    an image that is not among the truths, for a name that occurs twice, and for masks of another size than the image.
    """
    truth = coco_truth(truths, classes, iou_type=iou_type)
    return evaluate_coco(truth, coco_results(detections, truth, iou_type=iou_type), classes, iou_type=iou_type)


def evaluate_coco(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    iou_type: IouType = "bbox",
) -> dict[str, float]:
    """`evaluate` for the results of `coco_truth` and `coco_results`."""
    from faster_coco_eval import COCO, COCOeval_faster

    # Copied, because COCO converts masks in place.
    annotated = COCO(copy.deepcopy(truth))
    found = annotated.loadRes(copy.deepcopy(results))
    scorer = COCOeval_faster(annotated, found, iou_type, rle_iou_max_workers=1)
    scorer.run()
    scores = dict(zip(STATISTICS, scorer.stats, strict=True))
    # (recalls, classes) at IoU 0.50, for all areas and 100 detections.
    precision = scorer.eval["precision"][0, :, :, 0, -1]
    # In the order of the ids.
    rank = np.argsort(np.argsort([category["id"] for category in truth["categories"]]))
    for name, place in zip(classes, rank, strict=True):
        scores[f"AP50/{name}"] = precision[:, place].mean()
    return {name: float("nan") if score < 0 else float(score) for name, score in scores.items()}


def coco_truth(
    truths: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    iou_type: IouType = "bbox",
    category_ids: Mapping[str, int] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The ground truth in COCO's format. Ids start at 1: images in the order of their names, categories in the order of
    `classes`. Where all images have an `owner`, with ids that are whole numbers and differ, they keep the owner's ids
    and file names; classes keep those of `category_ids`, {class: id}, and others get ids above these.

    The area of an object, by which COCO separates small, medium and large objects, is the truth's `area`, for boxes as
    well as masks, as in COCO's own files; if it is missing, that of the mask; without a mask, that of the box. An
    object that has a box of more than a pixel, but a mask without any, was never outlined: for masks its box is a
    crowd, so that masks found in it are neither right nor wrong. A difficult object has IGNORED_AREA and iscrowd 0, so
    that COCO's evaluators ignore it, but match it once and by IoU.
    """
    sizes, annotations, owners = {}, [], {}
    numbers = _category_ids(classes, category_ids or {})
    for truth in truths:
        name, size = truth["name"], tuple(int(length) for length in truth["size"])
        if name in sizes:
            raise ValueError(f"truth of {name!r}: given twice")
        sizes[name] = size
        owners[name] = truth.get("owner")
        boxes, labels = _xywh(truth["boxes"], size), np.asarray(truth["labels"])
        crowd, difficult = (truth.get(flag, np.zeros(len(labels), bool)) for flag in ("crowd", "difficult"))
        masks = truth.get("masks")
        for index in np.flatnonzero(labels >= 0):
            annotation = {
                "image_id": name,
                "category_id": numbers[labels[index]],
                "bbox": boxes[index],
                "area": boxes[index][2] * boxes[index][3],
                "iscrowd": int(crowd[index]),
            }
            if truth.get("area") is not None:
                annotation["area"] = float(truth["area"][index])
            elif masks is not None:
                annotation["area"] = _area(masks[index])
            if difficult[index] and not crowd[index]:
                annotation["area"] = IGNORED_AREA
            if iou_type == "segm":
                annotation["segmentation"] = _compressed(masks[index], name, size)
                if not annotation["iscrowd"] and _is_unmasked(masks[index], annotation["bbox"]):
                    annotation |= {"segmentation": _box_as_mask(annotation["bbox"], size), "iscrowd": 1}
            annotations.append(annotation)

    ids = {name: number for number, name in enumerate(sorted(sizes), start=1)}
    images = [{"id": ids[name], "file_name": name, "height": sizes[name][0], "width": sizes[name][1]} for name in ids]
    owned = [owner[0] for owner in owners.values() if owner and type(owner[0]) is int]
    if len(set(owned)) == len(sizes):
        ids = {name: owners[name][0] for name in ids}
        images = [
            {**one, "name": name, "id": ids[name], "file_name": owners[name][1]}
            for one, name in zip(images, ids, strict=True)
        ]
    for number, annotation in enumerate(annotations, start=1):
        annotation |= {"id": number, "image_id": ids[annotation["image_id"]]}
    categories = [{"id": number, "name": name} for number, name in zip(numbers, classes, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _category_ids(classes: Sequence[str], known: Mapping[str, int]) -> list[int]:
    """The known ids, and above them others for classes without one, or with that of a class before it."""
    numbers, free = [], max(known.values(), default=0) + 1
    for name in classes:
        number = known.get(name)
        if number is None or number in numbers:
            number, free = free, free + 1
        numbers.append(number)
    return numbers


def coco_results(
    detections: Iterable[Mapping[str, Any]], truth: Mapping[str, Any], *, iou_type: IouType = "bbox"
) -> list[dict[str, Any]]:
    """Detections in COCO's results format, with the ids of `truth` (from `coco_truth`).

    For "segm" an entry has a mask but no box: if both are there, COCO tools take the object's area from the box, which
    would move objects between small, medium and large.
    """
    images = {image.get("name", image["file_name"]): image for image in truth["images"]}
    numbers = [category["id"] for category in truth["categories"]]
    results, seen = [], set()
    for detection in detections:
        name = detection["name"]
        if name not in images or name in seen:
            raise ValueError(f"detections of {name!r}: " + ("given twice" if name in seen else "no such truth"))
        seen.add(name)
        size = images[name]["height"], images[name]["width"]
        boxes, labels = _xywh(detection["boxes"], size), np.asarray(detection["labels"])
        for index in np.flatnonzero(labels >= 0):
            result = {
                "image_id": images[name]["id"],
                "category_id": numbers[labels[index]],
                "score": float(detection["scores"][index]),
            }
            if iou_type == "segm":
                result["segmentation"] = _compressed(detection["masks"][index], name, size)
            else:
                result["bbox"] = boxes[index]
            results.append(result)
    return results


def _xywh(boxes, size):
    """Convert fractions (N, (y1, x1, y2, x2)) to N lists [x, y, width, height] in pixels."""
    height, width = size
    y1, x1, y2, x2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return np.stack([x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height], axis=-1).tolist()


def compressed(masks: np.ndarray) -> list[dict[str, Any]]:
    """Masks (N, H, W) as run lengths, about a hundredth of the size; all functions here accept masks in this form."""
    from faster_coco_eval.core import mask as coder

    codes = [coder.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return [{"size": list(code["size"]), "counts": code["counts"].decode()} for code in codes]


def _compressed(mask, name, size):
    code = mask if isinstance(mask, dict) else compressed(mask[None])[0]
    if tuple(code["size"]) != size:
        raise ValueError(f"{name}: a mask of {tuple(code['size'])} for an image of {size} pixels")
    return code


def _is_unmasked(mask, bbox):
    # A polygon thinner than a pixel has no pixel either.
    return min(bbox[2:]) >= LEAST_BOX and _area(mask) == 0


def _box_as_mask(bbox, size):
    from faster_coco_eval.core import mask as coder

    (code,) = coder.frPyObjects([bbox], *size)
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def _area(mask):
    if not isinstance(mask, dict):
        return float(np.count_nonzero(mask))
    from faster_coco_eval.core import mask as coder

    return float(coder.area({**mask, "counts": mask["counts"].encode()}))
