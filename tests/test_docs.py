"""Commands and scripts of the documentation: flags exist, names can be imported, files are there.

Those of the README are run as they stand (test_readme.py). The others need data of the reader's, or minutes of
training, so here their settings are parsed and their names resolved.
"""

import ast
import dataclasses
import importlib.util
import inspect
import itertools
import re
import shlex
from pathlib import Path

import pytest

from kerastransfer import cli
from kerastransfer.errors import UserError
from kerastransfer.recipes import pages
from kerastransfer.runs import settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(bash|python)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(language):
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if match[2] == language:
                yield page.relative_to(ROOT), match[3]


def commands():
    """(page, words) of every command of this package in a block."""
    for page, block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if "kerastransfer" not in line:
                continue
            # A comment may have an apostrophe, and a line be the last of a quotation.
            line = re.sub(r"(^|\s)#\s.*", "", line)
            line = line.replace("'", "") if line.count("'") % 2 else line
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            for between, group in itertools.groupby(lexer, lambda word: set(word) <= set(";&|")):
                words = [] if between else list(group)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words[:2] == ["python", "-m"] and words[2].startswith("kerastransfer"):
                    yield page, [words[2].rpartition(".")[2], *words[3:]], True
                elif words[:2] == ["kerastransfer", "run"] and words[2:]:
                    yield page, words[2:], True
                elif words[:1] == ["kerastransfer"] and words[1:]:
                    yield page, words[1:], False


RECIPES = sorted({(str(page), *words) for page, words, recipe in commands() if recipe})
OTHERS = sorted({(str(page), *words) for page, words, recipe in commands() if not recipe})


def test_there_are_commands():
    assert len(RECIPES) > 50 and len(OTHERS) > 5


@pytest.mark.parametrize("command", RECIPES, ids=" ".join)
def test_the_settings_of_a_recipe_are_right(command, monkeypatch):
    _, recipe, *flags = command
    if recipe == "recipes" or "--help" in flags:
        return
    monkeypatch.chdir(ROOT)
    if recipe.startswith("-"):
        recipe, flags = cli._folder_of_config([recipe, *flags]), [recipe, *flags]
    assert recipe in pages()
    page = importlib.import_module(f"kerastransfer.recipes.{recipe}")
    flags = [flag for flag in flags if flag not in ("...", "$RESUME")]
    try:
        settings.parse(page.Config, flags)
    except UserError as error:
        # The files of the reader are not here.
        assert re.search(r"no such file", str(error)), error


def test_the_flags_of_every_recipe_are_those_of_every_recipe():
    """Those that a recipe lacks are named below the table."""
    section = (ROOT / "docs/api.md").read_text(encoding="utf-8").partition("### Flags of every recipe\n")[2]
    table = re.search(r"^\| flag .*?\n\n", section, re.DOTALL | re.MULTILINE)[0]
    told = {flag for flag in re.findall(r"`--([a-z-]+)", table) if flag != "no-export"}
    without = {
        recipe: set(re.findall(r"`--([a-z-]+)`", sentence))
        for sentence in re.search(r"^`genesis` .*?\n\n", section, re.DOTALL | re.MULTILINE)[0].split(". ")
        for recipe in re.findall(r"`([a-z_]+)`", sentence)
    }
    assert len(told) > 30 and "genesis" in without
    for recipe in pages():
        config = importlib.import_module(f"kerastransfer.recipes.{recipe}").Config
        fields = {field.name for field in dataclasses.fields(config)}
        lacking = {flag for flag in told if flag.replace("-", "_") not in fields and not flag.startswith("optim")}
        assert lacking == without.get(recipe, set()), recipe


def test_every_public_name_is_in_the_documentation():
    """As kt.NAME, in docs/api.md; what `kt.detector` has is not `kt.detect`."""
    import kerastransfer as kt

    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert len(kt.__all__) > 10
    assert [name for name in kt.__all__ if not re.search(rf"\bkt\.{name}\b", text)] == []


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_the_flags_of_a_command_are_right(command):
    _, name, *words = command
    if name.startswith("-"):
        assert name in ("--version", "--help")
        return
    function = cli.COMMANDS[name]
    known = {f"--{parameter.replace('_', '-')}" for parameter in inspect.signature(function).parameters}
    assert {word for word in words if word.startswith("--")} <= known


# Blocks that show how a function is called and what it returns are no scripts.
SCRIPTS = [(page, script) for page, script in blocks("python") if ") -> " not in script.split("\n\n")[0]]


@pytest.mark.parametrize(("page", "script"), SCRIPTS, ids=lambda value: str(value)[:60].replace("\n", " "))
def test_the_names_in_a_script_are_right(page, script):
    import kerastransfer as kt

    text = (ROOT / page).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(inspect.cleandoc(script))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kt":
            assert node.attr in kt.__all__, f"kt.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("kerastransfer"):
            path = f"{node.module.removeprefix('kerastransfer.').replace('.', '/')}.py"
            if f"{path}`" in text and importlib.util.find_spec(node.module) is None:
                # The page has the reader write this module.
                continue
            module = importlib.import_module(node.module)
            for alias in node.names:
                written = f"{path.removesuffix('.py')}/{alias.name}.py`" in text
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}") or written
