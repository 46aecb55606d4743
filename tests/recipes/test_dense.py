"""Dense inference from data to report, on small drawn scenes, and decoders that see no mask."""

import json

import numpy as np
import PIL.Image
import pytest

from kerastransfer.data import datasets, splits
from kerastransfer.metrics import segmentation
from kerastransfer.recipes import yolo_dense, yolo_segnet
from kerastransfer.runs import command_line, trained

SMALL = ["--data", "toy:20", "--image-size", "64", "--batch-size", "8", "--detector-epochs", "2", "--quiet"]
MAPS = ["--output-strides", "16", "--segmenter-stride", "8", "--pictures", "4", "--threshold-images", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that trains its own detector, with the paper's map, in tiles and without export."""
    folder = tmp_path_factory.mktemp("dense") / "run"
    flags = ["--no-export", "--stride-removed", "--tile", "32", "--output", str(folder)]
    command_line.run(yolo_dense.main, yolo_dense.Config, [*SMALL, *MAPS, *flags])
    return folder


@pytest.mark.slow
def test_the_run_folder_holds_what_the_contract_says(finished):
    results = json.loads((finished / "metrics.json").read_text())["results"]
    maps = {f"{kind}_{name}" for kind in ("objectness", "votes") for name in ("stride16", "stride8", "stride_removed")}
    assert set(results) == {"yolov1", "yolo_dense", *maps}
    page = (finished / "report.html").read_text()
    assert "Dense maps" in page and "votes_stride8" in page
    arrays = sorted((finished / "predictions/maps/stride8").glob("*.npz"))
    assert len(arrays) == 4
    with np.load(arrays[0]) as maps, PIL.Image.open(arrays[0].with_name(f"{arrays[0].stem}_votes.png")) as overlay:
        assert maps["votes"].shape == maps["objectness"].shape == (*overlay.size[::-1], 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stride", "dilate"), [("stride16", 16, True), ("stride_removed", 1, False)])
def test_maps_and_their_scores_are_those_of_the_kept_detector(name, stride, dilate, finished):
    """Opened anew and without tiles; the arrays are in half precision."""
    from kerastransfer.phases import dense_maps

    _, test = splits.split(datasets.load("toy:20"), "every_fifth", ("segmentation",))
    predictor = dense_maps.open_maps(finished / "models/yolov1.keras", stride, dilate=dilate, merge=False)
    areas = {"objectness": [], "votes": []}
    for sample in test.samples:
        example = sample.read()
        maps = predictor.maps(example["image"])
        with np.load(finished / f"predictions/maps/{name}/{sample.name}.npz") as written:
            for kind, values in areas.items():
                np.testing.assert_allclose(written[kind], getattr(maps, kind), rtol=2e-3, atol=1e-3)
                values.append(segmentation.pixel_auc(example["segmentation"], getattr(maps, kind).max(axis=-1)))
    results = json.loads((finished / "metrics.json").read_text())["results"]
    for kind, values in areas.items():
        scores = results[f"{kind}_{name}"]
        np.testing.assert_allclose(
            [scores["auc_mean"], scores["auc_min"]], [np.mean(values), np.min(values)], atol=1e-3
        )
        assert scores["images"] == 4


@pytest.mark.slow
def test_the_segmenter_is_the_map(finished):
    """models/yolo_dense.keras, opened as any segmenter, gives the classes of its map. A photo of the detector's
    own size is not interpolated."""
    from kerastransfer.codecs.votes import classes_by_votes
    from kerastransfer.data.resize import resize_image
    from kerastransfer.phases import dense_maps

    predictor = trained.open_predictor(finished / "models/yolo_dense.keras")
    assert predictor.predict(np.zeros((50, 70, 3), np.uint8)).segmentation.shape == (50, 70)
    chosen = json.loads((finished / "phases.json").read_text())["maps_stride8"]["result"]["thresholds"]["votes"]
    maps = dense_maps.open_maps(finished / "models/yolov1.keras", 8, dilate=True, merge=False)
    for sample in datasets.load("toy:3").samples:
        image = resize_image(sample.read()["image"], (64, 64)).astype("uint8")
        wanted = classes_by_votes(maps.maps(image).votes, chosen)
        assert np.mean(predictor.predict(image).segmentation == wanted) > 0.99


@pytest.mark.slow
def test_a_given_detector_is_taken_whole(finished, tmp_path, capsys):
    """And untiled, with the same maps to rounding."""
    flags = [*SMALL, *MAPS, "--no-export", "--detector", str(finished / "models/yolov1.keras")]
    command_line.run(yolo_dense.main, yolo_dense.Config, [*flags, "--output", str(tmp_path / "run")])
    one, other = (json.loads((path / "metrics.json").read_text())["results"] for path in (finished, tmp_path / "run"))
    assert "yolov1" not in other
    assert other["votes_stride16"]["auc_mean"] == pytest.approx(one["votes_stride16"]["auc_mean"], abs=1e-4)


@pytest.mark.slow
def test_decoders_from_boxes_alone(finished, tmp_path):
    folder = tmp_path / "run"
    flags = ["--decoders", "unet", "--decoder-epochs", "1", "--masks", "true", "from-boxes", "--no-export"]
    encoder = ["--encoder", str(finished / "models/encoder.keras"), "--output", str(folder)]
    command_line.run(yolo_segnet.main, yolo_segnet.Config, [*SMALL, *flags, *encoder])
    results = json.loads((folder / "metrics.json").read_text())["results"]
    assert set(results) == {"yolo_unet", "yolo_unet_from_boxes"}
    masks = sorted((folder / "predictions/from_boxes").glob("*.png"))
    assert len(masks) == 16  # the training images, and no test image
    values = set(np.unique(np.concatenate([np.asarray(PIL.Image.open(path)).ravel() for path in masks])))
    assert values <= {0, 1, 2, 3, 4, 255} and len(values) > 2


@pytest.fixture
def labelled(tmp_path):
    """Ten scenes as LabelImg leaves them: boxes, and no mask anywhere."""
    folder = tmp_path / "labelled"
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for sample in datasets.load("toy:10").samples:
        example = sample.read()
        height, width = example["image"].shape[:2]
        objects = "".join(
            f"<object><name>shape</name><bndbox><xmin>{x1 * width:.0f}</xmin><ymin>{y1 * height:.0f}</ymin>"
            f"<xmax>{x2 * width:.0f}</xmax><ymax>{y2 * height:.0f}</ymax></bndbox></object>"
            for y1, x1, y2, x2 in example["boxes"]
        )
        PIL.Image.fromarray(example["image"]).save(folder / f"images/{sample.name}.png")
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        name = f"<filename>{sample.name}.png</filename>"
        (folder / f"annotations/{sample.name}.xml").write_text(f"<annotation>{name}{size}{objects}</annotation>")
    return folder


@pytest.mark.slow
def test_data_without_a_single_mask(finished, labelled, tmp_path, capsys):
    """The scores are told to be of masks that are made from boxes: on stdout, in the report and on the model card."""
    run = tmp_path / "run"
    flags = ["--decoders", "unet", "--decoder-epochs", "1", "--masks", "from-boxes", "--no-export"]
    encoder = ["--encoder", str(finished / "models/encoder.keras"), "--output", str(run), "--data", str(labelled)]
    command_line.run(yolo_segnet.main, yolo_segnet.Config, [*SMALL, *flags, *encoder])
    results = json.loads((run / "metrics.json").read_text())["results"]
    assert set(results) == {"yolo_unet_from_boxes"}
    assert json.loads((run / "models/yolo_unet_from_boxes.json").read_text())["labels"] == ["background", "shape"]
    assert len(list((run / "predictions/from_boxes").glob("*.png"))) == 10  # test images, too
    for text in (capsys.readouterr().err, (run / "report.html").read_text(), (run / "models/README.md").read_text()):
        assert "No image of these data has a mask" in text
    assert "were trained on it with masks that are made from boxes." in (run / "report.html").read_text()


@pytest.mark.slow
def test_dense_maps_without_a_single_mask(labelled, tmp_path, capsys):
    flags = ["--no-export", "--data", str(labelled), "--output", str(tmp_path / "run")]
    command_line.run(yolo_dense.main, yolo_dense.Config, [*SMALL, *MAPS, *flags])
    assert "No image of these data has a mask" in capsys.readouterr().err
    assert "yolo_dense" in json.loads((tmp_path / "run/metrics.json").read_text())["results"]


def test_true_masks_are_asked_for_where_nobody_drew_any(labelled, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        output = ["--data", str(labelled), "--output", str(tmp_path / "run")]
        command_line.run(yolo_segnet.main, yolo_segnet.Config, [*SMALL, *output])
    assert end.value.code == 2
    assert "--masks from-boxes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def stopped(capsys, folder, *flags):
    """What a run says on stderr that ends with exit code 2 and one line, and leaves no folder."""
    with pytest.raises(SystemExit) as end:
        command_line.run(yolo_dense.main, yolo_dense.Config, [*SMALL, "--output", str(folder), *map(str, flags)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    assert not folder.exists()
    return error


BAD = {
    "stride that is not a power of two": (["--output-strides", "3"], "output stride 3 is not a power of two"),
    "detector that is missing": (["--detector", "nowhere.keras"], "nowhere.keras: no such file"),
    "segmenter that is missing": (["--beside", "nowhere.tflite"], "nowhere.tflite: no such file"),
    "dense layers": (["--net.head", "paper_fc"], "use --net.head fully_conv"),
    "a net of several grids": (["--model", "yolov3-tiny"], "use --model small"),
    "letterboxed images": (["--resize", "letterbox"], "dense inference stretches images"),
    "negative tiles": (["--tile", "-1"], "--tile is -1; it must be at least 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, capsys):
    flags, words = BAD[case]
    assert words in stopped(capsys, tmp_path / "run", *flags)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A detector, one of letterboxed images, one of several grids and a segmenter, untrained."""
    import keras

    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.models.yolo_unet import yolo_unet
    from kerastransfer.models.yolov1 import yolov1
    from kerastransfer.tasks.about import About

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    labels, narrow = ("disc", "square", "triangle", "star"), [((4, 3, 2),)] * 5
    codec, grids = YoloV1Codec(4), YoloV3Codec(4, ((9.0, 9.0),), (("p5", 32, (0,)),))
    network = yolov1(yolov1_encoder(narrow), codec)
    detector = {"task": "detection", "labels": labels, "image_size": (64, 64)}
    trained.write(network, folder / "detector.keras", About(**detector, decoder=codec))
    trained.write(network, folder / "letterbox.keras", About(**detector, decoder=codec, resize="letterbox"))
    trained.write(network, folder / "grids.keras", About(**detector, decoder=grids))
    segmenter = About(task="segmentation", labels=("background", *labels), image_size=(64, 64))
    trained.write(yolo_unet(yolov1_encoder(narrow), 5, widths=[4] * 6), folder / "segmenter.keras", segmenter)
    return folder


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("segmenter", [], "dense maps need a detector"),
        ("grids", [], "is a detector with several grids"),
        ("letterbox", [], "give one trained with --resize stretch"),
        ("detector", ["--output-strides", "64"], "choose one of 1, 2, 4, 8, 16"),
    ],
)
def test_a_detector_that_does_not_fit(name, flags, words, models, tmp_path, capsys):
    assert words in stopped(capsys, tmp_path / "run", "--detector", models / f"{name}.keras", *flags)


def test_boxes_of_other_classes_cannot_stand_for_masks():
    from kerastransfer.data.toy import toy
    from kerastransfer.errors import UserError
    from kerastransfer.phases import dense_maps

    scenes = toy(count=1)
    whole = dense_maps.classes_of(scenes, scenes.classes)
    assert whole.names == scenes.segmentation_classes and not whole.merge
    with pytest.raises(UserError, match=r"boxes moon; boxes can replace masks only if the classes are the same"):
        dense_maps.classes_of(scenes, ["moon"])
