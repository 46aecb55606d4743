"""The recipes: each module is one experiment, readable as a page, and is run as `python -m kerastransfer.recipes.NAME`.

`python -m kerastransfer.recipes` lists them; `python -m kerastransfer.recipes.NAME --help` shows their flags. What
several pages need is in the rooms `phases` and `runs`.
"""

import ast
from pathlib import Path


def pages() -> dict[str, str]:
    """{name: first line of its docstring} of the recipes; none of them is imported."""
    modules = sorted(Path(__file__).parent.glob("[!_]*.py"))
    texts = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in modules}
    return {name: (text or "").partition("\n")[0] for name, text in texts.items()}
