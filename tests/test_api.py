"""The names that `import kerastransfer as kt` offers."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

import kerastransfer as kt
from kerastransfer.data.toy import CLASSES
from kerastransfer.errors import UserError

SIZE = 32


@pytest.fixture(scope="module")
def scenes():
    return kt.data("toy:15", "boxes", "segmentation")


def test_the_package_stays_light_and_lists_its_names():
    code = """if True:
        import sys
        import kerastransfer as kt
        assert set(kt.__all__) <= set(dir(kt))
        assert not {"keras", "tensorflow", "numpy"} & set(sys.modules), "too heavy"
        try:
            kt.segmentor
        except AttributeError as error:
            assert "segmenter" in str(error)
        else:
            raise AssertionError
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_rooms_of_the_same_name_can_be_called():
    """Before and after their modules were imported."""
    from kerastransfer.data import datasets
    from kerastransfer.export import parity

    assert callable(kt.data) and callable(kt.export)
    assert kt.data.datasets is datasets and kt.export.parity is parity


def test_data_is_split_and_completed(scenes):
    train, test = scenes
    assert (len(train), len(test)) == (12, 3) and train.classes == CLASSES
    labelled, _ = kt.data("toy:5", "label")
    example = labelled.samples[0].read()
    areas = np.prod(example["boxes"][:, 2:] - example["boxes"][:, :2], axis=-1)
    assert example["label"] == example["labels"][areas.argmax()] and labelled.image_classes == CLASSES


@pytest.mark.slow
def test_batches_of_each_field(scenes):
    train, _ = scenes
    found = {field: kt.batches(train, field, image_size=SIZE, batch_size=4) for field in ("boxes", "segmentation")}
    assert all(len(batches) == 3 for batches in found.values())
    image, target = found["segmentation"][0]
    assert image.shape == (4, SIZE, SIZE, 3) and target.shape == (4, SIZE, SIZE)
    image, target = found["boxes"][0]
    assert target["boxes"].shape[2] == 4 and target["labels"].shape == target["boxes"].shape[:2]
    again = kt.batches(train, "segmentation", image_size=SIZE, batch_size=4)
    first, second = again[0][0], again[0][0]
    assert not np.array_equal(first, second), "the next batch, whatever the number"


def test_validation_batches_have_each_image_once(scenes):
    train, test = scenes
    found = {
        cache: list(kt.validation_batches(test, "segmentation", image_size=SIZE, batch_size=4, cache=cache))
        for cache in ("memory", "none")
    }
    assert sum(len(image) for image, _ in found["memory"]) == len(test)
    for (image, target), (other, _) in zip(*found.values(), strict=True):
        assert image.shape[1:] == (SIZE, SIZE, 3) and target.shape == image.shape[:3]
        np.testing.assert_array_equal(image, other)
    kept, late = (kt.batches(train, "boxes", image_size=SIZE, batch_size=4, cache=cache) for cache in found)
    np.testing.assert_array_equal(kept[0][0], late[0][0])
    with pytest.raises(UserError, match="cache 'disk': give 'memory' or 'none'"):
        kt.batches(train, "boxes", cache="disk")


