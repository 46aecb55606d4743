"""YOLOv3 and its mask branch from data to scores, on small drawn scenes; and input that cannot work."""

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerastransfer.recipes import detector, yolo_mask
from kerastransfer.runs import command_line, image_cache, trained

NET = ["--model", "yolov3-tiny", "--net.width", "0.25", "--net.loss", "ciou", "--image-size", "64", "--batch-size", "8"]
SMALL = [*NET, "--detector-epochs", "2", "--mask-epochs", "2", "--mask-filters", "16", "--mask-convs", "1"]
SMALL += ["--no-export", "--quiet", "--detections", "10"]


BOX = {"bbox": [5, 5, 20, 20], "category_id": 1}
MASK = {**BOX, "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]]}
OTHER = {"bbox": [30, 10, 20, 25], "category_id": 2, "segmentation": [[30, 10, 50, 10, 40, 35]]}
BROKEN = {**MASK, "bbox": [5, float("nan"), 20, 20]}
MIXED = [[MASK, OTHER]] * 10 + [[], [BOX], [BOX, MASK, OTHER, OTHER], [BROKEN], [MASK]] + [[MASK, OTHER]] * 5


def coco(folder, objects):
    """A COCO file of images of 40 x 60 pixels with these objects each."""
    folder.mkdir()
    images, annotations = [], []
    for number, found in enumerate(objects):
        name = f"{number:03d}.png"
        PIL.Image.new("RGB", (60, 40), (number, 99, 50)).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 60, "height": 40})
        annotations += [{"iscrowd": 0, "area": 400, "image_id": number, **one} for one in found]
    for number, one in enumerate(annotations):
        one["id"] = number
    names = sorted({one["category_id"] for one in annotations} | {1})
    categories = [{"id": number, "name": f"kind{number}"} for number in names]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on letterboxed inputs of several sizes, and what it said on stderr: one image has no object, two no mask
    for each, one too many objects, and one is broken."""
    folder, told = tmp_path_factory.mktemp("mask"), io.StringIO()
    flags = ["--data", str(coco(folder / "data", MIXED)), "--output", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(told):
        patch.setattr(image_cache, "MOST_OBJECTS", 3)
        command_line.run(yolo_mask.main, yolo_mask.Config, [*SMALL, *flags, "--resize", "letterbox", "--multi-scale"])
    return folder / "run", told.getvalue()


@pytest.fixture
def finished(run):
    return run[0]


@pytest.mark.slow
def test_what_is_left_out_is_reported_even_when_quiet(run):
    """Once for each phase that decodes; the masks' phase reads no image with a box that has none."""
    warnings = [line for line in run[1].splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2, run[1]
    assert "1 bad sample is left out (data/013: " in warnings[0] and "outside the image" in warnings[0]
    assert warnings[1].startswith("warning: 1 objects are left out; only the largest 3 of an image are trained on")


@pytest.mark.slow
def test_losses_are_finite_with_images_of_no_object(finished):
    rows = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    assert [row["phase"] for row in rows] == ["detector"] * 2 + ["yolo_mask"] * 2
    assert all(np.isfinite(float(row["loss"])) for row in rows)


@pytest.mark.slow
def test_the_run_folder_holds_what_the_contract_says(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["recipe"] == "yolo_mask" and set(metrics["results"]) == {"yolov3", "yolo_mask"}
    for name in metrics["results"]:
        for path in (f"models/{name}.keras", f"models/{name}.json", f"models/{name}.weights.h5"):
            assert (finished / path).exists(), path
        assert json.loads((finished / f"models/{name}.json").read_text())["resize"] == "letterbox"
    page = (finished / "report.html").read_text()
    assert (
        "mask AP50 of yolo_mask" in page and "Objects that yolo_mask outlines" in page and "What yolov3 finds" in page
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "task", "kind", "model", "prefix"),
    [
        ("yolov3", "detection", "bbox", "yolov3", ""),
        ("yolo_mask", "instances", "segm", "yolo_mask", "mask_"),
        ("yolo_mask_boxes", "instances", "bbox", "yolo_mask", ""),
    ],
)
def test_the_kept_predictions_score_the_same_with_cocos_own_tools(finished, file, task, kind, model, prefix):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(finished / f"predictions/truth_{task}.json"))
    results = json.loads((finished / f"predictions/{file}.json").read_text())
    assert len(results) > 0
    scorer = COCOeval(truth, truth.loadRes(results), kind)
    scorer.evaluate(), scorer.accumulate(), scorer.summarize()
    written = json.loads((finished / "metrics.json").read_text())["results"][model]
    names = ("AP", "AP50", "AP75", "AR1", "AR100")
    np.testing.assert_allclose([written[prefix + n] for n in names], scorer.stats[[0, 1, 2, 6, 8]], atol=1e-9)


