"""An extension of Griffe: arguments in docstrings, which are lines such as `size: (H, W) of inputs.`, become a list."""

import re

import griffe

ARGUMENT = re.compile(r"^(\w+(?:, \w+)*): ", re.MULTILINE)


class Arguments(griffe.Extension):
    def on_object(self, *, obj, **_):
        if obj.docstring:
            head, _, rest = obj.docstring.value.partition("\n")
            rest = re.sub(r"^(?!\s)(?=Raises |Returns )", "\n", ARGUMENT.sub(r"\n- `\1`: ", rest), flags=re.MULTILINE)
            obj.docstring.value = f"{head}\n{rest}"
