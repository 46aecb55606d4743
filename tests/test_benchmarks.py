"""What the benchmarks' tables rest on: counted multiply-adds, and a net in PyTorch that is the one in Keras."""

import argparse
import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import YOLOV1, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.layers import LocallyConnected
from kerastransfer.models.predictor import candidates, probabilities
from kerastransfer.models.yolo_segnet import yolo_segnet
from kerastransfer.models.yolo_unet import yolo_unet
from kerastransfer.models.yolov1 import yolov1

SIZE = (64, 96)
NARROW = (((4, 3, 2),), ((6, 7, 2), ((4, 1), (6, 3))), ((6, 3), "pool"), ((8, 3, 2),), ((8, 3), ((4, 1), (8, 3))))
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = [path.stem for path in BENCHMARKS.glob("*.py")]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_a_benchmark_imports_of_the_package_exists(name):
    """Most of it is imported inside functions, which run for minutes."""
    for node in ast.walk(ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("kerastransfer"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_models_of_a_run_are_those_with_a_description(tmp_path):
    from nets import models_in

    models = tmp_path / "models"
    models.mkdir()
    for name in ("yolov1.keras", "yolov1.json", "encoder.keras", "yolo_unet.keras", "yolo_unet.json"):
        (models / name).write_text("")
    assert [path.name for path in models_in(tmp_path)] == ["yolo_unet.keras", "yolov1.keras"]
    assert models_in(models / "encoder.keras") == [models / "encoder.keras"]
    with pytest.raises(UserError, match=r"has no models/\*\.keras; give the folder of a run"):
        models_in(models)


@pytest.mark.slow
def test_random_models_are_written_as_a_run_leaves_them(tmp_path):
    from nets import random_models

    from kerastransfer.runs import trained

    found = {path.stem: trained.stored(path)[1] for path in random_models(tmp_path, 32)}
    assert {name: about.task for name, about in found.items()} == {
        "yolov1": "detection",
        "yolo_segnet": "segmentation",
        "yolo_unet": "segmentation",
    }
    assert found["yolov1"].decoder.num_classes == len(found["yolov1"].labels)
    with pytest.raises(UserError, match="40 is not a multiple of 16"):
        random_models(tmp_path, 40)


def count(model, *size):
    from graph import flatten, multiply_adds

    return multiply_adds(flatten(model, (1, *size, 3)).steps)


@pytest.mark.slow
def test_multiply_adds_of_yolov1():
    """YOLOv1: 20.21 GMAC at 448 with Darknet's head; 60.14 million per pixel without strides."""
    head = 49 * 9 * 1024 * 256 + 12544 * 1715
    assert round((count(yolov1_encoder(YOLOV1), 448, 448) + head) / 1e9, 2) == 20.21
    assert count(yolov1_encoder(YOLOV1, strides=[1] * 6), 64, 64) == 60_142_784 * 64 * 64


def test_multiply_adds_by_layer():
    import keras
    from keras import layers

    image = keras.Input((8, 6, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same")(image)  # 4 x 3
    x = layers.Conv2DTranspose(7, 2, 2)(x)  # 8 x 6
    x = LocallyConnected(2, 3)(x)
    x = layers.Dense(11)(layers.Flatten()(layers.ReLU()(x)))
    expected = 4 * 3 * 9 * 3 * 5 + 4 * 3 * 4 * 5 * 7 + 8 * 6 * 9 * 7 * 2 + 8 * 6 * 2 * 11
    assert count(keras.Model(image, x), 8, 6) == expected
    with pytest.raises(ValueError, match="SeparableConv2D"):
        count(keras.Model(image, layers.SeparableConv2D(4, 3)(image)), 8, 6)


def nets():
    for score, boxes, sizes in (("product", 1, "root"), ("confidence", 2, "cell"), ("product", 3, "image")):
        codec = YoloV1Codec(3, boxes, sizes=sizes, score=score)
        encoder = yolov1_encoder(NARROW, activation="relu6")
        yield score, candidates(yolov1(encoder, codec, activation="relu6"), codec, SIZE)
    yield "segnet", probabilities(yolo_segnet(yolov1_encoder(NARROW), 3), SIZE)
    yield "unet", probabilities(yolo_unet(yolov1_encoder(NARROW), 3), SIZE)


def test_the_same_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install kerastransfer[benchmark]")
    from graph import flatten
    from torch_graph import Network

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *SIZE, 3)).astype("float32")
    for name, model in nets():
        for variable in model.weights:  # batch statistics too
            if "seed" not in variable.path:
                variable.assign(variable + rng.uniform(0, 0.3, variable.shape))
        network = Network(flatten(model, image.shape))
        with torch.inference_mode():
            given = network(torch.from_numpy(image).permute(0, 3, 1, 2))
        for output, value in zip(network.names, given, strict=True):
            value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
            np.testing.assert_allclose(value, model(image)[output], atol=1e-4, err_msg=f"{name}, {output}")


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [False, True])
def test_the_pretexts_net_in_pytorch_has_as_many_weights(decoder):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install kerastransfer[benchmark]")
    from torch_unet import Network

    from kerastransfer.encoders.unet import unet_encoder
    from kerastransfer.models.conrec import conrec

    options = {} if decoder else {"tasks": (), "contrast": "average"}
    ours = sum(int(np.prod(one.shape)) for one in conrec(unet_encoder(8), **options).trainable_weights)
    theirs = sum(parameter.numel() for parameter in Network(8, decoder=decoder).parameters())
    # Theirs has an offset behind the projection, which ours lacks as published.
    assert theirs - ours == 128


def test_dense_layers_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install kerastransfer[benchmark]")
    from graph import flatten
    from torch_graph import Network

    codec = YoloV1Codec(3, 2)
    model = yolov1(yolov1_encoder(NARROW), codec, head="paper_fc", grid=4, hidden=10)
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    with torch.inference_mode():
        (given,) = Network(flatten(model, image.shape))(torch.from_numpy(image).permute(0, 3, 1, 2))
    np.testing.assert_allclose(given.permute(0, 2, 3, 1), model(image), atol=1e-4)


@pytest.mark.parametrize("backward", [False, True])
def test_ways_to_align_are_the_same(backward):
    import tensorflow as tf
    from roi_align import CONTESTANTS, drawn, step

    features, boxes = (tf.constant(values) for values in drawn((11, 9, 4), 1 if backward else 6))  # one loses nothing
    first, *others = (step(name, 5, 2, backward=backward)(features, boxes) for name in CONTESTANTS)
    assert first.shape == (features.shape if backward else (1, 6, 5, 5, 4))
    assert np.ptp(first) > 0.5
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-4)


