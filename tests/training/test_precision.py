"""`--precision auto`: bfloat16 where the machine computes in it, else float32."""

import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from kerastransfer.training import precision

XEON = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f amx_bf16 amx_tile\n\nprocessor\t: 1\n"
ZEN4 = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 fsrm\nbugs\t\t: spectre_v1\n"
OLD = "processor\t: 0\nmodel name\t: no avx512_bf16 here\nflags\t\t: fpu sse2 avx2\nbugs\t\t: avx512_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretend to be a machine with this processor and these GPUs, under TensorFlow."""

    def pretend(cpuinfo, capabilities=()):
        path = tmp_path / "cpuinfo"
        path.write_text(cpuinfo)
        monkeypatch.setattr(precision, "cpu_computes_bfloat16", lambda: computes(path))
        monkeypatch.setattr(precision, "gpu_capabilities", lambda backend: list(capabilities))
        monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")

    computes = precision.cpu_computes_bfloat16
    return pretend


@pytest.mark.parametrize(("cpuinfo", "expected"), [(XEON, True), (ZEN4, True), (OLD, False), (ARM, False), ("", False)])
def test_the_flags_of_the_processor(tmp_path, cpuinfo, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert precision.cpu_computes_bfloat16(path) is expected


def test_a_machine_that_lists_no_flags(tmp_path):
    assert not precision.cpu_computes_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize(
    ("cpuinfo", "capabilities", "expected"),
    [
        (ZEN4, [], "bfloat16"),
        (OLD, [], "float32"),
        (OLD, [(8, 0)], "bfloat16"),
        (OLD, [(9, 0), (8, 6)], "bfloat16"),
        (ZEN4, [(7, 5)], "float32"),  # the GPU trains, whatever the processor can
        (OLD, [(9, 0), (7, 0)], "float32"),
        (OLD, [(0, 0)], "float32"),  # not an NVIDIA GPU
    ],
)
def test_auto_looks_at_the_machine(machine, cpuinfo, capabilities, expected):
    machine(cpuinfo, capabilities)
    assert precision.resolved("auto") == expected


def test_xla_and_jax_do_not_compute_in_bfloat16_on_a_processor(machine, monkeypatch):
    machine(ZEN4)
    assert precision.resolved("auto", jit=True) == "float32"
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert precision.resolved("auto") == "float32"


def test_several_workers_agree_without_asking(machine):
    machine(ZEN4, [(9, 0)])
    assert precision.resolved("auto", alone=False) == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_what_is_named_is_taken(machine, name):
    machine(ZEN4, [(9, 0)])
    assert precision.resolved(name, jit=True, alone=False) == name


def test_gpus_of_tensorflow(monkeypatch):
    assert precision.gpu_capabilities("tensorflow") == []  # the tests hide them
    details = {"a": {"compute_capability": (8, 9), "device_name": "L4"}, "b": {}}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(details))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    assert precision.gpu_capabilities("tensorflow") == [(8, 9), (0, 0)]


@pytest.mark.parametrize(
    ("text", "expected"), [("9.0", (9, 0)), ("12.1", (12, 1)), ("gfx90a", (0, 0)), ("", (0, 0)), ("8", (8, 0))]
)
def test_versions(text, expected):
    assert precision._version(text) == expected


def test_it_needs_no_keras_to_be_imported():
    code = (
        "import sys, kerastransfer.training.precision; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
