"""Models of many kinds as encoders: their maps are those of the model, whatever its form."""

import keras
import numpy as np
import PIL.Image
import pytest

import kerastransfer as kt
from kerastransfer.encoders import taps
from kerastransfer.encoders.preprocessing import MEAN, PREPROCESSING
from kerastransfer.errors import UserError
from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.models.adapter import encoder_of
from kerastransfer.models.parts import freeze
from kerastransfer.models.segmenter import segmenter

layers = keras.layers


def block(x, filters, name):
    x = layers.Conv2D(filters, 3, 2, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def flat(shape=(None, None, 3)):
    image = keras.Input(shape)
    x = block(image, 4, "one")
    y = block(x, 6, "two")
    y = layers.Add(name="sum")([y, layers.Conv2D(6, 1, name="more")(y)])
    # Squeeze and excitation: a map of a single place is not a stage.
    squeezed = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    y = layers.Multiply(name="excited")([y, layers.Conv2D(6, 1, activation="sigmoid", name="excite")(squeezed)])
    y = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(y)
    y = layers.Conv2D(8, 3, 2, name="three")(y)
    return keras.Model(image, layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D(name="pool")(y)))


def nested():
    """Two inner models whose layers have the same names, one of them used as a layer of the other's outer model."""

    def inner(depth, name):
        image = keras.Input((None, None, depth))
        return keras.Model(image, block(image, 4, "inner"), name=name)

    image = keras.Input((None, None, 3))
    outer = keras.Model(image, inner(4, "second")(inner(3, "first")(image)))
    return keras.Sequential([keras.Input((None, None, 3)), outer, layers.Conv2D(7, 1, name="last")])


def photo(side=64):
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype("float32")


def of_layer(model, name, image):
    return np.asarray(keras.Model(model.input, model.get_layer(name).output)(image))


def test_the_stages_are_the_last_maps_of_each_stride():
    model = flat()
    found = encoder_of(model)
    assert found.name == "encoder" and list(found.output) == ["c1", "c2", "c3"]
    assert taps.strides(found) == {"c1": 2, "c2": 4, "c3": 8} and taps.channels(found) == {"c1": 4, "c2": 6, "c3": 8}
    maps = found(photo())
    for tap, name in {"c1": "one_relu", "c2": "excited", "c3": "three"}.items():
        np.testing.assert_allclose(maps[tap], of_layer(model, name, photo()), atol=1e-5)
    assert not any(layer.name in ("pool", "logits") for layer in found.layers)


def test_layers_are_copies():
    model = flat()
    found = encoder_of(model)
    freeze(found)
    assert all(layer.trainable for layer in model.layers)
    found.get_layer("three").kernel.assign(0 * found.get_layer("three").kernel)
    assert np.abs(model.get_layer("three").kernel).max() > 0
    # The statistics can drift (`freeze` "weights"), which those of Keras's own layer cannot.
    assert isinstance(found.get_layer("one_bn"), BatchNorm)


def test_layers_are_found_in_nested_models():
    model = nested()
    model.layers[0].get_layer("second").get_layer("inner_bn").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    found = encoder_of(model)
    names = {layer.name for layer in found.layers if layer.weights}
    assert names == {f"{part}_inner_{kind}" for part in ("first", "second") for kind in ("conv", "bn")} | {"last"}
    assert taps.strides(found) == {"c1": 2, "c2": 4}
    np.testing.assert_allclose(found(photo())["c2"], model(photo()), atol=1e-3)


def test_stages_can_be_named():
    found = encoder_of(flat(), taps={"c1": "one_conv", "c2": "two_relu"})
    np.testing.assert_allclose(found(photo())["c1"], of_layer(flat_like(found), "one_conv", photo()), atol=1e-5)
    assert taps.channels(found) == {"c1": 4, "c2": 6}
    with pytest.raises(UserError, match="has no map of a layer 'four'; its last ones are "):
        encoder_of(flat(), taps={"c2": "four"})
    for wrong in ({}, {"stage2": "two_relu"}):
        with pytest.raises(UserError, match=r'give \{"c2": layer'):
            encoder_of(flat(), taps=wrong)


def flat_like(found):
    """The flat model with the weights of an encoder made of it."""
    model = flat()
    for layer in found.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


def test_a_model_of_one_size_becomes_an_encoder_of_any_if_its_layers_can():
    assert encoder_of(flat((64, 64, 3))).input.shape == (None, None, None, 3)
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, 2, padding="same")(image)
    fixed = keras.Model(image, layers.Conv2D(4, 3, 2, padding="same")(layers.Reshape((16, 16, 4))(x)))
    found = encoder_of(fixed)
    assert found.input.shape == (None, 32, 32, 3) and list(found.output) == ["c1", "c2"]


