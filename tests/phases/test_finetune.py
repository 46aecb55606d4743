"""The four scenarios: what is copied, what is new, and what a file cannot give; repeated images."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.data.toy import toy
from kerastransfer.encoders.unet import unet_encoder
from kerastransfer.errors import UserError
from kerastransfer.export.loading import write_keras
from kerastransfer.models.conrec import conrec
from kerastransfer.models.parts import batch_norms
from kerastransfer.phases import finetune
from kerastransfer.phases.arms import ArmsConfig, arms, control, refuse_other_encoder
from kerastransfer.phases.finetune import FinetuneConfig, Start, begun, repeated
from kerastransfer.training import transfer

CONFIG = FinetuneConfig(width=4, image_size=32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pretext with a decoder, one without, and one on another encoder."""
    folder = tmp_path_factory.mktemp("pretexts")
    models = {
        "conrec": conrec(unet_encoder(4)),
        "simclr": conrec(unet_encoder(4), tasks=(), contrast="average"),
        "wide": conrec(unet_encoder(6), contrast=None),
    }
    for name, model in models.items():
        write_keras(model, folder / f"{name}.keras")
    return {name: str(folder / f"{name}.keras") for name in models}


def weights(source, part):
    return transfer.weights(source if part is None else source.get_layer(part))


def same(ours, theirs):
    return [name for name in ours if np.array_equal(ours[name], theirs[name])]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["seg-enc", "seg-enc-dec"])
def test_a_decoder_is_copied_whole_or_not_at_all(scenario, files):
    network, report = begun(Start("conrec", scenario, files["conrec"]), 2, CONFIG)
    given = finetune.pretext.opened(files["conrec"])
    assert len(same(weights(network, "encoder"), transfer.weights(given))) == len(given.weights)
    decoder, theirs = weights(network, "decoder"), weights(finetune.decoder(files["conrec"]), None)
    kernels = [name for name in decoder if name.endswith("kernel")]
    kept = same(decoder, theirs)
    whole = scenario == "seg-enc-dec"
    assert (len(kept) == len(decoder)) if whole else not set(kernels) & set(kept)
    # The 1 x 1 convolutions of the skip connections are the decoder's; the output is always new.
    assert any(name.startswith("skip") for name in (report["copied"] if whole else report["fresh"]))
    assert set(weights(network, "head")) <= set(report["fresh"])
    assert len(report["copied"]) + len(report["fresh"]) == len(transfer.weights(network))
    assert (report["scenario"], report["source"]) == (scenario, files["conrec"])


@pytest.mark.slow
def test_random_weights_have_the_architecture_alone(files):
    network, report = begun(Start("random", "random", files["conrec"]), 2, CONFIG)
    assert transfer.same_architecture(network.get_layer("encoder"), finetune.pretext.opened(files["conrec"]))
    kernels = [name for name in weights(network, "encoder") if name.endswith("kernel")]
    assert not set(kernels) & set(
        same(weights(network, "encoder"), weights(finetune.pretext.opened(files["conrec"]), None))
    )
    assert report["copied"] == [] and report["source"] == "random weights"
    own, _ = begun(Start("random", "random"), 2, CONFIG)
    assert own.count_params() == network.count_params()


@pytest.mark.parametrize("random", [False, True])
def test_statistics_follow_a_short_training(random, tmp_path):
    """Of encoders whose own momentum is that of a long one."""
    encoder = unet_encoder(4, 2)
    for layer in batch_norms(encoder):
        layer.momentum = 0.999
    write_keras(encoder, tmp_path / "long.keras")
    opened = finetune.pretext.opened(str(tmp_path / "long.keras"), random=random)
    norms = batch_norms(opened)
    assert len(norms) == 4
    images = 255 * np.random.default_rng(0).random((4, 32, 32, 3)).astype("float32")
    for _ in range(200):
        found = opened(images, training=True)
    np.testing.assert_allclose(opened(images, training=False)["c2"], found["c2"], atol=0.05)


