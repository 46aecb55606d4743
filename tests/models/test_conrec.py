"""The U-Net and ConRec of Dippel et al.: parameter counts as published, pooling, tasks that share what they should."""

import keras
import numpy as np
import pytest
from harness import array

from kerastransfer.encoders.unet import unet_encoder
from kerastransfer.errors import UserError
from kerastransfer.heads.embedding import pooling, projection
from kerastransfer.models.conrec import TASKS, conrec, of_two_views
from kerastransfer.models.unet import unet

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def narrow(**options):
    return conrec(unet_encoder(4, 3), **options)


def images(number=2):
    return np.random.default_rng(0).uniform(0, 255, (number, 32, 32, 3)).astype("float32")


@pytest.mark.slow
def test_published_numbers_of_parameters():
    whole = conrec()
    assert (whole.count_params(), trainable(whole)) == (8_651_716, 8_641_476)
    segmenter = unet(1)
    assert (segmenter.count_params(), trainable(segmenter)) == (7_882_433, 7_875_905)
    assert trainable(whole.get_layer("encoder")) == 4_689_216
    assert trainable(whole.get_layer("decoder")) == 87_360 + 3_099_264
    assert trainable(conrec(tasks=("reconstruction", "colours"))) == 8_641_476 + 148_035


def test_pooling_and_projection_have_the_published_numbers_of_parameters():
    attention = pooling(512, "attention")
    assert trainable(attention) == 173_441
    assert attention.count_params() == 173_441 + 512 + 2 * (256 + 128 + 64)
    assert trainable(projection(512)) == 592_000


def test_layers_of_the_projection_begin_with_different_weights():
    first, second = (projection(6, width=6).get_layer(f"dense{number}").get_weights()[0] for number in (1, 2))
    assert not np.array_equal(first, second)


def test_equal_attention_is_the_average():
    maps = {"c3": np.random.default_rng(0).normal(size=(2, 4, 5, 16)).astype("float32")}
    model = pooling(16, "attention", tap="c3")
    kernel, bias = model.get_layer("attention").get_weights()
    model.get_layer("attention").set_weights([0 * kernel, bias + 3])
    np.testing.assert_allclose(array(model(maps)), maps["c3"].mean((1, 2)), atol=1e-6)


def test_attention_to_one_place_is_what_is_there():
    maps = {"c3": np.zeros((1, 2, 2, 16), "float32")}
    maps["c3"][0, 1, 0] = np.arange(16)
    model = pooling(16, "attention", tap="c3")
    norms = [model.get_layer(f"attention{number}_bn") for number in (1, 2, 3)]
    convolutions = [model.get_layer(f"attention{number}_conv") for number in (1, 2, 3)]
    for layer, norm in zip(convolutions, norms, strict=True):
        kernel, bias = layer.get_weights()
        layer.set_weights([np.ones_like(kernel), 0 * bias])
        norm.set_weights(
            [np.ones_like(weight) if k in (0, 3) else 0 * weight for k, weight in enumerate(norm.get_weights())]
        )
    kernel, bias = model.get_layer("attention").get_weights()
    model.get_layer("attention").set_weights([np.ones_like(kernel), bias - 50])
    np.testing.assert_allclose(array(model(maps))[0], np.arange(16), rtol=1e-4)


def test_further_tasks_share_the_decoder_but_its_last_step():
    model = narrow(tasks=tuple(TASKS))
    names = {layer.name for layer in model.layers}
    assert {"encoder", "decoder", "head", "head_colours", "head_altered", "head_blackened", "pooling"} <= names
    found = model(images())
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {"embedding": (2, 128), **{name: (2, 32, 32, depth) for name, depth in TASKS.items()}}
    # What the decoder does before its last convolutions changes all of them, and the last ones only the first task.
    for layer, changed in (("step1_1_conv", set(TASKS)), ("step2_1_conv", {"reconstruction"})):
        before = model.get_layer("decoder").get_layer(layer).get_weights()
        model.get_layer("decoder").get_layer(layer).set_weights([weight + 1.0 for weight in before])
        now = model(images())
        assert {name for name in found if not np.array_equal(array(now[name]), array(found[name]))} == changed
        model.get_layer("decoder").get_layer(layer).set_weights(before)


def test_one_view_after_the_other_gives_the_same_as_both():
    model = narrow()
    first, second = images(), images()[::-1].copy()
    both = of_two_views(model)({"first": first, "second": second})
    for name, view in (("first", first), ("second", second)):
        for output, value in model(view).items():
            np.testing.assert_allclose(array(both[f"{name}_{output}"]), array(value), atol=1e-5)


def test_both_views_are_one_batch_to_the_statistics():
    model = narrow(contrast=None)
    encoder, first, second = model.get_layer("encoder"), images(), 0 * images()
    convolved = keras.Model(encoder.input, encoder.get_layer("c1_1_conv").output)
    each = np.concatenate([array(convolved(view)) for view in (first, second)])
    of_two_views(model)({"first": first, "second": second}, training=True)
    found = array(encoder.get_layer("c1_1_bn").moving_mean)
    np.testing.assert_allclose(found, 0.1 * each.mean((0, 1, 2)), atol=1e-6)


def test_simclr_and_reconstruction_are_halves_of_it():
    assert set(narrow(tasks=(), contrast="average").output) == {"embedding"}
    assert set(narrow(contrast=None).output) == {"reconstruction"}


def test_an_unknown_task_and_nothing_to_learn_are_refused():
    with pytest.raises(UserError, match="unknown decoding task 'depth'; choose reconstruction"):
        narrow(tasks=("depth",))
    with pytest.raises(UserError, match="at least one"):
        narrow(tasks=(), contrast=None)
