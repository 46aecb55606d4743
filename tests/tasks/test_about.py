import subprocess
import sys

import pytest

from kerastransfer.tasks.about import About


def test_an_unknown_resize_is_refused():
    with pytest.raises(ValueError, match="'crop': choose from"):
        About(task="detection", labels=("cat",), image_size=(64, 64), resize="crop")


def test_the_tasks_need_neither_keras_nor_tensorflow():
    code = "import sys, kerastransfer.tasks, kerastransfer.tasks.metadata; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "kerastransfer.tasks.classification" in loaded
    assert {"keras", "tensorflow", "matplotlib", "scipy"}.isdisjoint(loaded)