@pytest.mark.slow
def test_deformable_contestants():
    """The offsets are of some pixels, so that the gathers read as a trained layer's do; each step gives a number."""
    import tensorflow as tf
    from deformable import CONTESTANTS, layer, step

    x = tf.constant(np.random.default_rng(0).normal(size=(1, 5, 6, 4)).astype("float32"))
    for name in CONTESTANTS[1:]:
        made = layer(name, 4)
        offsets = np.abs(made.offset(x)[..., :18])
        assert 0.5 < offsets.mean() < 3 and offsets.max() < 10 and made.modulated is (name != "offsets")
    for name in CONTESTANTS:
        forward, backward = (step(name, 4, backward=backward)(x) for backward in (False, True))
        assert np.isfinite([forward, backward]).all() and backward > 0


def test_label_maps_are_drawn_and_timed():
    from label_map import contestants, timed

    draw, fill = contestants(16, 3, 5, 2)
    assert draw().shape == fill().shape == (2, 16, 16, 3)
    assert np.asarray(draw()).max() > 0.9 and not np.asarray(fill()).any()
    assert len(timed(fill, 2)) == 2


def test_studies_of_detectors_are_timed():
    from analysis import detectors, timed

    works = detectors(images=12, detections=8, classes=2)
    assert works["average precision"]().shape == (2, 9) and len(works) == 4
    assert all(len(timed(work, 1)) == 1 for work in works.values())


@pytest.mark.slow
def test_what_labelenc_adds_to_a_step():
    """The losses of all three begin with that of the plain detector, which has the same weights in all."""
    import keras
    from labelenc import WORK, prepare

    before = keras.config.dtype_policy()
    sizes = {"image_size": 64, "batch_size": 2, "classes": 3, "precision": "float32"}
    losses = {}
    try:
        for work in WORK:
            keras.utils.set_random_seed(0)
            flags = argparse.Namespace(models=["yolov3-small"], contestant=work, **sizes)
            losses[work], run = prepare(flags)
            assert np.isfinite(run(1)["loss"])
    finally:
        keras.config.set_dtype_policy(before)
    assert losses["plain"]["loss"] < losses["step 2"]["loss"] < losses["step 1"]["loss"]