@pytest.mark.slow
def test_the_detector_was_frozen(finished):
    report = json.loads((finished / "transfer_report.json").read_text())["yolo_mask"]
    whole, alone = (trained.stored(finished / f"models/{name}.keras")[0] for name in ("yolo_mask", "yolov3"))
    from kerastransfer.training import transfer

    for part in ("encoder", "decoder", "head"):
        assert report[part]["moved"] == [] and len(report[part]["frozen"]) > 0
        sums = {report[part]["checksum_before"], report[part]["checksum_after"]}
        sums |= {transfer.checksum(network.get_layer(part)) for network in (whole, alone)}
        assert len(sums) == 1, part


@pytest.mark.slow
def test_the_model_opens_and_knows_how_it_was_trained(finished):
    predictor = trained.open_predictor(finished / "models/yolo_mask.keras")
    assert predictor.about.resize == "letterbox"
    found = predictor.predict(np.full((40, 90, 3), 90, np.uint8), score=0.0)
    assert found.masks.shape == (len(found.boxes), 40, 90) and len(found.boxes) > 0
    assert found.boxes.min() >= 0 and found.boxes.max() <= 1


def stopped(capsys, recipe, *flags):
    """What a run says on stderr that ends with exit code 2 and one line after its warnings, and leaves no folder."""
    flags = list(map(str, flags))
    with pytest.raises(SystemExit) as end:
        command_line.run(recipe.main, recipe.Config, flags)
    assert end.value.code == 2
    assert "--output" not in flags or not Path(flags[flags.index("--output") + 1]).exists()
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, lines
    return lines[0]


