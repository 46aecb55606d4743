"""The examples of docs/extending.md, in a copy of the package: each module as written, with its row, is used once."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
# The path that stands before a block, if any, and the block.
BLOCKS = re.findall(r"(?:^(?:In )?`([\w/]+\.py)`:\n\n)?^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
# {file: (what its table begins with, what is imported, the row)}
ROWS = {
    "data/layouts/__init__.py": (
        "LAYOUTS = {",
        "from kerastransfer.data.layouts import csv_boxes",
        '"csv_boxes": csv_boxes,',
    ),
    "encoders/__init__.py": (
        "ENCODERS: dict[str, Callable[..., keras.Model]] = {",
        "from kerastransfer.encoders.mobilenet_v2 import mobilenet_v2_encoder",
        '"mobilenet_v2": mobilenet_v2_encoder,',
    ),
    "models/segmenter.py": (
        "DECODERS = {",
        "from kerastransfer.decoders import bilinear",
        '"bilinear": Part(bilinear.bilinear, pixels.pointwise),',
    ),
    "training/optimizers.py": ("OPTIMIZERS = {", "", '"lion": Lion,'),
    "detectors/__init__.py": ("DETECTORS = {", "from kerastransfer.detectors import points", '"points": points,'),
    "registered.py": ("ROOMS = (", "from kerastransfer.codecs import points", "points,"),
    "pretexts/__init__.py": ("PRETEXTS = {", "from kerastransfer.pretexts import rotation", '"rotation": rotation,'),
    "analysis/studies.py": ("STUDIES = {", "from kerastransfer.analysis import sparsity", '"sparsity": sparsity,'),
    "tasks/__init__.py": ("TASKS = {", "from kerastransfer.tasks import counting", '"counting": counting,'),
}
# In one process, as each takes seconds to start.
USE = """
import keras
import kerastransfer as kt
from kerastransfer.recipes import detector, finetune, transfer_pretrain
from kerastransfer.runs import command_line
from kerastransfer.tasks.about import About

SMALL = ["--data", "toy:20", "--image-size", "64", "--batch-size", "8", "--precision", "float32", "--quiet"]


def run(recipe, *flags):
    command_line.run(recipe.main, recipe.Config, [*SMALL, *flags])


run(detector, "--model", "points-small", "--net.box-weight", "2", "--optimizer", "lion", "--optim.beta-1", "0.95",
    "--detector-epochs", "1", "--no-export", "--output", "detector")
kt.encoder("mobilenet_v2").save("encoder.keras")
run(finetune, "--encoder", "encoder.keras", "--decoder", "bilinear", "--decoder-epochs", "1", "--no-export",
    "--output", "finetune")
run(transfer_pretrain, "--pretext", "rotation", "--pretext-epochs", "1", "--output", "rotation")
image = keras.Input((64, 64, 3))
network = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(image)))
kt.save(network, "counting.keras", About("counting", ("disc", "square", "triangle", "star"), (64, 64)))
scores = kt.evaluate("counting.keras", kt.data("toy:20", "boxes")[1])
assert scores.keys() == {"exact", "error"}, scores
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with the package, to which the page's modules and their rows were added, and the page's tests."""
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "kerastransfer"
    shutil.copytree(ROOT / "kerastransfer", package, ignore=shutil.ignore_patterns("__pycache__"))
    tests = 0
    for path, block in BLOCKS:
        if path and (package / path).exists():
            # A part of a module that there is: it goes before the table.
            before, table, after = (package / path).read_text(encoding="utf-8").partition("\nOPTIMIZERS = {")
            (package / path).write_text(f"{before}\n{block}\n{table}{after}", encoding="utf-8")
        elif path:
            (package / path).write_text(block, encoding="utf-8")
        else:
            assert "def test_" in block, block
            tests += 1
            (folder / f"test_{tests}.py").write_text(block, encoding="utf-8")
    for path, (begin, imported, row) in ROWS.items():
        text = (package / path).read_text(encoding="utf-8")
        assert text.count(f"\n{begin}") == 1, path
        (package / path).write_text(text.replace(f"\n{begin}", f"\n{imported}\n{begin}{row}"), encoding="utf-8")
    studies = package / "phases/studies.py"
    field = '    sparsity: studies.sparsity.Settings = None\n    """Silent channels."""\n'
    anchor = "    all_unseen: bool = False\n"
    text = studies.read_text(encoding="utf-8")
    assert text.count(anchor) == 1
    studies.write_text(text.replace(anchor, field + anchor), encoding="utf-8")
    return folder


def done(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(folder), "KERASTRANSFER_HOME": str(folder / "cache")}
    ran = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return ran.stdout


@pytest.mark.slow
def test_the_tests_of_the_page_pass(extended):
    files = sorted(path.name for path in extended.glob("test_*.py"))
    assert len(files) == 4
    passed = re.search(r"(\d+) passed", done(extended, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files))
    assert passed and int(passed[1]) == 8


@pytest.mark.slow
def test_the_modules_of_the_page_can_be_used(extended):
    done(extended, "-c", USE)
    assert (extended / "detector/metrics.json").is_file() and (extended / "finetune/metrics.json").is_file()
    assert (extended / "rotation/models/rotation.keras").is_file()
    assert "sparsity" in done(extended, "-m", "kerastransfer.recipes.analyse", "--help")
