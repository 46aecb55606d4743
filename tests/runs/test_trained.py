"""Trained models on disk: what they are for, files of version 0.1, encoders of any file, what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.codecs.masked_boxes import MaskedBoxes
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.errors import UserError
from kerastransfer.runs import trained
from kerastransfer.tasks.about import About

# Keras 3.15 saving a model under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SIZE = (64, 64)
NARROW = [((4, 3, 2),)] * 5
ANCHORS = ((10.0, 12.0), (30.0, 28.0))
LEVELS = (("p4", 16, (0,)), ("p5", 32, (1,)))


@pytest.fixture(scope="module")
def detector():
    import keras

    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.models.yolov1 import yolov1

    keras.utils.set_random_seed(0)
    return yolov1(yolov1_encoder(NARROW), YoloV1Codec(2, sizes="root", score="product"))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3)).astype("float32")


DECODERS = {
    "yolov1": YoloV1Codec(2, 3, sizes="cell", layout="darknet", score="confidence", reach=0.5),
    "yolov3": YoloV3Codec(2, ANCHORS, LEVELS, ratio=4.0, reach=0.5, sway=2.0),
    "masks": MaskedBoxes(YoloV3Codec(2, ANCHORS, LEVELS), MaskCodec(mask_size=14, level="fpn"), 20),
    "none": None,
}


@pytest.mark.parametrize("name", DECODERS)
def test_what_a_model_is_for_comes_back(name, detector, image, tmp_path):
    about = About(
        task={"masks": "instances", "none": "segmentation"}.get(name, "detection"),
        labels=("Kätzchen", "dog"),
        image_size=SIZE,
        resize="letterbox",
        decoder=DECODERS[name],
    )
    trained.write(detector, tmp_path / "model.keras", about)
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "model.json"}
    network, read = trained.stored(tmp_path / "model.keras")
    assert read == about
    np.testing.assert_allclose(network(image), detector(image), atol=1e-5)


def test_a_model_for_nothing_known_is_not_written(detector, tmp_path):
    with pytest.raises(ValueError, match="unknown task 'detektion'; choose from detection"):
        trained.write(detector, tmp_path / "model.keras", About(task="detektion", labels=("a",), image_size=SIZE))
    assert not list(tmp_path.iterdir())


def test_the_exported_graph_has_the_outputs_of_its_task(detector, image, tmp_path):
    codec = YoloV1Codec(2, sizes="root", score="product")
    about = About(task="detection", labels=("cat", "dog"), image_size=SIZE, decoder=codec)
    trained.write(detector, tmp_path / "model.keras", about)
    graph, read = trained.exported(tmp_path / "model.keras")
    assert read == about
    boxes, scores = codec.decode(detector(image))
    np.testing.assert_allclose(graph(image)["boxes"], boxes, atol=1e-5)
    np.testing.assert_allclose(graph(image)["scores"], scores, atol=1e-5)


def old(path, network, **described):
    """Files as version 0.1 wrote them."""
    from kerastransfer.export import loading

    loading.write_keras(network, path)
    common = {"labels": ["cat", "dog"], "image_size": list(SIZE), "resize": "letterbox"}
    path.with_suffix(".json").write_text(json.dumps({**common, **described}))
    return path


def fields(codec, name):
    """A codec as version 0.1 wrote it, and as JSON brings it back."""
    return json.loads(json.dumps({"name": name, **dataclasses.asdict(codec)}))


@pytest.mark.parametrize("name", ["yolov1", "yolov3"])
@pytest.mark.slow
def test_detectors_of_version_0_1_open(name, detector, tmp_path):
    codec = DECODERS[name]
    path = old(tmp_path / "old.keras", detector, task="detection", codec=fields(codec, name))
    _, about = trained.stored(path)
    assert about == About(task="detection", labels=("cat", "dog"), image_size=SIZE, resize="letterbox", decoder=codec)


def test_mask_branches_of_version_0_1_open(detector, tmp_path):
    found = DECODERS["masks"]
    described = {"codec": fields(found.codec, "yolov3"), "masks": dataclasses.asdict(found.masks), "detections": 20}
    _, about = trained.stored(old(tmp_path / "old.keras", detector, task="instances", **described))
    assert about.task == "instances" and about.decoder == found


def test_segmenters_of_version_0_1_open(detector, tmp_path):
    path = old(tmp_path / "old.keras", detector, task="segmentation", codec=None)
    json_path = path.with_suffix(".json")
    described = json.loads(json_path.read_text())
    del described["codec"], described["resize"]
    json_path.write_text(json.dumps(described))
    _, about = trained.stored(path)
    assert about == About(task="segmentation", labels=("cat", "dog"), image_size=SIZE)


@pytest.mark.slow
def test_the_encoder_of_a_whole_model_and_of_its_own_file(detector, image, tmp_path):
    from kerastransfer.export import loading

    about = About(task="detection", labels=("cat", "dog"), image_size=SIZE, decoder=DECODERS["yolov1"])
    trained.write(detector, tmp_path / "model.keras", about)
    loading.write_keras(detector.get_layer("encoder"), tmp_path / "encoder.keras")
    expected = detector.get_layer("encoder")(image)
    for name in ("model.keras", "encoder.keras"):
        part = trained.encoder(tmp_path / name)
        assert list(part.output) == ["c1", "c2", "c3", "c4", "c5"]
        for tap, values in part(image).items():
            np.testing.assert_allclose(values, expected[tap], atol=1e-5)


def test_weights_without_an_architecture_are_refused(tmp_path):
    np.savez(tmp_path / "encoder.npz", kernel=np.zeros(3))
    with pytest.raises(UserError, match=r"encoder\.npz: .*0\.1 wrote such files.*give a \.keras file") as caught:
        trained.encoder(tmp_path / "encoder.npz")
    assert "\n" not in str(caught.value)


def test_a_model_without_an_encoder_is_refused(tmp_path):
    import keras

    image = keras.Input((8, 8, 3))
    for number, output in enumerate((image * 2, {"features": image * 2})):
        keras.Model(image, output).save(tmp_path / f"{number}.keras")
        with pytest.raises(UserError, match=r"the encoder .* a keras\.Model .* RUN/models/encoder\.keras"):
            trained.encoder(tmp_path / f"{number}.keras")


def described(**changes):
    """NAME.json of a detector of two classes, with changes."""
    codec = {"name": "yolov1", "num_classes": 2}
    return json.dumps({"task": "detection", "labels": ["a", "b"], "image_size": [64, 64], "codec": codec} | changes)


DAMAGED = {
    "nested too deeply": "[" * 100_000,
    "with a label of control codes": described(labels=["a", "\x1b[2J"]),
    "with a word for the labels": described(labels="ab"),
    "with too few labels": described(labels=["a"]),
    "with negative sizes": described(image_size=[-64, 64]),
    "with words for sizes": described(image_size=["64", 64]),
    "with a word for the number of classes": described(codec={"name": "yolov1", "num_classes": "x"}),
    "of a decoder that is a loss": described(
        decoder={"module": "keras.losses", "class_name": "Huber", "config": {}, "registered_name": None}, codec=None
    ),
    "missing": None,
    "torn": "{",
    "a list": "[]",
    "of a detector without its codec": '{"task": "detection", "labels": ["a", "b"], "image_size": [64, 64]}',
    "without labels": '{"task": "detection", "image_size": [64, 64]}',
    "of an unknown task": '{"task": "poetry", "labels": [], "image_size": [1, 1]}',
    "of one side": '{"task": "detection", "labels": ["a"], "image_size": [64]}',
    "of an unknown resize": '{"task": "detection", "labels": ["a"], "image_size": [64, 64], "resize": "crop"}',
    "of an unknown codec": '{"task": "detection", "labels": ["a"], "image_size": [64, 64], "codec": {"name": "ssd"}}',
    "of a codec with other fields": (
        '{"task": "detection", "labels": ["a"], "image_size": [64, 64], "codec": {"name": "yolov1", "depth": 1}}'
    ),
    "of a decoder that is code": (
        '{"task": "detection", "labels": ["a"], "image_size": [64, 64], "decoder": '
        '{"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": "system"}}'
    ),
}


@pytest.fixture(scope="module")
def alone(detector, tmp_path_factory):
    """A network without a description."""
    from kerastransfer.export import loading

    path = tmp_path_factory.mktemp("alone") / "model.keras"
    loading.write_keras(detector, path)
    return path


@pytest.mark.parametrize("case", DAMAGED)
def test_a_description_that_is_missing_or_damaged(case, alone):
    path = alone
    path.with_suffix(".json").unlink(missing_ok=True)
    if DAMAGED[case] is not None:
        path.with_suffix(".json").write_text(DAMAGED[case])
    with pytest.raises(
        UserError, match="keep it beside" if case == "missing" else "does not describe a model"
    ) as caught:
        trained.stored(path)
    assert str(path.with_suffix(".json")) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_damaged_descriptions_are_read_or_refused_in_one_line(alone, monkeypatch):
    """200 with random damage to bytes or structure, read for prediction."""
    network = trained._network(alone)
    monkeypatch.setattr(trained, "_network", lambda path: network)
    trained.write(network, alone, About("detection", ("a", "b"), (64, 64), decoder=YoloV1Codec(2)))
    beside, rng = alone.with_suffix(".json"), np.random.default_rng(0)
    whole, read = beside.read_text(), 0
    odd = [None, [], {}, "", "x\n", -1, 0, True, [[]], "detection", 2**70, "os.system"]
    for number in range(200):
        if number % 2:
            content = bytearray(whole.encode())
            for _ in range(rng.integers(1, 5)):
                content[rng.integers(len(content))] = rng.integers(256)
            beside.write_bytes(content)
        else:
            changed = json.loads(whole)
            decoder = changed["decoder"]
            places = [(part, key) for part in (changed, decoder, decoder["config"]) for key in part]
            where, key = places[rng.integers(len(places))]
            where[key] = odd[rng.integers(len(odd))]
            beside.write_text(json.dumps(changed))
        try:
            trained.exported(alone)
            read += 1
        except UserError as error:
            assert "\n" not in str(error)
    assert 0 < read < 100


def test_a_file_of_another_kind(tmp_path):
    with pytest.raises(UserError, match=r"give a \.keras or a \.tflite file"):
        trained.open_predictor(tmp_path / "model.pt")
    with pytest.raises(UserError, match="no such file"):
        trained.open_predictor(tmp_path / "model.keras")


@pytest.fixture
def run(tmp_path):
    """The folder of a run, with empty files in place of models."""
    folder = tmp_path / "run" / "models"
    folder.mkdir(parents=True)
    for name in ("net.keras", "encoder.keras", "net.tflite", "net.weights.h5"):
        (folder / name).touch()
    return folder.parent


@pytest.mark.parametrize(
    ("require", "read", "flag", "listed"),
    [
        (trained.require, trained.detector, "--start", ["models/net.keras"]),
        (trained.require_encoder, trained.encoder, "--encoder", ["models/encoder.keras", "models/net.keras"]),
    ],
)
def test_of_a_folder_the_models_that_can_be_taken_are_listed(require, read, flag, listed, run):
    told = f"{run} is a folder; give one of its models: " + ", ".join(str(run / one) for one in listed)
    with pytest.raises(UserError) as caught:
        require(str(run), flag)
    assert str(caught.value) == f"{flag} {told}"
    with pytest.raises(UserError) as caught:
        read(run)
    assert str(caught.value) == told


@pytest.mark.parametrize("flag", ["--start", "--encoder"])
def test_files_that_are_no_whole_models_name_the_keras_file(flag, run):
    require, read = {
        "--start": (trained.require, trained.detector),
        "--encoder": (trained.require_encoder, trained.encoder),
    }[flag]
    for name, told in (
        (
            "net.weights.h5",
            f"weights alone have no architecture; give the .keras file beside it, {run}/models/net.keras",
        ),
        ("net.tflite", "a .tflite file only predicts; give the .keras file that it was exported from"),
    ):
        path = str(run / "models" / name)
        for call in (lambda path: require(path, flag), read):
            with pytest.raises(UserError) as caught:
                call(path)
            assert f"{path}: {told}" in str(caught.value)


@pytest.mark.parametrize("address", ["https://host/m.keras", "HTTP://host/m", "s3://bucket/m.tflite"])
def test_an_address_cannot_be_read(address):
    told = f"{address}: an address cannot be read; download the file and give its path (hf://OWNER/NAME works)"
    calls = (trained.open_predictor, trained.stored, trained.encoder, trained.detector, trained.require)
    for call in (*calls, trained.require_encoder):
        with pytest.raises(UserError) as caught:
            call(address, *(["--start"] if call is trained.require else []))
        assert told in str(caught.value)
