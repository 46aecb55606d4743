"""A run's page: every score is on it, every model has its figures."""

import dataclasses
import re

import numpy as np
import pytest

from kerastransfer.report.page import Section, Table
from kerastransfer.runs import grid, reporting


def write(outcome):
    reporting.write(outcome)
    return outcome.run.path / "report.html"


def figures(path):
    """Titles of the page's figures, in order."""
    return re.findall(r"<figcaption>\s*<h3>(.*?)</h3>", path.read_text(encoding="utf-8"))


def test_a_metric_of_any_name_is_on_the_page(outcome, text_of):
    outcome.add("probe", {"cka": 0.734, "a new_score": 0.321, "accuracy": 0.912}, {}, "cka", None)
    text = text_of(write(outcome))
    for said in ("0.734", "0.321", "0.912", "cka", "a new score", "accuracy", "cka of probe"):
        assert said in text, said


def test_what_has_no_known_score_is_reported_all_the_same(outcome, text_of, capsys):
    """A pretext has a loss, and no score of a task."""
    outcome.add("pretext", {"contrast": 1.53}, {}, "contrast", None)
    assert "1.530" in text_of(write(outcome))
    grid.tell(outcome.run, outcome, outcome.results, "tflite")
    assert "pretext                  contrast 1.530\n" in capsys.readouterr().out


def test_a_page_of_no_models(outcome, text_of):
    assert "What was done." in text_of(write(outcome))


def test_two_detectors_have_two_figures(outcome, models):
    models(first="detection", second="detection")
    for name in ("first", "second"):
        outcome.score(name, "detection", outcome.data.parts["boxes"][1])
    path = write(outcome)
    assert figures(path) == ["What first finds", "What second finds"]
    files = sorted(file.name for file in outcome.run.figures.iterdir())
    assert files == ["detections_first.png", "detections_second.png"]
    images = re.findall(r'src="(data:image/[^"]+)"', path.read_text(encoding="utf-8"))
    assert len(images) == 2


@pytest.mark.slow
def test_every_task_draws_its_models_and_controls_are_left_out(outcome, models):
    models(boxes="detection", masks="instances", pixels="segmentation", random="segmentation")
    for name, task, role in (
        *(("boxes", "detection", "subject"), ("masks", "instances", "subject")),
        *(("pixels", "segmentation", "subject"), ("random", "segmentation", "control")),
    ):
        outcome.score(name, task, outcome.data.parts["masks"][1], role)
    outcome.compare("pixels", "random")
    path = write(outcome)
    assert figures(path) == [
        *("What boxes finds", "Objects that masks outlines", "Masks"),
        *("IoU of each test image", "The same images: pixels and random"),
    ]
    text = path.read_text(encoding="utf-8")
    assert "by the IoU of pixels" in text and "by the IoU of random" not in text


def test_the_page_opens_with_the_subjects_alone(outcome, text_of):
    outcome.lead = "Two segmenters were trained."
    outcome.add("unet", {"iou_mean": 0.6}, {"a": 0.5, "b": 0.7}, "iou_mean", "IoU")
    outcome.add("random", {"iou_mean": 0.2}, {"a": 0.2, "b": 0.2}, "iou_mean", "IoU", "control")
    outcome.add("map", {"auc_mean": 0.8}, {"a": 0.3, "b": 0.3}, "auc_mean", "IoU", "beside")
    text = text_of(write(outcome))
    assert "Two segmenters were trained. All scores are measured on test images" in text
    start = text.partition("Results")[0]
    assert "iou mean of unet" in start and "random" not in start and "map" not in start
    assert "random" in text and "0.800" in text


def test_an_interval_stands_by_a_mean_over_images_only(outcome, text_of):
    per_image = {f"{n}": value for n, value in enumerate(np.linspace(0.4, 0.6, 21))}
    outcome.add("mean", {"iou_mean": 0.5}, per_image, "iou_mean", "IoU")
    outcome.add("not the mean", {"auc_mean": 0.9}, per_image, "auc_mean", "IoU")
    text = text_of(write(outcome)).partition("Results")[0]
    low, high = map(float, re.search(r"iou mean of mean 0\.500 95 % interval ([\d.]+) to ([\d.]+)", text).groups())
    assert 0.45 < low < 0.49 and 0.51 < high < 0.55
    assert text.count("interval") == 1