def test_preprocessing_is_inside():
    """By hand for one pixel, and as keras.applications does it."""
    pixels = np.array([[[[255.0, 0.0, 51.0]]]], "float32")
    image = keras.Input((1, 1, 3))

    def of(name):
        made = PREPROCESSING[name](image)
        return np.asarray(keras.Model(image, made)(pixels) if made is not image else pixels).ravel()

    np.testing.assert_allclose(of("unit"), [1, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(of("torch")[1], -MEAN[1] / 0.224, rtol=1e-5)
    for mode in ("tf", "caffe", "torch"):
        expected = keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
        np.testing.assert_allclose(of(mode), expected.ravel(), rtol=1e-5, atol=1e-5)
    model, halved = flat(), encoder_of(flat(), lambda image: layers.Rescaling(0.5)(image))
    plain = encoder_of(model)
    for layer in plain.layers:
        if layer.weights:
            halved.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_allclose(halved(2 * photo())["c3"], plain(photo())["c3"], rtol=1e-4, atol=1e-4)


def subclassed():
    class Own(keras.Model):
        def call(self, image):
            return image

    return Own()


def no_stages():
    image = keras.Input((32, 32, 3))
    return keras.Model(image, layers.Conv2D(3, 3, padding="same")(image))


def two_images():
    images = [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))]
    return keras.Model(images, layers.Add()(images))


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (subclassed, {}, "Own has no graph of layers"),
        (lambda: keras.Sequential([layers.Conv2D(3, 3)]), {}, "that was built"),
        (no_stages, {}, "the model has no maps"),
        (two_images, {}, "does not read one image"),
        (flat, {"preprocessing": "tensorflow"}, "unknown preprocessing 'tensorflow'; choose none, tf, caffe, torch"),
    ],
)
def test_what_cannot_be_an_encoder(make, options, words):
    with pytest.raises(UserError, match=words):
        encoder_of(make(), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("builder", "last"),
    [("ResNet50", 2048), ("MobileNetV3Small", 576), ("EfficientNetB0", 1280), ("DenseNet121", 1024), ("VGG16", 512)],
)
def test_models_of_keras_applications(builder, last):
    model = getattr(keras.applications, builder)(weights=None, include_top=False, input_shape=(64, 64, 3))
    found = encoder_of(model)
    assert taps.strides(found) == {f"c{n}": 2**n for n in range(1, 6)} and taps.channels(found)["c5"] == last
    np.testing.assert_allclose(found(photo())["c5"], model(photo()), rtol=1e-4, atol=1e-4)
    network = segmenter(found, "unet", 3)
    assert network(photo()).shape == (2, 64, 64, 3)


@pytest.fixture(scope="module")
def mobilenet(shared_weights):
    """MobileNetV2 with torchvision's weights."""
    model = keras.applications.MobileNetV2(weights=None)
    model.load_weights(shared_weights / "mobilenet_v2" / "mobilenet_v2.weights.h5")
    return model


@pytest.mark.slow
def test_published_weights_know_cats_from_dogs(mobilenet, shared_data):
    """The preprocessing inside is right: the maps are those of keras.applications for pixels that it has scaled, and of
    ImageNet's thousand classes the best one is a cat's for cats and a dog's for dogs."""
    found = encoder_of(mobilenet, "torch")
    assert found.input.shape == (None, None, None, 3)
    scaled = keras.applications.imagenet_utils.preprocess_input(photo(224), mode="torch")
    expected = of_layer(mobilenet, "out_relu", scaled)
    np.testing.assert_allclose(found(photo(224))["c5"], expected, atol=1e-5 * np.abs(expected).max())
    # In the order of ImageNet: 118 breeds of dogs, tame cats, and their nearest relatives.
    dogs, cats = range(151, 269), range(281, 288)
    right = []
    for breed, kind in (("Abyssinian", cats), ("Bengal", cats), ("american_bulldog", dogs)):
        paths = sorted((shared_data / "oxford-iiit-pet" / "images").glob(f"{breed}_*.jpg"))[:8]
        assert len(paths) == 8
        image = np.stack([resized(path) for path in paths])
        maps = np.asarray(found(image)["c5"]).mean((1, 2))
        scores = np.asarray(mobilenet.get_layer("predictions")(maps))
        right += [best in kind for best in scores.argmax(1)]
    assert np.mean(right) >= 0.85


def resized(path):
    return np.asarray(PIL.Image.open(path).convert("RGB").resize((224, 224)), "float32")


@pytest.mark.slow
def test_a_unet_on_published_weights_trains_and_its_files_agree(mobilenet, shared_data, tmp_path):
    """The frozen encoder stays as it is, and int8 is within tolerance, or `export` raises."""
    train, test = kt.data(shared_data / "oxford-iiit-pet", "segmentation")
    train, test = train.spread(16), test.spread(4)
    found = encoder_of(mobilenet, "torch")
    model = kt.segmenter(found, "unet", train.segmentation_classes, image_size=64)
    model.compile(keras.optimizers.Adam(3e-3), kt.PixelLoss())
    before = [np.array(value) for value in found.get_weights()]
    fitted = model.fit(kt.batches(train, "segmentation", image_size=64, batch_size=8), epochs=8, verbose=0)
    assert fitted.history["loss"][-1] < 0.8 * fitted.history["loss"][0]
    for old, new in zip(before, found.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    records = kt.export(model, train, test, tmp_path)
    assert {record.path.name.split("_")[-1] for record in records} >= {"int8.tflite"}
    assert all(record.passed for record in records)
