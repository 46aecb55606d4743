"""`python -m kerastransfer.recipes`: the recipes, a line each."""

import ast
from pathlib import Path

PACKAGE = "kerastransfer.recipes"


def recipes() -> dict[str, str]:
    """{name: first line of its docstring} of the modules here that define `main(config)`; none of them is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        if {"main", "Config"} <= names:
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main() -> None:
    lines = recipes()
    width = max(map(len, lines), default=0)
    for name, line in lines.items():
        print(f"{name:{width}}  {line}")
    print(f"\npython -m {PACKAGE}.NAME --help tells the flags of a recipe.")


if __name__ == "__main__":
    main()
