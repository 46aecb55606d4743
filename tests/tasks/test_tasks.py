"""The table of tasks."""

import subprocess
import sys

import pytest

from kerastransfer.tasks import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_a_whole_module(name):
    task = TASKS[name]
    assert task.__name__.endswith(f".{name}")
    for part in ("classes", "num_classes", "graph", "interpret", "differences", "score", "figures"):
        assert callable(getattr(task, part)), part
    assert task.TOLERANCES.keys() == {"float32", "float16", "int8"}
    assert task.OUTPUTS and all(isinstance(text, str) for text in (task.FIELD, task.MAIN, task.KEPT))
    assert task.EACH is None or isinstance(task.EACH, str)
    assert isinstance(task.DECODED, bool)


def test_the_tasks_need_neither_keras_nor_tensorflow():
    code = "import sys, kerastransfer.tasks, kerastransfer.tasks.metadata; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "kerastransfer.tasks.classification" in loaded
    assert {"keras", "tensorflow", "matplotlib", "scipy"}.isdisjoint(loaded)