BAD_FLAGS = {
    "anchors that are not pairs": (["--net.anchors", "10", "20", "30"], "--net.anchors has 3 numbers"),
    "anchors without a size": (["--net.anchors", "10", "0", "30", "40"], "above 0"),
    "anchors that are not numbers": (["--net.anchors", "10", "nan", "30", "40"], "above 0"),
    "anchors that the grids cannot share": (
        ["--net.anchors", "9", "9", "20", "20", "30", "30"],
        "has 3 anchors for the 2 grids",
    ),
    "anchors beside those of a cfg": (["--net.anchors", "9", "9", "--net.cfg", "a.cfg"], "remove one of them"),
    "a reach beyond the neighbours": (["--net.reach", "1.5"], "must be from 0 to 1"),
    "a net of another family": (
        ["--model", "small"],
        "--model small does not work with the mask branch; choose a YOLOv3 net",
    ),
    "a size that the stride does not divide": (["--image-size", "72"], "multiple of 32"),
    "sizes for XLA": (["--multi-scale", "--jit"], "leave one of them out"),
    "a detector that is missing": (["--detector", "nowhere.keras"], "nowhere.keras: no such file"),
    "a cfg that is missing": (["--net.cfg", "nowhere.cfg"], "--net.cfg nowhere.cfg cannot be read"),
    "one image": (["--data", "toy:1"], "1 images"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_flags_that_cannot_work(case, tmp_path, capsys):
    flags, words = BAD_FLAGS[case]
    data = ["--data", "toy:10", "--output", tmp_path / "run"]
    assert words in stopped(capsys, yolo_mask, *SMALL, *data, *flags)


def test_a_head_for_one_grid_takes_no_other_size(capsys):
    flags = ["--model", "small", "--multi-scale", "--net.head", "paper_fc"]
    assert "use --net.head fully_conv" in stopped(capsys, detector, "--data", "toy:10", *flags)


CFG = """[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=16
pad=1
activation=relu6
[convolutional]
filters=18
size=1
activation=linear
[yolo]
mask=0,1
anchors=10,10, 30,30
classes=4
num=2
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[yolo]", "[swish]\n[yolo]", "[swish]: is not supported"),
        ("[yolo]", "[route]\nlayers=-9\n[yolo]", "leads to section -7"),
        ("filters=18", "filters=17", "filters=17 before [yolo]; give 2 * (5 + 4) = 18"),
        ("classes=4\n", "classes=3\n", "filters=18"),
        ("filters=18\nsize=1", "filters=14\nsize=1", "filters=14"),
        ("anchors=10,10, 30,30", "anchors=10,10, 30", "3 numbers in anchors="),
        ("stride=16", "stride=128", "--image-size 64 is not a multiple of 128"),
        ("stride=16", "stride=15", "power of two"),
    ],
)
def test_a_cfg_that_cannot_work(old, new, words, tmp_path, capsys):
    path = tmp_path / "net.cfg"
    path.write_text(CFG.replace(old, new))
    flags = ["--net.cfg", path, "--data", "toy:10", "--output", tmp_path / "run"]
    assert words in stopped(capsys, detector, *NET, "--model", "yolov3", "--quiet", *flags)


def test_a_cfg_of_other_classes(tmp_path, capsys):
    path = tmp_path / "net.cfg"
    path.write_text(CFG.replace("classes=4", "classes=3").replace("filters=18", "filters=16"))
    flags = ["--net.cfg", path, "--data", "toy:10", "--output", tmp_path / "run"]
    assert "has classes=3, the data has 4" in stopped(capsys, detector, *NET, "--quiet", *flags)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Untrained: {name: path} of a detector of letterboxed images, of one grid, and of a mask branch."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.masked_boxes import MaskedBoxes
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.models import darknet_cfg, yolo_mask
    from kerastransfer.models.yolov3 import yolov3
    from kerastransfer.tasks.about import About

    sections = darknet_cfg.parse(CFG)
    network, found = yolov3(sections), darknet_cfg.anchors_of(sections)
    codec = YoloV3Codec(4, found.anchors, found.levels)
    branch = yolo_mask.yolo_mask(network, 4, filters=8, convs=1, activation="relu6")
    folder, about = tmp_path_factory.mktemp("detectors"), {"labels": ("a", "b", "c", "d"), "image_size": (64, 64)}
    paths = {}
    for name, task, model, decoder in (
        ("yolov3", "detection", network, codec),
        ("yolov1", "detection", network, YoloV1Codec(4)),
        ("masks", "instances", branch, MaskedBoxes(codec, MaskCodec())),
    ):
        paths[name] = folder / f"{name}.keras"
        trained.write(model, paths[name], About(task=task, resize="letterbox", decoder=decoder, **about))
    return paths


BOXED = ["--resize", "letterbox"]


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("yolov3", [], "with --resize letterbox; give that here too"),
        ("yolov3", [*BOXED, "--image-size", "96"], "takes images of 64 x 64 pixels; give --image-size 64"),
        ("yolov3", [*BOXED, "--data", "toy:10"], "trained on a, b, c, d, but the data has disc, square"),
        ("masks", BOXED, "masks.keras is a model for instances, not a detector"),
        ("yolov1", BOXED, "is not a YOLOv3 detector"),
    ],
)
def test_a_detector_that_does_not_fit(name, flags, words, detectors, tmp_path, capsys):
    objects = [[{**MASK, "category_id": 1 + number % 4}] for number in range(10)]
    data = ["--data", coco(tmp_path / "data", objects), "--output", tmp_path / "run"]
    names = json.loads(Path(data[1]).read_text())
    names["categories"] = [{"id": number, "name": "abcd"[number - 1]} for number in range(1, 5)]
    Path(data[1]).write_text(json.dumps(names))
    assert words in stopped(capsys, yolo_mask, *SMALL, *data, *flags, "--detector", detectors[name])


def test_a_detector_that_is_not_a_model(detectors, tmp_path, capsys):
    flags = ["--data", "toy:10", "--output", tmp_path / "run", "--detector", detectors["yolov3"].with_suffix(".json")]
    assert "not a .keras file" in stopped(capsys, yolo_mask, *SMALL, *flags)


BAD_DATA = {
    "no image has masks": ([[BOX]] * 10, "masks need an outline or a mask per object"),
    "no image has an object": ([[]] * 10, "masks need an outline or a mask per object"),
    "every box is outside": ([[{**MASK, "bbox": [500, 5, 20, 20]}]] * 10, "no sample can be used"),
    "every box is empty": ([[{**MASK, "bbox": [5, 5, 0, 20]}]] * 10, "has no area"),
    "every box is no number": ([[BROKEN]] * 10, "no sample can be used"),
    "too few images have masks": ([[BOX]] * 4 + [[MASK]] + [[BOX]] * 5, "leave 0 to train and 1 to test"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_cannot_work(case, tmp_path, capsys):
    objects, words = BAD_DATA[case]
    flags = ["--data", coco(tmp_path / "data", objects), "--output", tmp_path / "run"]
    assert words in stopped(capsys, yolo_mask, *SMALL, *flags)


def test_a_detector_of_nothing(tmp_path, capsys):
    flags = ["--data", coco(tmp_path / "data", [[]] * 10), "--output", tmp_path / "run", "--quiet"]
    assert "has no object to fit anchors to" in stopped(capsys, detector, *NET, *flags)