def test_multiply_adds_of_yolov3_tiny():
    """Its author's page says 5.56 billion operations at 416, two for each."""
    from gpu_nets import net

    assert round(2 * net("yolov3-tiny", "detector", 416, 1).multiply_adds() / 1e9, 2) == 5.56


@pytest.mark.slow
def test_a_mask_branch_for_a_gpu():
    import keras
    from gpu_nets import net

    keras.utils.set_random_seed(1)
    own = net("yolov3-tiny", "mask branch", 64, 2, tiny=True)
    assert own.inference(own.given).shape == (2, 20, 28, 28, 80)
    maps = {name: own.given[name].shape for name in ("p4", "p5")}
    lateral = sum(height * width * depth * 32 for _, height, width, depth in maps.values())
    head = 20 * (14 * 14 * (4 * 9 * 32 * 32 + 4 * 32 * 32) + 28 * 28 * 32 * 80)
    assert own.multiply_adds() == lateral + head

    ((sums, counts),) = own.terms(own.targets, own.network(own.inputs)).values()
    np.testing.assert_allclose(sums / counts, [np.log(2)] * 2, atol=0.01)  # it begins with logits near 0
    assert {variable.path.split("/")[0] for variable in own.network.trainable_variables} == {
        variable.path.split("/")[0] for variable in own.inference.trainable_variables
    }


def on_jax(*command, answer=""):
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # most of the time compiles
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    script = [sys.executable, str(BENCHMARKS / "gpu.py"), "--models", "yolov3-tiny", *command]
    done = subprocess.run(script, input=answer, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_gpu_where_there_is_none():
    pytest.importorskip("jax", reason="jax is not installed: pip install kerastransfer[jax]")
    assert "there is no GPU" in on_jax()


@pytest.mark.slow
def test_gpu_on_the_processor():
    """A contestant, which itself makes sure that nothing imports TensorFlow."""
    pytest.importorskip("jax", reason="jax is not installed: pip install kerastransfer[jax]")
    said = on_jax("--cpu", "--batch-size", "1", "--contestant", "yolov3-tiny/instances/bfloat16", answer="1\n")
    first, turn = map(json.loads, said.splitlines())
    assert first.keys() == {"multiply_adds"}  # nothing of it trains
    assert {"inference", "one_image"} < turn.keys()


@pytest.mark.slow
def test_files_with_and_without_masks(tmp_path):
    from mask_branch import FILES, cells, path_of, prepare, random_graph, without_masks, write
    from runtimes import litert

    flags = argparse.Namespace(detector="yolov3-tiny", width=0.125, image_size=32, detections=3)
    flags.fine, flags.mask_filters, flags.mask_convs = ["c3"], 8, 1
    graph, size = random_graph(flags)
    detector, whole = write(
        {"detector": without_masks(graph), "with masks": graph}, size, ["float32"], tmp_path
    ).values()
    depths = {name: graph.get_layer("branch").input[name].shape[-1] for name in ("p4", "p5", "c3")}
    lateral = 8 * sum(depths[name] * (32 // stride) ** 2 for name, stride in (("p4", 16), ("p5", 32), ("c3", 8)))
    assert whole - detector == lateral + 3 * (14 * 14 * (9 * 8 * 8 + 4 * 8 * 8) + 28 * 28 * 8)

    found = []
    for name in FILES:
        path = str(path_of(tmp_path, name, "float32"))
        _, run = prepare(path, 1)
        assert run(1).keys() == {"milliseconds", "cpu_milliseconds"}
        interpreter, detail = litert(path, 1)
        interpreter.set_tensor(detail["index"], np.load(tmp_path / "image.npy")[None].astype("float32"))
        interpreter.invoke()
        outputs = interpreter.get_signature_runner().get_output_details()
        found.append({key: interpreter.get_tensor(output["index"]) for key, output in outputs.items()})
    assert found[1].pop("masks").shape == (1, 3, 28, 28)
    assert found[0].keys() == found[1].keys() == {"boxes", "scores", "labels", "count"}
    for key, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][key])

    assert cells([2.0, 4.0, 4.0], [3.0, 5.0, 7.0])[2:] == ["1.00 (1.00-3.00)", "0.50 (0.25-0.75)"]


@pytest.mark.slow
def test_two_workers_time_their_steps():
    from scale import run

    seconds = run(argparse.Namespace(image_size=32, batch_size=2, steps=3), 2)
    assert len(seconds) == 3 and all(value > 0 for value in seconds)
