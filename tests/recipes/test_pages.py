"""The pages of recipes: listed, explained, and light to import."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kerastransfer.errors import UserError
from kerastransfer.recipes import pages
from kerastransfer.runs import command_line, settings

FILES = Path(__file__).resolve().parent.parent.parent / "recipes"


def page(name):
    return importlib.import_module(f"kerastransfer.recipes.{name}")


def test_the_listing_has_a_line_for_each_page(capsys):
    from kerastransfer.recipes import __main__ as listing

    listing.main()
    out = capsys.readouterr().out
    for name, line in pages().items():
        assert line and re.search(rf"^{name} +{re.escape(line)}$", out, re.MULTILINE), name
        assert page(name).__doc__.startswith(line)


def test_there_are_files_of_settings():
    assert {path.parent.name for path in FILES.glob("*/*.toml")} <= pages().keys()
    assert not list(FILES.glob("*.toml"))
    assert len(list(FILES.glob("*/*.toml"))) > 5


@pytest.mark.parametrize("path", sorted(FILES.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_of_settings_fits_the_page_that_it_names(path):
    name = path.parent.name
    command = f"python -m kerastransfer.recipes.{name} --config recipes/{name}/{path.name}"
    assert command in path.read_text(encoding="utf-8")
    settings.read(page(name).Config, path)


@pytest.mark.parametrize("name", pages())
def test_every_page_round_trips_and_explains_each_flag(name, tmp_path, capsys):
    recipe = page(name)
    (tmp_path / "run.toml").write_text(settings.to_toml(recipe.Config()), encoding="utf-8")
    assert settings.read(recipe.Config, tmp_path / "run.toml") == recipe.Config()
    with pytest.raises(SystemExit) as caught:
        command_line.run(recipe.main, recipe.Config, ["--data", "photos", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"python -m kerastransfer.recipes.{name}" in out
    assert "(required)" not in out
    for flag in settings.flat(recipe.Config()):
        assert f"--{flag.replace('_', '-')}" in out, flag


@pytest.mark.slow
def test_pages_show_their_flags_without_tensorflow():
    code = f"""if True:
        import importlib, sys
        for name in {list(pages())}:
            importlib.import_module("kerastransfer.recipes." + name)
        assert not {{"tensorflow", "keras"}} & set(sys.modules), "too heavy for --help"
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("flags", "shown", "hidden"),
    [
        (["--model", "small"], ["--net.head", "--optim.beta-1"], ["--net.width", "--optim.trust"]),
        (["--model", "yolov3-tiny"], ["--net.width", "--net.anchors"], ["--net.head", "--net.boxes-per-cell"]),
        (["--optimizer", "lars"], ["--optim.trust"], ["--optim.beta-1", "--optim.nesterov"]),
    ],
)
def test_help_shows_the_flags_of_the_chosen_family_alone(flags, shown, hidden, capsys):
    recipe = page("detector")
    with pytest.raises(SystemExit):
        command_line.run(recipe.main, recipe.Config, [*flags, "--help"])
    out = capsys.readouterr().out
    assert all(flag in out for flag in shown) and not any(flag in out for flag in hidden)


@pytest.mark.parametrize(
    "flags",
    [
        ["--model", "yolov3-small", "--net.width", "0.5", "--net.anchors", "1", "2", "3", "4"],
        ["--net.head", "paper_fc", "--optimizer", "sgd", "--optim.nesterov", "--optim.bias-factor", "2"],
    ],
)
def test_settings_of_a_family_survive_the_file_of_a_run(flags, tmp_path):
    recipe = page("detector")
    config = settings.parse(recipe.Config, ["--data", "photos", *flags])
    (tmp_path / "config.toml").write_text(settings.to_toml(config), encoding="utf-8")
    assert settings.parse(recipe.Config, ["--config", str(tmp_path / "config.toml")]) == config
    assert settings.flat(config)["net.loss"] == "giou"


def test_a_table_of_another_family_is_refused(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('model = "yolov3-tiny"\n[net]\nwidth = 0.5\n')
    with pytest.raises(UserError, match=r"\[net\] is for model = 'yolov3-tiny' and does not apply to --model small"):
        settings.parse(page("detector").Config, ["--config", str(file), "--model", "small"])
    for text, told in (
        ("[net]\nwidth = 0.5\n", "unknown key 'net.width'"),
        ('loss = "giou"\n', "'loss' at the top level; it belongs in the table [net]"),
        ("weight_decay = 0.1\n", "'weight_decay' at the top level; it belongs in the table [optim]"),
        ('[net]\nlos = "giou"\n', "the nearest known one is net.loss"),
        ('model = "yolov4"\n', "unknown --model yolov4"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=re.escape(told)) as caught:
            settings.parse(page("detector").Config, ["--config", str(file)])
        assert str(file) in str(caught.value)
