"""Segmenters on any encoder: what is frozen, copied and kept; the training itself is replaced."""

import json

import keras
import numpy as np
import pytest

from kerastransfer.encoders import taps
from kerastransfer.encoders.yolov1 import yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.export import loading
from kerastransfer.phases import segmenter as phases
from kerastransfer.phases.segmenter import SegmenterConfig, random_twin, segmenter
from kerastransfer.runs import fitting, trained
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.training import transfer


def foreign():
    """An encoder of Keras's own layers: nested, of stride 8, with its own names."""
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(6, 3, 2, "same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ],
        name="stem",
    )
    image = keras.Input((None, None, 3))
    first = inner(keras.layers.Rescaling(1 / 255)(image))
    second = keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name="second")(first)
    third = keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name="third")(second)
    return keras.Model(image, {"c1": first, "c2": second, "c3": third}, name="backbone")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """{name: path} of this package's encoder, and of one of Keras's own layers."""
    keras.utils.set_random_seed(3)
    folder, paths = tmp_path_factory.mktemp("encoders"), {}
    for name, model in (("own", yolov1_encoder([((4, 3, 2),)] * 5)), ("foreign", foreign())):
        paths[name] = folder / f"{name}.keras"
        loading.write_keras(model, paths[name])
    return paths


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A function that trains a segmenter and returns its encoder, its report and what was scored; and the list of what
    was fitted: (objective, training images)."""
    fitted, scored = [], []

    def nudge(objective, train, config, run, phase):
        fitted.append((objective, train))
        for variable in objective.network.trainable_variables:
            variable.assign_add(0.01 * np.ones(variable.shape))

    monkeypatch.setattr(fitting, "fit", nudge)
    monkeypatch.setattr(Outcome, "score", lambda _, *given: scored.append(given))
    config = SegmenterConfig(
        data="toy:10", image_size=64, output=str(tmp_path / "run"), quiet=True, precision="float32"
    )
    with RunFolder("page", config) as run:
        data = load_data(config, "boxes", "segmentation")
        result = Outcome(config, run, data)

        def start(name, decoder, encoder, **options):
            changed = options.pop("config", config)
            segmenter(name, decoder, encoder, changed, run, data, result, **options)
            report = json.loads((run.path / "transfer_report.json").read_text())[name]
            return trained.encoder(run.models / f"{name}.keras"), report, scored

        yield start, fitted


@pytest.mark.parametrize("kind", ["own", "foreign"])
@pytest.mark.slow
def test_a_frozen_encoder_is_the_given_one(kind, encoders, started):
    start, fitted = started
    part, report, scored = start("unet", "unet", encoders[kind])
    given = trained.encoder(encoders[kind])
    assert transfer.checksum(part) == transfer.checksum(given)
    assert report["moved"] == report["fresh"] == [] and report["source"] == str(encoders[kind])
    assert len(report["copied"]) == len(report["frozen"]) == len(given.weights) > 5
    ((objective, train),) = fitted
    assert objective.fields == ("segmentation",) and objective.epochs == 60 and len(train) == 8
    behind = [objective.network.get_layer(name).trainable_variables for name in ("decoder", "head")]
    assert len(objective.network.trainable_variables) == sum(map(len, behind)) > 4
    ((name, task, test, role),) = scored
    assert (name, task, len(test), role) == ("unet", "segmentation", 2, "subject")


@pytest.mark.parametrize("kind", ["own", "foreign"])
@pytest.mark.slow
def test_random_weights_are_new_ones_in_the_same_architecture(kind, encoders, started):
    start, _ = started
    part, report, scored = start("random", "segnet", encoders[kind], random=True, role="control")
    given = trained.encoder(encoders[kind])
    assert [variable.shape for variable in part.weights] == [variable.shape for variable in given.weights]
    kernels = [
        (one, other)
        for one, other in zip(part.weights, given.weights, strict=True)
        if one.path.endswith("kernel") and one.shape[-1] > 1
    ]
    assert kernels and all(np.abs(one - other).max() > 0.01 for one, other in kernels)
    assert report["source"] == "random weights" and report["copied"] == []
    assert len(report["fresh"]) == len(given.weights) and report["moved"] == []
    assert scored[0][-1] == "control"
    # Batch statistics are those of images: new ones would be 0 and 1.
    variances = [np.array(weight) for weight in part.weights if weight.path.endswith("moving_variance")]
    assert variances and all(not np.allclose(values, 1) for values in variances)


@pytest.mark.slow
def test_an_encoder_that_trains_as_well_moves(encoders, started):
    start, _ = started
    part, report, _ = start("through", "unet", encoders["own"], freeze="none")
    assert report["frozen"] == [] and report["moved"]
    assert transfer.checksum(part) != transfer.checksum(trained.encoder(encoders["own"]))


def test_a_frozen_encoder_that_moved_is_a_bug_that_is_noticed(encoders, started, monkeypatch):
    start, _ = started

    def careless(objective, train, config, run, phase):
        variable = objective.network.get_layer("encoder").weights[0]
        variable.assign_add(np.ones(variable.shape))

    monkeypatch.setattr(fitting, "fit", careless)
    with pytest.raises(RuntimeError, match="the encoder was frozen, but"):
        start("unet", "unet", encoders["own"])


@pytest.mark.slow
def test_other_training_images_are_taken(encoders, started):
    start, fitted = started
    scenes = load_data(SegmenterConfig(data="toy:15"), "segmentation").dataset
    start("unet", "unet", encoders["own"], train=scenes)
    assert fitted[0][1] is scenes


@pytest.mark.slow
def test_a_dilated_encoder_has_the_given_weights(encoders, started):
    start, fitted = started
    config = SegmenterConfig(data="toy:10", image_size=48, quiet=True, precision="float32", output_stride=16)
    part, report, _ = start("deeplab", "deeplab", encoders["own"], config=config)
    given = trained.encoder(encoders["own"])
    assert taps.strides(given)["c5"] == 32 and taps.strides(part)["c5"] == 16
    assert transfer.checksum(part) == transfer.checksum(given)
    assert report["moved"] == report["fresh"] == [] and report["source"] == str(encoders["own"])
    # Of 16, which is the largest stride now, 48 is a multiple.
    assert fitted[0][0].network.compute_output_shape((1, 48, 48, 3))[1:3] == (48, 48)


@pytest.mark.parametrize(
    ("kind", "stride", "words"),
    [("foreign", 16, "the largest stride of the encoder is 8; give 8"), ("uneven", 8, "cannot be dilated")],
)
def test_an_encoder_that_cannot_be_dilated(kind, stride, words, encoders, started, tmp_path):
    start, fitted = started
    if kind == "uneven":
        image = keras.Input((None, None, 3))
        x, maps = image, {}
        for number in range(1, 5):
            x = maps[f"c{number}"] = keras.layers.Conv2D(4, 3, 2, "same", name=f"uneven{number}")(x)
        loading.write_keras(keras.Model(image, maps), tmp_path / "uneven.keras")
    path = encoders.get(kind, tmp_path / "uneven.keras")
    config = SegmenterConfig(data="toy:10", image_size=64, quiet=True, precision="float32", output_stride=stride)
    with pytest.raises(UserError, match=f"--output-stride {stride}: .*{words}"):
        start("deeplab", "deeplab", path, config=config)
    assert not fitted


@pytest.mark.parametrize(("kind", "size", "stride"), [("own", 48, 32), ("foreign", 60, 8)])
def test_an_image_size_that_the_encoder_does_not_divide(kind, size, stride, encoders, started, tmp_path):
    start, fitted = started
    config = SegmenterConfig(data="toy:10", image_size=size, quiet=True, precision="float32")
    with pytest.raises(UserError, match=f"--image-size {size} is not a multiple of {stride}"):
        start("unet", "unet", encoders[kind], config=config)
    assert not fitted


def test_a_random_twin_leaves_the_original_alone(encoders):
    given = trained.encoder(encoders["foreign"])
    before = transfer.checksum(given)
    twin = random_twin(given)
    assert twin.compute_output_shape((1, 64, 64, 3)) == given.compute_output_shape((1, 64, 64, 3))
    assert [one.path for one in twin.weights] == [one.path for one in given.weights]
    for variable in twin.weights:
        variable.assign(np.full(variable.shape, 7.0))
    assert transfer.checksum(given) == before


@pytest.mark.parametrize("flags", [{"decoder_epochs": 0}, {"decoder_learning_rate": 0.0}])
def test_settings_that_cannot_work(flags):
    (name,) = flags
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is 0"):
        SegmenterConfig(**flags)
    with pytest.raises(UserError, match="--output-stride is 12; give 8 or 16, or 0"):
        SegmenterConfig(output_stride=12)
    with pytest.raises(UserError, match="--cache-features does not work with --strategy mirrored"):
        SegmenterConfig(cache_features=True, strategy="mirrored")
    with pytest.raises(UserError, match=r"--cache none does not work with --cache-features, .* use --cache disk"):
        SegmenterConfig(cache_features=True, cache="none")


@pytest.mark.slow
def test_features_are_cached_only_below_a_fully_frozen_encoder(encoders, started, monkeypatch):
    start, fitted = started
    cached = []

    def on_features(objective, train, config, run, phase):
        cached.append(phase)

    monkeypatch.setattr(phases, "fit_on_features", on_features)
    config = SegmenterConfig(data="toy:10", image_size=64, quiet=True, precision="float32", cache_features=True)
    for name, freeze in (("one", "full"), ("two", "none")):
        start(name, "segnet", encoders["own"], config=config, freeze=freeze)
    assert cached == ["one"] and len(fitted) == 1
