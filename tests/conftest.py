"""What every test shares: real photos where they are present, two logical CPUs, one seed."""

import gc
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Most of the time of a step that XLA compiles is compiling it.
COMPILING = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ.setdefault("XLA_FLAGS", COMPILING)

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SHARED_WEIGHTS = SHARED_DATA.parent / "weights"


def pytest_configure(config):
    config.option.loadscopereorder = False  # or pytest-xdist would begin with the files of the most tests


def pytest_collection_finish(session):
    """Half of all objects in a process are of the imported libraries, and no collection of garbage frees them."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Slow tests come first, so that of two processes none ends long before the other."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def checks_are_remembered_apart(tmp_path_factory):
    """Nothing of the user's is read or written, in this process."""
    from kerastransfer.data import checked

    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checked, "folder", lambda: home / "checked")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos; tests that need it are skipped for those who do not have it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs photos that are not part of the package: {SHARED_DATA} is missing")
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder of published weights; tests that need it are skipped for those who do not have it."""
    if not SHARED_WEIGHTS.is_dir():
        pytest.skip(f"needs weights that are not part of the package: {SHARED_WEIGHTS} is missing")
    return SHARED_WEIGHTS


@pytest.fixture(scope="session")
def odd_pictures(tmp_path_factory) -> list[Path]:
    """Files of every kind whose pixels a reader may get wrong: 16 bits, EXIF orientation, palettes, alpha, CMYK."""
    folder = tmp_path_factory.mktemp("odd")
    deep = PIL.Image.fromarray((np.arange(8 * 9, dtype=np.uint16) * 900).reshape(8, 9))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # a quarter clockwise
    palette = PIL.Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    palette.putpalette([k * 5 % 256 for k in range(768)])
    alpha = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 4, 4), np.uint8))
    deep.save(folder / "deep.png")
    deep.save(folder / "deep_turned.png", exif=exif)
    deep.save(folder / "deep.tif")
    palette.save(folder / "palette.png", transparency=bytes(range(12)))
    palette.save(folder / "palette_turned.png", exif=exif)
    alpha.save(folder / "alpha.png")
    alpha.convert("RGB").save(folder / "turned.jpg", exif=exif)
    alpha.convert("CMYK").save(folder / "cmyk.tif")
    alpha.convert("1").save(folder / "bits.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder with two drawn scenes, 00000.png and 00001.png, of 96 x 80 pixels."""
    from kerastransfer.data.toy import toy

    folder = tmp_path_factory.mktemp("photos")
    for sample in toy(seed=3, count=2, image_size=96).samples:
        PIL.Image.fromarray(sample.read()["image"][:, :80]).save(folder / f"{sample.name}.png")
    return folder


@pytest.fixture
def worker_environments() -> Callable[[int], list[dict[str, str]]]:
    """Environments for so many workers on this machine, at ports that are free now."""

    def environments(count):
        cluster = {"worker": _free_addresses(count)}
        common = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "tensorflow",
        }
        tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(count)]
        return [{**common, "TF_CONFIG": json.dumps(task)} for task in tasks]

    return environments


@pytest.fixture
def jax_environments() -> Callable[..., list[dict[str, str]]]:
    """Environments for so many JAX processes on this machine, each with so many devices."""

    def environments(count, devices=1):
        common = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{COMPILING} --xla_force_host_platform_device_count={devices}",
        }
        if count == 1:
            return [common]
        cluster = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(_free_addresses(count)),
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
        }
        return [{**common, **cluster, "KERAS_DISTRIBUTION_PROCESS_ID": str(index)} for index in range(count)]

    return environments


def _free_addresses(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{opened.getsockname()[1]}" for opened in sockets]
    for opened in sockets:
        opened.close()
    return addresses
