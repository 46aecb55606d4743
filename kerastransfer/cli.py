"""The console script `kerastransfer`: inspect data, list and run recipes, and use trained models."""

import importlib
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from kerastransfer import __version__
from kerastransfer.commands import COMMANDS
from kerastransfer.errors import UserError
from kerastransfer.flags import nearest, refuse_repeated
from kerastransfer.recipes import pages
from kerastransfer.runs import command_line

DESCRIPTION = """Boxes are cheap, masks are expensive: reuse what an object detector has learnt for dense prediction.

`kerastransfer run RECIPE [--FLAG VALUE ...]` trains; `kerastransfer run RECIPE --help` shows its flags.
`kerastransfer --version` tells the version."""

# What other tools call our commands.
OTHER_WORDS = {
    **dict.fromkeys(("train", "fit", "finetune"), "kerastransfer run RECIPE trains"),
    **dict.fromkeys(("val", "validate", "test"), "kerastransfer evaluate MODEL DATA scores a model"),
    **dict.fromkeys(("detect", "segment", "infer"), "kerastransfer predict MODEL IMAGE runs a model"),
}
# Flags of commands that take several values.
SEVERAL = ("--classes", "--merge", "--map", "--encoders")


def main(argv: Sequence[str] | None = None) -> None:
    """Exit codes: 0; 1 for an exported file out of tolerance; 2 for a mistake of the user, reported in one line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with command_line.one_line_errors():
        if argv[:1] == ["run"]:
            run(argv[1:])
        elif argv == ["--version"]:
            print(f"kerastransfer {__version__}")
        else:
            if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
                told = f"the nearest is {nearest(argv[0], ['run', *COMMANDS])}"
                told = OTHER_WORDS.get(argv[0], told)
                raise UserError(f"unknown command {argv[0]!r}; {told}, all are run, {', '.join(COMMANDS)}")
            refuse_repeated(argv, SEVERAL)
            tyro.extras.subcommand_cli_from_dict(
                {"run": _run, **COMMANDS}, prog="kerastransfer", description=DESCRIPTION, args=argv
            )


def run(argv: Sequence[str]) -> None:
    """Run the recipe that `argv` names first; if it names none, the recipe whose folder (recipes/NAME/FILE.toml) holds
    the file of --config."""
    names = list(pages())
    if argv[:1] in (["--help"], ["-h"]):
        print("usage: kerastransfer run RECIPE [--FLAG VALUE ...]\n")
        COMMANDS["recipes"]()
        return
    recipe, flags = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (_folder_of_config(argv), argv)
    if recipe not in names:
        told = f"the nearest to {recipe!r} is {nearest(recipe, names)!r}" if recipe else "none was given"
        raise UserError(f"kerastransfer run needs a recipe, one of {', '.join(names)}; {told}")
    page = importlib.import_module(f"kerastransfer.recipes.{recipe}")
    command_line.run(page.main, page.Config, flags, prog=f"kerastransfer run {recipe}")


def _run() -> None:
    """Train: kerastransfer run RECIPE [--FLAG VALUE ...]; kerastransfer run --help lists the recipes."""


def _folder_of_config(flags: Sequence[str]) -> str:
    """The name of the folder that holds the file of --config; "" without --config."""
    given = [flag.removeprefix("--config=") for flag in flags if flag.startswith("--config=")]
    given += [value for flag, value in itertools.pairwise(flags) if flag == "--config"]
    return Path(given[0]).resolve().parent.name if given else ""