@pytest.mark.slow
def test_fit_validates(scenes):
    """The loss of padding does not count: it is that of the images one by one."""
    train, test = scenes
    model = kt.segmenter(kt.encoder("small"), "segnet", train.segmentation_classes, image_size=SIZE)
    model.compile("adam", loss=kt.PixelLoss())
    history = model.fit(
        kt.batches(train, "segmentation", image_size=SIZE, batch_size=4),
        validation_data=kt.validation_batches(test, "segmentation", image_size=SIZE, batch_size=4),
        verbose=0,
    )
    single = kt.validation_batches(test, "segmentation", image_size=SIZE, batch_size=1)
    loss = kt.PixelLoss()
    expected = np.mean([float(loss(target, model(image))) for image, target in single])
    assert history.history["val_loss"][0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        (
            "toy:5",
            ["bboxes"],
            "unknown field 'bboxes'; did you mean 'boxes'\\? Fields are boxes, masks, segmentation, label",
        ),
        ("toy:5", [["boxes"]], r"unknown field \['boxes'\]; did you mean 'boxes'"),
        (None, [], "data is None; give a folder, an annotation file, 'toy' or 'tfds:NAME'"),
    ],
)
def test_what_is_no_data_or_no_field_is_told(name, fields, told):
    with pytest.raises(UserError, match=told):
        kt.data(name, *fields)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"field": ["boxes"]}, r"unknown field \['boxes'\]; did you mean 'boxes'"),
        ({"image_size": (64, 64)}, r"image_size is \(64, 64\); give one number of pixels above 0, such as 224"),
        ({"image_size": 0}, "image_size is 0; give one number of pixels"),
        ({"image_size": True}, "image_size is True; give one number of pixels"),
        ({"batch_size": 0}, "batch_size is 0; give a whole number above 0, such as 16"),
        ({"batch_size": 2.5}, "batch_size is 2.5; give a whole number"),
        ({"seed": 2**32}, "seed is 4294967296; give a whole number from 0 to 4294967295"),
        ({"seed": -1}, "seed is -1; give a whole number"),
        ({"seed": "x"}, "seed is 'x'; give a whole number"),
    ],
)
def test_what_makes_no_batches_is_told(scenes, settings, told):
    settings = {"field": "boxes", "image_size": SIZE, **settings}
    with pytest.raises(UserError, match=told):
        kt.batches(scenes[0], **settings)
    if "seed" not in settings:
        with pytest.raises(UserError, match=told):
            kt.validation_batches(scenes[0], **settings)


def test_the_largest_seed_makes_batches(scenes):
    assert kt.batches(scenes[0], "boxes", image_size=SIZE, batch_size=4, seed=2**32 - 1)[0][0].shape[0] == 4


def test_a_model_takes_one_image_size(scenes):
    told = r"image_size is \(64, 64\); give one number of pixels"
    with pytest.raises(UserError, match=told):
        kt.detector("small", scenes[0], image_size=(64, 64))
    with pytest.raises(UserError, match=told):
        kt.segmenter(kt.encoder("small"), "segnet", ("background", "cat"), image_size=(64, 64))
    with pytest.raises(UserError, match=told):
        kt.classifier(kt.encoder("small"), ("cat", "dog"), image_size=(64, 64))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("abc", r"'abc': give a sequence of names, as in \['abc'\]"),
        (("cat", "a\nb"), "the label 'a.*b' is not a printable name of at most 200 letters"),
        (("cat", "\x1b[2J"), "is not a printable name of at most 200 letters"),
        (("cat", "x" * 201), "is not a printable name of at most 200 letters"),
        ((), r"labels is \[\]; a list of names is needed"),
        (3, "3: give a sequence of names"),
    ],
)
def test_classes_that_no_file_could_name_are_refused(names, told):
    with pytest.raises(UserError, match=f"^classes.*{told}"):
        kt.detector("small", classes=names)
    with pytest.raises(UserError, match=f"^labels.*{told}"):
        kt.segmenter(kt.encoder("small"), "segnet", names)
    with pytest.raises(UserError, match=f"^labels.*{told}"):
        kt.classifier(kt.encoder("small"), names)


@pytest.mark.parametrize(
    ("net", "settings", "told"),
    [
        ("small", {"image_size": 70}, "^image_size 70 is not a multiple of 16, the largest stride of small; try 64$"),
        ("yolov3-tiny", {"width": 0}, "^width is 0"),
        ("yolov3-tiny", {"los": "ciou"}, r"^yolov3-tiny has no setting los \(nearest: loss\); its settings are loss, "),
        ("yolov3-tiny", {"width": "wide"}, "give settings of the right types"),
        ("yolov3-tinny", {}, "^unknown net yolov3-tinny; .*nearest: yolov3-tiny"),
    ],
)
def test_a_detectors_settings_are_told_as_arguments(net, settings, told):
    with pytest.raises(UserError, match=told):
        kt.detector(net, classes=("cat",), **settings)


