"""The rooms of the package stand on floors, and imports only point down; within a room none point in a circle."""

import ast
import graphlib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kerastransfer"
FLOORS = (
    ("errors", "vocabulary", "callable_module"),
    ("files", "archives", "silence", "progress", "flags", "lettering"),
    ("ops", "presets"),
    ("layers",),
    ("data", "encoders", "decoders", "heads", "codecs", "losses", "metrics"),
    ("registered", "models", "report"),
    ("tasks",),
    ("training", "export"),
    ("detectors", "pretexts"),
    ("analysis",),
    ("runs",),
    ("phases",),
    ("recipes", "api"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# layers: the fused kernel alone, imported when it is called
TENSORFLOW_ROOMS = {"data", "export", "training", "layers"}


MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path):
    """Names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room they come from"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "kerastransfer")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_table_of_floors_in_the_documentation_is_this_one():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", text, re.MULTILINE)
    told = {int(number): set(re.findall(r"`(\w+)`", rooms)) for number, rooms in rows}
    assert told == {number: set(rooms) for number, rooms in enumerate(FLOORS, start=1)}


@pytest.mark.parametrize("path", MODULES.values(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        # It imports what a script asks for, when it asks.
        assert not [name for name in imported(path) if name.startswith("kerastransfer")]
        return
    for name in imported(path):
        if name.startswith("kerastransfer."):
            other = name.split(".")[1]
            assert other == room or FLOOR.get(other, -1) < FLOOR[room], f"{room} may not import {name}"
        if name.split(".")[0] == "tensorflow":
            assert room in TENSORFLOW_ROOMS, f"{room} is written in keras.ops and may not import {name}"


def uses(path):
    """The modules of this package that a file needs to run: of `from room import name` the module of that name, and
    where there is none the room's `__init__`."""
    for node in ast.walk(stripped(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (one if one in MODULES else node.module for one in names if node.module in MODULES)


def stripped(tree):
    """The tree without what only a type checker imports."""

    class Strip(ast.NodeTransformer):
        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    return Strip().visit(tree)


def circle(used):
    """The modules of a circle in {module: those that it uses}; [] where there is none."""
    try:
        graphlib.TopologicalSorter(used).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.slow
def test_no_imports_in_a_circle():
    """Nor between modules of one room, nor inside functions, where a circle would not be noticed for long."""
    used = {name: set(uses(path)) for name, path in MODULES.items()}
    assert sum(map(len, used.values())) > 300
    assert not circle(used), " -> ".join(circle(used))


def test_a_circle_is_found(tmp_path):
    code = {
        "detector": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from kerastransfer.ops import nms\n",
        "families": "def build():\n    from kerastransfer.runs import grid\n",
        "package": "from kerastransfer.tasks import TASKS, drawing\nimport kerastransfer.files, numpy\n",
    }
    found = {}
    for name, text in code.items():
        (tmp_path / f"{name}.py").write_text(text)
        found[name] = set(uses(tmp_path / f"{name}.py"))
    assert found == {
        "detector": set(),
        "families": {"kerastransfer.runs.grid"},
        "package": {"kerastransfer.tasks", "kerastransfer.tasks.drawing", "kerastransfer.files"},
    }
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_the_room_of_recipes_holds_pages_only():
    names = [name for name in MODULES if name.startswith("kerastransfer.recipes.") and "__" not in name]
    assert len(names) >= 6
    for name in names:
        page = importlib.import_module(name)
        assert inspect.isfunction(page.main) and page.main.__module__ == name
        assert inspect.isclass(page.Config) and page.Config.__module__ == name
        assert "command_line.run(main, Config)" in MODULES[name].read_text(encoding="utf-8")


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, kerastransfer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("kerastransfer.")] == []
    assert {"keras", "tensorflow", "numpy"}.isdisjoint(loaded)
