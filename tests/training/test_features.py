"""Cached taps are the encoder's, belong to one encoder and one set of images, and survive damage."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from kerastransfer.data.decoded import Decoded
from kerastransfer.data.pipeline import training_batches
from kerastransfer.data.transforms import FLIP_ONLY
from kerastransfer.data.views import augmented
from kerastransfer.encoders.yolov1 import yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.models.parts import freeze
from kerastransfer.models.segmenter import behind_encoder
from kerastransfer.models.yolo_unet import yolo_unet
from kerastransfer.training import features

TABLE = (((4, 3, 2),),) + (((4, 3, 2),),) * 4


def encoder(seed=0):
    keras.utils.set_random_seed(seed)
    part = yolov1_encoder(TABLE)
    freeze(part)
    return part


def decoded(count=5, size=32, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "image": rng.integers(0, 256, (count, size, size, 3), "uint8"),
        "segmentation": rng.integers(0, 2, (count, size, size), "uint8"),
    }
    return Decoded(tuple(map(str, range(count))), arrays)


def cached(part, images, folder, **options):
    return features.cached(part, images, folder, **{"taps": ["c1", "c5"], "flip": True, "batch_size": 2, **options})


@pytest.fixture
def computed(monkeypatch):
    """The taps of every computation, in order."""
    calls = []
    compute = features._compute
    monkeypatch.setattr(features, "_compute", lambda *args: (calls.append(args[3]), compute(*args)))
    return calls


def test_the_taps_of_images_and_of_mirror_images(tmp_path):
    part, images = encoder(), decoded()
    found = cached(part, images, tmp_path)
    pixels = images.arrays["image"].astype("float32")
    for version, batch in enumerate((pixels, pixels[:, :, ::-1])):
        expected = part.predict_on_batch(batch)
        for tap, values in found.items():
            assert values.dtype == "float16" and isinstance(values, np.memmap)
            np.testing.assert_allclose(values[:, version], expected[tap], rtol=1e-3, atol=1e-3)
    assert found["c1"].shape == (5, 2, 16, 16, 4)


@pytest.mark.slow
def test_they_are_computed_once_for_an_encoder_and_images(tmp_path, computed):
    part, images = encoder(), decoded()
    first = cached(part, images, tmp_path, taps=["c5"])
    np.testing.assert_array_equal(cached(part, images, tmp_path, taps=["c5"])["c5"], first["c5"])
    cached(encoder(), images, tmp_path)  # equal weights, another object, one tap more
    assert computed == [["c5"], ["c1"]]
    cached(encoder(seed=1), images, tmp_path)
    cached(part, decoded(seed=1), tmp_path)
    cached(part, images, tmp_path, flip=False)
    assert computed[2:] == [["c1", "c5"]] * 3


@pytest.mark.slow
def test_encoders_of_equal_weights_and_other_activations_have_taps_of_their_own(tmp_path):
    keras.utils.set_random_seed(0)
    other, images = yolov1_encoder(TABLE, activation="relu6"), decoded()
    part = encoder()
    other.set_weights(part.get_weights())
    first, second = (cached(one, images, tmp_path, taps=["c5"])["c5"] for one in (part, other))
    expected = other.predict_on_batch(images.arrays["image"].astype("float32"))["c5"]
    np.testing.assert_allclose(second[:, 0], expected, rtol=1e-3, atol=1e-3)
    assert np.any(first != second)


@pytest.mark.parametrize("damage", ["a byte", "cut short", "no checksum", "another file"])
def test_what_is_damaged_is_made_again(tmp_path, computed, damage):
    part, images = encoder(), decoded()
    before = {tap: np.array(values) for tap, values in cached(part, images, tmp_path).items()}
    (path,) = tmp_path.glob("*/c5.npy")
    content = bytearray(path.read_bytes())
    if damage == "a byte":
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "cut short":
        path.write_bytes(content[:-7])
    elif damage == "no checksum":
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(b"no array")
    np.testing.assert_array_equal(cached(part, images, tmp_path)["c5"], before["c5"])
    assert computed[1:] == [["c5"]]


def test_runs_that_begin_together_share_one_computation(tmp_path, computed):
    parts, images = [encoder(), encoder()], decoded()
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(lambda part: cached(part, images, tmp_path), parts)
    np.testing.assert_array_equal(ours["c5"], theirs["c5"])
    assert len(computed) == 1


def test_a_disk_without_room_leaves_nothing(tmp_path, monkeypatch):
    def full(path, shape, dtype, remedy):
        raise UserError(f"no room: {remedy}")

    monkeypatch.setattr(features, "allocate", full)
    with pytest.raises(UserError, match="leave out --cache-features"):
        cached(encoder(), decoded(), tmp_path)
    assert not list(tmp_path.glob("*/*.npy")) and not list(tmp_path.glob("*/c?.json"))


def test_values_beyond_half_precision_are_refused(tmp_path):
    part = encoder()
    bn = part.get_layer("c5_1_bn")
    bn.gamma.assign(1e9 * np.ones(4))
    with pytest.raises(UserError, match="c5 has values too large"):
        cached(part, decoded(), tmp_path)


@pytest.mark.slow
def test_batches_mirror_taps_and_maps_together_and_repeat():
    """The tap is the map itself here, so that what is mirrored apart would differ."""
    images = decoded(10)
    maps = images.arrays["segmentation"].astype("float16")[..., None]
    taps = {"c1": np.stack([maps, maps[:, :, ::-1]], 1)}

    def batches(**options):
        data = features.training_batches(taps, images, batch_size=4, **{"flip": 0.5, "seed": 3, **options})
        return [(x["c1"].numpy(), y["segmentation"].numpy()) for x, y in itertools.islice(data, 6)]

    mirrored = 0
    still = batches(flip=0.0)
    for (x, y), (x0, y0) in zip(batches(), still, strict=True):
        np.testing.assert_array_equal(x[..., 0], y)
        mirrored += (x != x0).any((1, 2, 3)).sum()
        assert all((a == b).all() or (a == b[:, ::-1]).all() for a, b in zip(y, y0, strict=True))
    assert 4 < mirrored < 20
    np.testing.assert_array_equal(batches(first_epoch=1)[0][1], batches()[2][1])  # two steps are an epoch
    how = FLIP_ONLY.__class__(**{**vars(FLIP_ONLY), "flip": 0.0})
    plain = training_batches(images, size=(32, 32), batch_size=4, view=augmented(how), seed=3)
    for (_, y), (_, targets) in zip(still, itertools.islice(plain, 6), strict=True):  # the same order of images
        np.testing.assert_array_equal(y, targets["segmentation"])


def test_evaluation_batches_hold_every_image_once_and_unmirrored():
    images = decoded(5)
    maps = images.arrays["segmentation"].astype("float16")[..., None]
    taps = {"c1": np.stack([maps, maps[:, :, ::-1]], 1)}
    found = list(features.evaluation_batches(taps, images, batch_size=3))
    weights = np.concatenate([weights for _, _, weights in found])
    assert weights.tolist() == [1] * 5 + [0] and all(list(inputs) == ["c1"] for inputs, _, _ in found)
    shown = np.concatenate([inputs["c1"] for inputs, _, _ in found])[:5]
    wanted = np.concatenate([targets["segmentation"] for _, targets, _ in found])[:5]
    np.testing.assert_array_equal(shown[..., 0], images.arrays["segmentation"])
    np.testing.assert_array_equal(wanted, images.arrays["segmentation"])


def test_what_follows_the_encoder_is_the_rest_of_the_network():
    part = encoder()
    network = yolo_unet(part, 2)
    rest = behind_encoder(network)
    image = decoded(2).arrays["image"].astype("float32")
    np.testing.assert_allclose(rest(part(image)), network(image), atol=1e-5)
    assert {id(v) for v in rest.trainable_variables} == {id(v) for v in network.trainable_variables}
