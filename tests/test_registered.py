"""A file that holds any layer or codec of the package opens after one import."""

import re
from pathlib import Path

import kerastransfer
from kerastransfer import registered

ROOMS = ("layers", "codecs", "models", "encoders", "decoders", "heads", "losses", "ops")


def test_whatever_is_registered_is_known_after_one_import():
    found = set()
    for room in ROOMS:
        for path in (Path(kerastransfer.__file__).parent / room).rglob("*.py"):
            pattern = r"register_keras_serializable\(package=\"kerastransfer\"\)\n(?:@.*\n)*class (\w+)"
            found |= {f"kerastransfer>{name}" for name in re.findall(pattern, path.read_text())}
    assert len(found) > 12
    assert found <= set(registered.OBJECTS)
