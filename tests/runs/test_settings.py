"""Flags over file over defaults, and one clear line for every mistake in either."""

import dataclasses
import errno
import importlib
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Literal

import pytest

from kerastransfer.errors import UserError
from kerastransfer.recipes import __main__ as listing
from kerastransfer.runs import settings

FILES = Path(__file__).resolve().parent.parent.parent / "recipes"


@dataclasses.dataclass
class Config(settings.CommonConfig):
    epochs: int = 60
    """Passes over the training images."""
    learning_rate: float = 1e-3
    """Of Adam."""
    decoders: tuple[Literal["segnet", "unet"], ...] = ("segnet", "unet")
    """Which to train."""
    encoder: str | None = None
    """A trained one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require_positive(self, "epochs", "learning_rate")


@pytest.fixture(autouse=True)
def _light(monkeypatch):
    """These recipes need no Keras, which takes seconds to import."""
    monkeypatch.setattr(settings, "import_keras", lambda: None)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path):
    file = write(tmp_path / "run.toml", 'epochs = 5\nbatch_size = 8\ndecoders = ["unet"]\nseeds = [3, 4]\n')
    parsed = settings.parse(Config, ["--batch-size", "4", "--config", file, "--jit", "--seeds", "7", "8", "9"])
    assert parsed == Config(epochs=5, batch_size=4, decoders=("unet",), seeds=(7, 8, 9), jit=True)


def test_a_flag_undoes_what_the_file_switches_on(tmp_path):
    file = write(tmp_path / "run.toml", "deterministic = true\nseeds = [1, 2]\n")
    assert settings.parse(Config, [f"--config={file}", "--no-deterministic", "--seeds"]) == Config()


def test_toml_round_trip_keeps_every_setting(tmp_path):
    text = 'quote " backslash \\ tab \t newline \n bell \a delete \x7f Grüße 🐦 # = [x]'
    settings = Config(
        data=text,
        fraction=1 / 3,
        learning_rate=2e-5,
        seeds=(0, 2),
        decoders=(),
        deterministic=True,
        encoder="a/b.keras",
    )
    assert settings.read(Config, write(tmp_path / "a.toml", settings.to_toml(settings))) == settings
    assert settings.read(Config, write(tmp_path / "b.toml", settings.to_toml(Config()))) == Config()


@pytest.mark.parametrize("value", [1e16, 2e-5, 0.1 + 0.2, math.inf, -0.0, 5e-324])
def test_toml_round_trip_keeps_every_bit_of_a_float(value):
    assert tomllib.loads(settings.to_toml(_Floats(value)))["value"] == value


@dataclasses.dataclass
class _Floats:
    value: float


def test_what_to_do_with_a_folder_is_no_setting():
    assert not {"resume", "overwrite"} & tomllib.loads(settings.to_toml(Config(overwrite=True))).keys()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch = 3", "unknown key 'epoch'; the nearest known one is 'epochs'"),
        ("batch-size = 3", "'batch_size'"),
        ("[training]\nepochs = 3", "unknown key 'training'"),
        ('epochs = "ten"', "epochs is 'ten'; needed a whole number"),
        ("epochs = 1.5", "needed a whole number"),
        ("epochs = true", "needed a whole number"),
        ("jit = 1", "needed true or false"),
        ("data = 1", "needed a text"),
        ('precision = "float64"', "needed one of 'auto', 'float32', 'bfloat16', 'float16'"),
        ('decoders = ["unet", "fpn"]', "needed a list, each one of 'segnet', 'unet'"),
        ("seeds = [1, 2.5]", "needed a list, each a whole number"),
        ("epochs = 0", "--epochs is 0: it must be above 0"),
        ('epochs = 5\ndata = "to', "is not whole TOML"),  # a truncated file
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path, text, told):
    file = write(tmp_path / "run.toml", text)
    with pytest.raises(UserError) as caught:
        settings.read(Config, file)
    assert told in str(caught.value)
    assert str(caught.value).startswith(file)
    assert "\n" not in str(caught.value)


def test_a_whole_number_serves_where_a_float_is_needed(tmp_path):
    read = settings.read(Config, write(tmp_path / "run.toml", "learning_rate = 1"))
    assert isinstance(read.learning_rate, float)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    for path, told in (
        (tmp_path / "no.toml", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "run.toml", "TOML"),
    ):
        with pytest.raises(UserError, match=told):
            settings.read(Config, path)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--epoch", "3"], "'--epoch'; the nearest flag is --epochs"),
        (["--learning-rte", "3"], "--learning-rate"),
        (["--confg", "x.toml"], "--config"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--image-size", "-32"], "--image-size is -32"),
        (["--fraction", "0"], "--fraction is 0"),
        (["--fraction", "1.5"], "from 0 to 1"),
        (["--fraction", "nan"], "--fraction"),
        (["--max-bad", "2"], "--max-bad"),
        (["--seed", "-1"], "-1"),
        (["--seeds", "1", "1"], "twice"),
        (["--resume", "--overwrite"], "one of them"),
    ],
)
def test_a_mistake_in_a_flag_is_one_line_that_names_it(flags, told):
    with pytest.raises(UserError) as caught:
        settings.parse(Config, flags)
    assert told in str(caught.value)


@pytest.mark.parametrize("flags", [["--precision", "float64"], ["--epochs", "ten"], ["--epochs"], ["--config"]])
def test_a_flag_of_the_wrong_type_exits_with_2(flags, capsys):
    with pytest.raises(SystemExit) as caught:
        settings.parse(Config, flags)
    assert caught.value.code == 2
    assert flags[0] in capsys.readouterr().err


class ParityError(Exception):
    """Stands for that of `export.parity`, which comes with TensorFlow."""


class ResourceExhaustedError(Exception):
    """Stands for that of TensorFlow."""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("two\nlines"), 2, "error: two lines"),
        (ParityError("int8 lost 0.2"), 1, "error: int8 lost 0.2"),
        (KeyboardInterrupt(), 130, "--resume"),
        (MemoryError(), 2, "out of memory"),
        (ResourceExhaustedError("a\nlong\ntale"), 2, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "disk is full"),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), 2, "disk is full"),
    ],
)
def test_a_foreseen_failure_is_one_line_and_an_exit_code(error, code, told, capsys):
    def main(settings):
        raise error

    with pytest.raises(SystemExit) as caught:
        settings.run(main, Config, [])
    assert caught.value.code == code
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    def main(settings):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        settings.run(main, Config, [])


def test_a_reader_that_leaves_is_no_bug():
    code = "from kerastransfer.runs import settings; settings.run(lambda settings: None, settings.CommonConfig)"
    command = f"{sys.executable} -c '{code}' --help"
    ended = subprocess.run(f"({command}; echo $? >&2) | true", shell=True, capture_output=True, text=True)
    assert "Traceback" not in ended.stderr


def test_help_tells_every_flag_in_hyphens_and_how_to_give_a_file(capsys):
    with pytest.raises(SystemExit) as caught:
        settings.parse(Config, ["--help"], prog="recipe", description="A page.\n\n    its command")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert settings.flag(field.name) in out
    assert "--config FILE.toml" in out
    assert "Of Adam." in out
    assert "    its command" in out


def test_the_nearest_name_is_always_told():
    assert settings.nearest("zzz", ["epochs"]) == "epochs"


@pytest.mark.parametrize("path", sorted(FILES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_file_of_settings_fits_the_recipe_that_it_names(path):
    name = re.search(r"python -m (kerastransfer\.recipes\.\w+) --config recipes/" + path.name, path.read_text())[1]
    settings.read(importlib.import_module(name).Config, path)


@pytest.mark.parametrize("name", listing.recipes())
def test_every_recipe_round_trips_and_explains_each_flag(name, tmp_path, capsys):
    recipe = importlib.import_module(f"{listing.PACKAGE}.{name}")
    assert (
        settings.read(recipe.Config, write(tmp_path / "run.toml", settings.to_toml(recipe.Config()))) == recipe.Config()
    )
    with pytest.raises(SystemExit) as caught:
        settings.run(recipe.main, recipe.Config, ["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"python -m kerastransfer.recipes.{name}" in out
    assert "(required)" not in out


def test_recipes_tell_their_flags_without_tensorflow():
    code = f"""if True:
        import importlib, sys
        for name in {list(listing.recipes())}:
            importlib.import_module("kerastransfer.recipes." + name)
        assert not {{"tensorflow", "keras"}} & set(sys.modules), "too heavy for --help"
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_settings_and_listing_are_read_without_keras():
    code = """if True:
        import sys
        from kerastransfer.runs import settings, folder
        from kerastransfer.recipes import __main__
        settings.parse(settings.CommonConfig, [])
        __main__.main()
        assert not {"tensorflow", "keras", "numpy"} & set(sys.modules), "too heavy for --help"
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "--help" in ended.stdout