@pytest.mark.parametrize(
    ("name", "scenario", "words"),
    [
        ("conrec", "cls-enc", "has a decoder, so its encoder alone is the scenario seg-enc, not cls-enc"),
        ("simclr", "seg-enc", "has no U-Net decoder; only the scenario cls-enc is possible, not seg-enc"),
        ("simclr", "seg-enc-dec", "has no U-Net decoder"),
    ],
)
def test_a_scenario_that_the_file_does_not_make_possible(name, scenario, words, files):
    with pytest.raises(UserError, match=words):
        begun(Start(name, scenario, files[name]), 2, CONFIG)


def test_arms_are_all_scenarios_that_are_possible(files):
    config = ArmsConfig(width=4, image_size=32, pretexts=(), encoders=("yolov3-tiny",))
    found = arms(config, {name: files[name] for name in ("conrec", "simclr")})
    assert [start.label for start in found] == [
        *("random", "conrec_seg-enc", "conrec_seg-enc-dec", "simclr_cls-enc"),
        *("random_yolov3-tiny", "yolov3-tiny_cls-enc"),
    ]
    controls = [one and one.label for one in (control(start, found) for start in found)]
    assert controls == [None, "random", "random", "random", None, "random_yolov3-tiny"]
    with pytest.raises(UserError, match=r"wide\.keras has another encoder than --encoder unet --width 4"):
        refuse_other_encoder(config, files["wide"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pretexts": ("simclr", "simclr")}, "two starts are called simclr"),
        ({"pretexts": ("segmentation",)}, "the very masks that are counted; give --pretext-data"),
        ({"pretexts": ("simcrl",)}, "unknown --pretext simcrl"),
        ({"encoders": ("nowhere.keras",)}, "--encoders nowhere.keras: no such file"),
        ({"image_size": 16}, "--image-size 16 is too small for altered images; give 32 or more"),
        ({"finetune_steps": 0}, "--finetune-steps is 0"),
        ({"cross_entropy": -1.0}, "--cross-entropy is -1.0"),
        ({"encoder": "unknown"}, r"unknown .*(choose|nearest)"),
        ({"encoder": "resnet-50"}, "--encoder resnet-50 has weights"),
        ({"pretexts": (), "pretext_data": "toy-hard"}, "--pretext-data is for --pretexts"),
        ({"finetune_optimizer": "sdg"}, "unknown --optimizer sdg"),
    ],
)
def test_settings_are_checked(options, words):
    with pytest.raises(UserError, match=words):
        ArmsConfig(**options)


def test_repeated_images_have_names_of_their_own():
    data = toy(count=3)
    assert len(repeated(data, 3)) == 3 and len(repeated(data, 7)) == 9
    assert len({sample.name for sample in repeated(data, 7)}) == 9


def test_all_labelled_images_are_trained_on_without_validation():
    """And without a word on early stopping, whose default needs validation."""
    assert FinetuneConfig(validation=0.0).early_stopping == 0
    few = toy(count=8)
    kept, held = finetune.spared(few, FinetuneConfig(validation=0.0))
    assert len(kept) == 8 and held is None
    kept, held = finetune.spared(few, FinetuneConfig(validation=0.97))
    assert len(kept) >= 1 and len(held) >= 1


def test_no_pretext_learns_from_an_image_that_is_tested_on():
    """Not with a target either, which leaves images out."""
    config = FinetuneConfig(width=4, image_size=32, data="toy:60", target="star", quiet=True)
    data = finetune.labelled_data(config, "boxes")
    labelled, test = data.parts["segmentation"]
    tested = {sample.name for sample in test}
    assert tested and labelled.segmentation_classes == ("background", "star")
    for name in ("simclr", "detection"):
        learnt, _ = finetune.pretext.images(data, name, config)
        assert not tested & {sample.name for sample in learnt} and len(learnt) == 48
    half = dataclasses.replace(config, fraction=0.5)
    assert len(finetune.pretext.images(data, "simclr", half)[0]) == 24
