"""What is written in keras.ops gives the same on JAX: tests of ops, codecs, losses and of a training step, run again.

In a process of its own, because Keras chooses its backend when it is imported.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
AGAIN = (
    *("ops", "codecs", "losses", "training/test_optimizers.py", "training/test_terms.py"),
    *("test_every_layer.py", "test_every_model.py"),
)
LEAST = 100  # of the tests must have run, not skipped


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install kerastransfer[jax]"
)
def test_the_same_under_jax():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(TESTS / name) for name in AGAIN)]
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= LEAST, done.stdout[-500:]