def test_what_to_freeze_is_one_of_three_words():
    encoder = kt.encoder("small")
    with pytest.raises(UserError, match=r"^freeze is 'all'; give 'full', 'weights' or 'none'$"):
        kt.segmenter(encoder, "segnet", ("background", "cat"), freeze="all")
    with pytest.raises(UserError, match=r"^freeze is 'all'; give 'full', 'weights' or 'none'$"):
        kt.classifier(encoder, ("cat", "dog"), freeze="all")


def test_one_class_cannot_be_told_from_others():
    encoder = kt.encoder("small")
    with pytest.raises(UserError, match=r"^a classifier needs two classes of images or more, and there is 1"):
        kt.classifier(encoder, ("cat",))
    with pytest.raises(UserError, match=r"^labels has 1 name, cat; give those of two classes or more"):
        kt.segmenter(encoder, "segnet", ("cat",))


def test_a_model_says_what_it_is_for():
    encoder = kt.encoder("small")
    model = kt.segmenter(encoder, "segnet", ("background", "cat"), image_size=SIZE)
    assert model.output.shape[-1] == 2 and model.about.task == "segmentation"
    assert not encoder.trainable
    classifier = kt.classifier(kt.encoder("small"), ("cat", "dog", "hen"), image_size=SIZE)
    assert classifier.output.shape == (None, 3) and classifier.about.labels == ("cat", "dog", "hen")


def test_a_detector_has_the_settings_of_its_family(scenes):
    train, _ = scenes
    model = kt.detector("yolov3-tiny", train, image_size=64, width=0.25, loss="ciou")
    assert model.about.labels == CLASSES and model.about.decoder.num_classes == len(CLASSES)
    with pytest.raises(UserError, match=r"small has no setting width .*; its settings are encoder, loss, reach, head"):
        kt.detector("small", train, width=0.5)
    with pytest.raises(UserError, match=r"unknown net smal.*nearest: small"):
        kt.detector("smal", train)


@pytest.mark.slow
def test_what_was_saved_predicts_the_same(tmp_path, scenes):
    _, test = scenes
    model = kt.segmenter(kt.encoder("small"), "segnet", test.segmentation_classes, image_size=SIZE)
    kt.save(model, tmp_path / "net.keras")
    predictor = kt.load(tmp_path / "net.keras")
    assert dataclasses.replace(predictor.about, version="") == dataclasses.replace(model.about, version="")
    want, got = kt.evaluate(model, test), kt.evaluate(tmp_path / "net.keras", test)
    assert want.keys() == got.keys()
    np.testing.assert_allclose(list(want.values()), list(got.values()), atol=1e-6)


def test_a_model_of_ones_own_needs_a_word(tmp_path):
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    with pytest.raises(UserError, match=r"has no `about`; set model.about"):
        kt.save(model, tmp_path / "net.keras")


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    model = kt.segmenter(kt.encoder("small"), "unet", ("background", "cat"), image_size=SIZE)
    detector = kt.detector("small", classes=("cat", "dog"), image_size=64)
    for name in ("x.h5", "x", "x.tflite"):
        with pytest.raises(UserError, match=f"{name}: a model is saved as NAME.keras; give a name that ends in .keras"):
            kt.save(model, tmp_path / name)
    for one in (model, detector):
        about = dataclasses.replace(one.about, labels=("background", "cat", "dog"))
        with pytest.raises(UserError, match="3 labels, but the model has 2 classes; give as many labels"):
            kt.save(one, tmp_path / "x.keras", about)
    with pytest.raises(UserError, match="is not a printable name"):
        kt.save(model, tmp_path / "x.keras", dataclasses.replace(model.about, labels=("a", "b\n")))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_detector_starts_from_a_file(tmp_path, scenes):
    train, _ = scenes
    first = kt.detector("yolov3-tiny", train, image_size=64, width=0.125)
    kt.save(first, tmp_path / "first.keras")
    second = kt.detector("yolov3-tiny", train, image_size=96, start=tmp_path / "first.keras", ratio=3.0)
    for ours, theirs in zip(second.network.get_weights(), first.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert second.about.image_size == (96, 96) and second.about.decoder.ratio == 3
    second.compile("adam")
    second.fit(kt.batches(train, "boxes", image_size=96, batch_size=8), epochs=1, verbose=0)


def test_an_image_model_is_an_encoder():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, 2, padding="same")(image))
    found = kt.encoder(model, preprocessing="unit")
    assert set(found.output) == {"c1"}
    small = kt.encoder("small")
    assert kt.encoder(small) is small
    renamed = kt.encoder(keras.Model(small.input, {"c2": small.output["c2"]}, name="mine"))
    assert renamed.name == "encoder" and set(renamed.output) == {"c2"}
    # Other outputs are not taken for stages: these are found.
    assert set(kt.encoder(keras.Model(model.input, {"features": model.output})).output) == {"c1"}
    with pytest.raises(UserError, match="small has its own preprocessing and taps; give these only with a model"):
        kt.encoder("small", preprocessing="unit")


