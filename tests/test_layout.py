"""The rooms of the package stand on floors, and imports only point down."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kerastransfer"
FLOORS = (
    ("errors", "vocabulary", "callable_module"),
    ("files", "silence", "progress", "flags"),
    ("ops",),
    ("layers",),
    ("data", "encoders", "decoders", "heads", "codecs", "losses", "metrics"),
    ("registered", "models", "report"),
    ("tasks",),
    ("training", "export"),
    ("detectors",),
    ("analysis",),
    ("runs",),
    ("phases",),
    ("recipes", "api"),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# layers: the fused kernel alone, imported when it is called
TENSORFLOW_ROOMS = {"data", "export", "training", "layers"}


def imported(path):
    """Names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room they come from"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "kerastransfer")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        assert not list(imported(path))
        return
    for name in imported(path):
        if name.startswith("kerastransfer."):
            other = name.split(".")[1]
            assert other == room or FLOOR.get(other, -1) < FLOOR[room], f"{room} may not import {name}"
        if name.split(".")[0] == "tensorflow":
            assert room in TENSORFLOW_ROOMS, f"{room} is written in keras.ops and may not import {name}"
