"""What a run has produced: scores that survive a resume, files that can be scored again."""

import json
import types

import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.export.parity import ParityError
from kerastransfer.runs import outcome as outcomes
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome


def score_again(truth, results, kind):
    """The first two of COCO's own numbers, AP and AP50, from files as they lie in predictions/."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotated = COCO(str(truth))
    scorer = COCOeval(annotated, annotated.loadRes(str(results)), kind)
    scorer.evaluate(), scorer.accumulate(), scorer.summarize()
    return scorer.stats[:2]


def test_what_a_run_predicted_can_be_scored_again(outcome, models):
    """Instances and a segmenter in one run: each keeps its truth."""
    models(boxes="detection", masks="instances", pixels="segmentation")
    test = outcome.data.parts["masks"][1]
    for name, task in (("boxes", "detection"), ("masks", "instances"), ("pixels", "segmentation")):
        outcome.score(name, task, test)
    kept = outcome.run.predictions
    assert {path.name for path in kept.iterdir()} == {
        *("truth_detection.json", "truth_instances.json", "truth_segmentation.json"),
        *("boxes.json", "masks.json", "masks_boxes.json", "pixels.json"),
    }
    scores = outcome.results
    truth = kept / "truth_detection.json"
    found = score_again(truth, kept / "boxes.json", "bbox")
    np.testing.assert_allclose(found, [scores["boxes"]["AP"], scores["boxes"]["AP50"]], atol=1e-9)
    truth = kept / "truth_instances.json"
    found = score_again(truth, kept / "masks.json", "segm")
    np.testing.assert_allclose(found, [scores["masks"]["mask_AP"], scores["masks"]["mask_AP50"]], atol=1e-9)
    found = score_again(truth, kept / "masks_boxes.json", "bbox")
    np.testing.assert_allclose(found, [scores["masks"]["AP"], scores["masks"]["AP50"]], atol=1e-9)
    assert 0 < found[1] < 1
    # Here the categories are those of the pixels, one region a class.
    annotated = json.loads((kept / "truth_segmentation.json").read_text())["annotations"]
    assert len({(one["image_id"], one["category_id"]) for one in annotated}) == len(annotated)


def test_a_model_is_opened_once(outcome, models):
    opened = models(boxes="detection")
    test = outcome.data.parts["boxes"][1]
    outcome.score("boxes", "detection", test)
    assert outcome.shown("detection")["boxes"].predict is outcome.predictor("boxes").predict
    assert opened == ["boxes.keras"]


def test_scores_are_the_same_before_and_after_a_resume(outcome, models, config, monkeypatch):
    models(pixels="segmentation")
    test = outcome.data.parts["segmentation"][1]
    outcome.score("pixels", "segmentation", test)
    outcome.run.close()
    again = config(outcome.run.path, resume=True)
    monkeypatch.setattr(outcomes.trained, "open_predictor", lambda path: pytest.fail("scored again"))
    with RunFolder("page", again) as run:
        resumed = Outcome(again, run, outcome.data)
        resumed.score("pixels", "segmentation", test, role="control")
        first, second = outcome.models["pixels"], resumed.models["pixels"]
        assert second.per_image == first.per_image and len(first.per_image) == len(test) == 2
        np.testing.assert_equal(second.metrics, first.metrics)
        assert second.main == "iou_mean" and second.each == "IoU" and second.role == "control"
        assert resumed.shown("segmentation") == {}, "controls are not drawn"


def test_scores_of_other_test_images_are_not_told_again(outcome, models):
    models(boxes="detection")
    test = outcome.data.parts["masks"][1]
    outcome.score("boxes", "detection", test)
    outcome.score("boxes", "detection", test)
    with pytest.raises(UserError, match="are not those that boxes was scored on"):
        outcome.score("boxes", "detection", test[:-1])


def test_a_missing_number_is_nan(outcome):
    result = outcome.add("probe", {"cka": None, "depth": 3}, {"a": None, "b": 0.5}, "cka", "CKA")
    assert np.isnan(result.metrics["cka"]) and result.metrics["depth"] == 3
    assert np.isnan(result.per_image["a"]) and result.per_image["b"] == 0.5


def test_only_what_was_scored_is_compared(outcome):
    outcome.add("unet", {"iou_mean": 0.5}, {"a": 0.5}, "iou_mean", "IoU")
    outcome.add("segnet", {"iou_mean": 0.4}, {"a": 0.4}, "iou_mean", "IoU")
    outcome.compare("unet", "segnet")
    outcome.compare("unet", "matched")
    assert outcome.pairs == [("unet", "segnet")]


def record(name, passed):
    return {
        "path": f"{name}.tflite",
        "kind": "float32",
        "bytes": 10,
        "differences": {},
        "metric": None,
        "milliseconds": {"1": 1.0},
        "passed": passed,
        "reason": "" if passed else "too far",
    }


def test_files_of_all_models_are_exported_and_the_failed_are_refused(outcome, monkeypatch):
    """--no-export skips it; a resumed run takes the records from its file."""
    exported = []

    def call(work, model, train, test, saved_model, tflite):
        exported.append((work, model.name, len(train), len(test), saved_model.name, tflite.name))
        return {"files": [record(model.stem, passed=model.stem != "worse")]}

    monkeypatch.setattr(outcomes, "under_tensorflow", types.SimpleNamespace(call=call))
    parts = outcome.data.parts["boxes"]
    for name in ("good", "worse"):
        outcome.add(name, {"AP50": 0.5}, {}, "AP50", None)
        outcome.export(name, *parts)
        if name == "good":
            outcome.refuse_failed()
    assert exported == [
        (outcomes.export_files, f"{name}.keras", 8, 2, "saved_model", "tflite") for name in ("good", "worse")
    ]
    assert [one["path"] for one in outcome.exported] == ["good.tflite", "worse.tflite"]
    with pytest.raises(ParityError, match=r"^worse\.tflite: too far$"):
        outcome.refuse_failed()
    outcome.export("good", *parts)
    assert len(exported) == 2
    outcome.config.export = False
    outcome.add("third", {"AP50": 0.5}, {}, "AP50", None)
    outcome.export("third", *parts)
    assert len(exported) == 2 and outcome.models["third"].exported == []


def test_it_says_what_it_does_unless_it_is_quiet(outcome, capsys):
    outcome.say("scoring")
    outcome.config.quiet = False
    outcome.say("exporting")
    assert capsys.readouterr().out == "exporting\n"


@pytest.mark.slow
def test_a_kept_model_and_a_kept_part_open_again(outcome):
    import keras

    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.models.yolo_unet import yolo_unet
    from kerastransfer.runs import trained
    from kerastransfer.tasks.about import About

    keras.utils.set_random_seed(0)
    network = yolo_unet(yolov1_encoder([((4, 3, 2),)] * 5), 3, widths=[4] * 6)
    about = About(task="segmentation", labels=("background", "cat", "dog"), image_size=(64, 64), resize="letterbox")
    outcomes.keep(outcome.run, "unet", network, about)
    outcomes.keep_part(outcome.run, "encoder", network.get_layer("encoder"))
    assert {path.name for path in outcome.run.models.iterdir()} == {
        *("unet.keras", "unet.json", "unet.weights.h5", "encoder.keras")
    }
    read, what = trained.stored(outcome.run.models / "unet.keras")
    assert what == about
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(read(image), network(image), atol=1e-5)
    for source in ("unet.keras", "encoder.keras"):
        part = trained.encoder(outcome.run.models / source)
        expected = network.get_layer("encoder")(image)
        for tap, values in part(image).items():
            np.testing.assert_allclose(values, expected[tap], atol=1e-5)
