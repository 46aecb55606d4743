import subprocess
import sys
import tracemalloc
import zipfile

import keras
import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.export import loading

# Keras reads variables with an older form of numpy's protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def path(networks, tmp_path):
    loading.write_keras(networks["segmentation"], tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_a_model_comes_back(networks, path):
    image = np.full((1, 64, 96, 3), 100, np.float32)
    model = loading.load_keras(path)
    wanted = networks["segmentation"](image)["segmentation"]
    np.testing.assert_allclose(model(image)["segmentation"], wanted, atol=1e-6)  # by the fused batch norm
    assert list(path.parent.iterdir()) == [path]


def test_our_layers_are_known(tmp_path):
    from kerastransfer.layers.blocks import conv_bn

    image = keras.Input((8, 8, 3), name="image")
    loading.write_keras(keras.Model(image, {"c1": conv_bn(image, 4, 3, name="c1")}), tmp_path / "model.keras")
    assert loading.load_keras(tmp_path / "model.keras").output["c1"].shape == (None, 8, 8, 4)


def test_parts_are_told_without_building_them(networks, path):
    network = networks["segmentation"]
    found = loading.parts(path)
    assert {"image", "encoder"} <= found.keys()
    assert set(found["encoder"]["output_layers"]) == set(network.get_layer("encoder").output)


def refused(path, words, read=loading.load_keras):
    with pytest.raises(UserError, match=words) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_lambda_is_refused_and_not_run(tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image))
    model.save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "contains code")


def test_an_unknown_layer_is_refused(tmp_path):
    class Foreign(keras.layers.Layer):
        def call(self, x):
            return x

    image = keras.Input((4,))
    keras.Model(image, Foreign()(image)).save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "needs '.*Foreign', which belongs neither")


@pytest.mark.parametrize("read", [loading.load_keras, loading.parts])
def test_damage_is_told(path, read):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path, "truncated", read)
    path.write_text("not a model")
    refused(path, "not a .keras file", read)
    for name, text, reason in (("photo.txt", "", "config.json"), ("config.json", "[]", r"list|'str'")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, text)
        refused(path, reason, read)
    refused(path.parent, "no such file", read)
    refused(path.with_name("other.keras"), "no such file", read)