def test_comparisons_are_image_by_image(outcome, text_of):
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 0.8, 30)
    outcome.add("unet", {"iou_mean": hard.mean() + 0.1}, dict(enumerate(hard + 0.1)), "iou_mean", "IoU")
    outcome.add("segnet", {"iou_mean": hard.mean()}, dict(enumerate(hard)), "iou_mean", "IoU")
    outcome.compare("unet", "segnet")
    text = text_of(write(outcome))
    assert "+0.100" in text and "IoU of an image" in text
    assert (outcome.run.figures / "paired.png").exists() and (outcome.run.figures / "iou.png").exists()


@pytest.mark.parametrize("rows", [0, 3])
def test_curves_are_drawn_where_something_was_trained(outcome, rows):
    outcome.run.append_history({"phase": "unet", "epoch": n, "loss": 1 / (1 + n)} for n in range(rows))
    assert figures(write(outcome)) == (["Training"] if rows else [])


def test_further_sections_and_figures_have_a_place(outcome, text_of):
    from PIL import Image

    from kerastransfer.report.page import Figure

    table = Table(["layer 1", "layer 2"], [("one", [0.25, None])], title="Similarity", corner="Model")
    outcome.sections.append(Section("How alike they are", ["Centred kernel alignment."], [table]))
    outcome.figures.append(("alike", Figure("Matrix", "A caption.", b""), Image.new("RGB", (20, 20))))
    path = write(outcome)
    text = text_of(path)
    for said in ("How alike they are", "Centred kernel alignment.", "0.250", "layer 2", "A caption."):
        assert said in text, said
    assert figures(path) == ["Matrix"] and (outcome.run.figures / "alike.png").exists()


def test_an_exported_file_without_finite_outputs_is_on_the_page():
    """In JSON its differences are null."""
    differences = {"boxes": {"maximum": None, "mean": None}, "scores": {"maximum": 0.5, "mean": 0.1}}
    record = {"path": "net.tflite", "bytes": 1, "passed": False, "reason": "not finite", "metric": None}
    shown = reporting._exported({**record, "differences": differences, "milliseconds": {"1": 2.0}})
    assert shown.maximum is None and shown.mean is None
    shown = reporting._exported({**record, "differences": {"scores": differences["scores"]}, "milliseconds": {}})
    assert shown.maximum == 0.5 and shown.mean == 0.1


def test_facts_settings_and_the_command_that_repeats_it(outcome, text_of):
    text = text_of(write(outcome))
    for said in (
        *("toy:10", "Training images with boxes 8", "Test images with boxes 2", "every_fifth"),
        *(f"python -m kerastransfer.recipes.page --config {outcome.run.path / 'config.toml'}", "batch_size", "disc"),
    ):
        assert said in text, said


def test_what_has_no_scores_of_images_is_compared_seed_by_seed(outcome, text_of, monkeypatch):
    """And a summary is written of all seeds."""
    monkeypatch.setattr(reporting, "_pictures", lambda _: ())

    def scored(first, second):
        one = dataclasses.replace(outcome, models={}, pairs=[("first", "second")])
        for name, ap in (("first", first), ("second", second)):
            one.add(name, {"AP": ap, "AP50": 0.9}, {}, "AP50", None).task = "detection"
        one.summary = lambda each: Section("In words", [f"There were {len(each)} seeds."])
        return one

    each = {seed: scored(*pair) for seed, pair in enumerate([(0.52, 0.5), (0.54, 0.51), (0.55, 0.51)])}
    means = {name: {"AP50": 0.9, "AP50_spread": 0.01} for name in ("first", "second")}
    reporting.write_over_seeds(outcome.run, outcome.config, each, means)
    text = text_of(outcome.run.path / "report.html")
    assert "AP, seed by seed" in text and "0.030" in text and "There were 3 seeds." in text
    assert "There were 1 seeds." in text_of(write(each[0])) and "seed by seed" not in text_of(write(each[0]))
