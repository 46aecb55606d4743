"""The recipes: each module is one experiment on a page, and is run as `python -m kerastransfer.recipes.NAME`.

`python -m kerastransfer.recipes` lists them, and `python -m kerastransfer.recipes.NAME --help` shows the flags of one.
Code that several recipes need is in the packages `phases` and `runs`.
"""

import ast
from pathlib import Path


def pages() -> dict[str, str]:
    """{name: first line of its docstring} of all recipes, which are not imported."""
    modules = sorted(Path(__file__).parent.glob("[!_]*.py"))
    texts = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in modules}
    return {name: (text or "").partition("\n")[0] for name, text in texts.items()}