def test_a_detector_on_a_given_encoder():
    """A model, with the names of the classes in place of training images; the settings of its family apply."""
    from kerastransfer.encoders.yolov1 import yolov1_encoder

    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    model = kt.detector("retinanet", encoder=encoder, classes=("cat", "dog"), image_size=64, channels=8, towers=1)
    assert model.network.get_layer("encoder").get_layer("c1_1_conv").kernel.shape == (3, 3, 3, 4)
    assert model.about.labels == ("cat", "dog") and model.network.output["p3_classes"].shape[-1] == 18
    with pytest.raises(UserError, match=r"give the training images, or classes=\(name, ...\)"):
        kt.detector("retinanet", encoder=encoder)
    with pytest.raises(UserError, match=r"^yolov3-tiny has an encoder of its own; leave out encoder, .*: .*retinanet"):
        kt.detector("yolov3-tiny", encoder=encoder, classes=("cat",))


@pytest.mark.slow
@pytest.mark.parametrize(("net", "field"), [("faster_rcnn", "boxes"), ("mask_rcnn", "masks")])
def test_a_detector_that_reads_annotations_while_it_trains(net, field, scenes, tmp_path):
    """What is trained is another graph than what is saved."""
    from kerastransfer.encoders.yolov1 import yolov1_encoder

    train, _ = scenes
    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    model = kt.detector(net, train, encoder=encoder, image_size=64, channels=8, hidden=8, proposals=10)
    model.compile("sgd")
    model.fit(kt.batches(train, field, image_size=64, batch_size=4, annotated=True), epochs=1, verbose=0)
    kt.save(model, tmp_path / "model.keras")
    found = kt.load(tmp_path / "model.keras").predict(train.samples[0].read()["image"])
    assert found.image_size == train.samples[0].read()["image"].shape[:2]
    assert hasattr(found, "masks") == (net == "mask_rcnn")


@pytest.mark.slow
def test_anchors_without_training_images_are_those_of_the_cfg():
    model = kt.detector("yolov3-tiny", classes=("cat",), image_size=64, width=0.125)
    assert model.about.decoder.anchors[0] == (10, 14) and len(model.about.decoder.anchors) == 6


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nope", r"unknown encoder nope; choose yolov3-tiny, .*, or with random weights yolov1, .*\(nearest: "),
        ("resnet5", r"\(nearest: resnet50\)"),
        (3, r"encoder\(3\): give the path of a file, a name, or a Keras model"),
    ],
)
def test_what_is_no_encoder_is_told(source, told):
    with pytest.raises(UserError, match=told):
        kt.encoder(source)


def test_an_image_model_in_a_file_needs_the_adapter(tmp_path):
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Conv2D(2, 3, 2)(image)).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"any other image model becomes an encoder by kt.encoder\(model\)"):
        kt.encoder(tmp_path / "model.keras")


def test_an_encoder_alone_is_no_predictor(tmp_path):
    keras.Model(image := keras.Input((32, 32, 3)), {"c1": image}, name="encoder").save(tmp_path / "encoder.keras")
    with pytest.raises(UserError, match=r"encoder.keras: holds an encoder alone, which finds nothing by itself"):
        kt.load(tmp_path / "encoder.keras")