@pytest.mark.parametrize(
    ("name", "size", "method", "reason"),
    [
        ("config.json", 150_000_000, zipfile.ZIP_DEFLATED, "more than 100,000,000 bytes of config.json"),
        ("model.weights.h5", 50_000_000, zipfile.ZIP_DEFLATED, "more than 20,000,000 bytes of model.weights.h5"),
        ("config.json", 1000, zipfile.ZIP_BZIP2, "compressed in another way"),
    ],
)
def test_what_would_unpack_to_far_more_is_refused_at_once(name, size, method, reason, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", method) as archive:
        archive.writestr(name, bytes(size))
    refused(tmp_path / "bomb.keras", reason)


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path):
    """Its directory states 1,000 of the 60 million bytes of config.json."""
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(60_000_000))
    path.write_bytes(path.read_bytes().replace((60_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    refused(path, "Bad CRC-32")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_a_failed_write_leaves_the_old_file(path, networks, monkeypatch):
    content = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(UserError, match="disk is full"):
        loading.write_keras(networks["detection"], path)
    assert path.read_bytes() == content


OUTSIDE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "kerastransfer":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import keras
import numpy as np

for path in sys.argv[1:]:
    kept = np.load(path.replace(".keras", ".npz"))
    out = keras.saving.load_model(path)(kept["image"])
    out = out if isinstance(out, dict) else {"output": out}
    for name, value in out.items():
        np.testing.assert_allclose(value, kept[f"out_{name}"], rtol=1e-4, atol=1e-5)
"""


def standard_networks():
    """Networks of Keras's layers and batch norm alone, narrow, with statistics that are not those of a new network."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import POOL, yolov1_encoder
    from kerastransfer.models import darknet_cfg, darknet_nets
    from kerastransfer.models.yolo_segnet import yolo_segnet
    from kerastransfer.models.yolo_unet import yolo_unet
    from kerastransfer.models.yolov1 import yolov1
    from kerastransfer.models.yolov3 import yolov3

    narrow = (((4, 3, 2),), ((4, 3), POOL), ((6, 3, 2),), ((8, 3, 2), ((4, 1), (8, 3))), ((8, 3),))

    def darknet(name):
        cfg = darknet_nets.yolov3_cfg(name, num_classes=2, width=0.0625, image_size=64, activation="leaky")
        return yolov3(darknet_cfg.parse(cfg))

    networks = {
        "yolov1": yolov1(yolov1_encoder(narrow), YoloV1Codec(2)),
        "yolov3-tiny": darknet("yolov3-tiny"),
        "yolov3-small": darknet("yolov3-small"),
        "yolov3-spp": darknet("yolov3-spp"),
        "yolo_segnet": yolo_segnet(yolov1_encoder(narrow), 3),
        "yolo_unet": yolo_unet(yolov1_encoder(narrow), 3),
    }
    random = np.random.default_rng(0)
    for network in networks.values():
        for weight in network.weights:
            if "moving" in weight.path or "gamma" in weight.path or "beta" in weight.path:
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
    return networks


@pytest.mark.slow
def test_networks_of_standard_layers_open_without_this_package(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    paths = []
    for name, network in standard_networks().items():
        paths.append(tmp_path / f"{name}.keras")
        out = network(image)
        out = out if isinstance(out, dict) else {"output": out}
        np.savez(paths[-1].with_suffix(".npz"), image=image, **{f"out_{key}": value for key, value in out.items()})
        loading.write_keras(network, paths[-1])
    run = subprocess.run([sys.executable, "-I", "-c", OUTSIDE, *map(str, paths)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.slow
def test_batch_norms_are_ours_again_when_loaded(tmp_path):
    from kerastransfer.layers.batch_norm import BatchNorm

    network = standard_networks()["yolov1"]
    network.get_layer("encoder").trainable = False
    loading.write_keras(network, tmp_path / "model.keras")
    again = loading.load_keras(tmp_path / "model.keras")
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, BatchNorm)]
    found = [layer for layer in again._flatten_layers() if isinstance(layer, BatchNorm)]
    assert [layer.get_config() for layer in found] == [layer.get_config() for layer in norms] and norms
    assert not again.get_layer("encoder").trainable and again.get_layer("head").trainable
    for new, old in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.slow
def test_a_file_of_version_0_1_opens(tmp_path):
    """There, batch norms were written as `kerastransfer.layers.batch_norm.BatchNorm`."""
    network = standard_networks()["yolo_unet"]
    network.save(tmp_path / "old.keras")
    with zipfile.ZipFile(tmp_path / "old.keras") as archive:
        assert b'"kerastransfer.layers.batch_norm"' in archive.read("config.json")
    image = np.full((1, 32, 32, 3), 90, "float32")
    np.testing.assert_array_equal(loading.load_keras(tmp_path / "old.keras")(image), network(image))


@pytest.mark.slow
def test_a_segmenter_guards_its_size_again_when_loaded(tmp_path):
    network = standard_networks()["yolo_unet"]
    loading.write_keras(network, tmp_path / "model.keras")
    again = loading.load_keras(tmp_path / "model.keras")
    assert again(np.zeros((1, 32, 48, 3), "float32")).shape == (1, 32, 48, 3)
    with pytest.raises(ValueError, match="32 x 40 pixels, and the network needs multiples of 16"):
        again(np.zeros((1, 32, 40, 3), "float32"))


@pytest.mark.parametrize("options", [{"axis": 1}, {"center": False}, {"scale": False}, {"synchronized": True}])
def test_batch_norms_that_ours_does_not_compute_stay(options, tmp_path):
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.BatchNormalization(**options)(image)).save(tmp_path / "model.keras")
    layer = loading.load_keras(tmp_path / "model.keras").layers[-1]
    assert type(layer) is keras.layers.BatchNormalization


NEEDS_OURS = """
import sys

import keras
import kerastransfer.layers

print(type(keras.saving.load_model(sys.argv[1])).__name__)
"""


@pytest.mark.slow
def test_what_needs_our_layers_opens_once_they_are_imported(tmp_path):
    from kerastransfer.models import yolo_mask

    network = yolo_mask.yolo_mask(standard_networks()["yolov3-tiny"], 2, fine=("c2",), filters=4, convs=1)
    loading.write_keras(network, tmp_path / "mask.keras")
    command = [sys.executable, "-c", NEEDS_OURS, str(tmp_path / "mask.keras")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout.strip() == "Functional", run.stderr[-2000:]
