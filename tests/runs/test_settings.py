"""Flags over file over defaults, and one clear line for every mistake in either."""

import dataclasses
import math
import subprocess
import sys
import tomllib
from typing import ClassVar, Literal

import pytest

from kerastransfer.errors import UserError
from kerastransfer.flags import flag, nearest, require_positive
from kerastransfer.runs import settings


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
        require_positive(self, "epochs", "learning_rate")


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
    config = Config(
        data=text,
        fraction=1 / 3,
        learning_rate=2e-5,
        seeds=(0, 2),
        decoders=(),
        deterministic=True,
        encoder="a/b.keras",
    )
    assert settings.read(Config, write(tmp_path / "a.toml", settings.to_toml(config))) == config
    assert settings.read(Config, write(tmp_path / "b.toml", settings.to_toml(Config()))) == Config()


@pytest.mark.parametrize("value", [1e16, 2e-5, 0.1 + 0.2, math.inf, -0.0, 5e-324])
def test_toml_round_trip_keeps_every_bit_of_a_float(value):
    assert tomllib.loads(settings.to_toml(_Floats(value)))["value"] == value


@dataclasses.dataclass
class _Floats:
    value: float


def test_what_to_do_with_a_folder_is_not_stored():
    assert not {"resume", "overwrite"} & tomllib.loads(settings.to_toml(Config(overwrite=True))).keys()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch = 3", "unknown key 'epoch'; the nearest known one is epochs"),
        ("batch-size = 3", "is batch_size"),
        ("[training]\nepochs = 3", "unknown key 'training'"),
        ('epochs = "ten"', "epochs is 'ten'; it must be a whole number"),
        ("epochs = 1.5", "it must be a whole number"),
        ("epochs = true", "it must be a whole number"),
        ("jit = 1", "it must be true or false"),
        ("data = 1", "it must be a string"),
        ('precision = "float64"', "it must be one of 'auto', 'float32', 'bfloat16', 'float16'"),
        ('decoders = ["unet", "fpn"]', "it must be a list in which each item is one of 'segnet', 'unet'"),
        ("seeds = [1, 2.5]", "it must be a list in which each item is a whole number"),
        ("epochs = 0", "--epochs is 0; it must be above 0"),
        ('epochs = 5\ndata = "to', "is not valid TOML"),  # a truncated file
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


def test_a_file_that_is_missing_or_not_text(tmp_path):
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
        (["--epoch", "3"], "'--epoch'; the flag here is --epochs"),
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


def test_help_shows_every_flag_in_hyphens_and_how_to_give_a_file(capsys):
    with pytest.raises(SystemExit) as caught:
        settings.parse(Config, ["--help"], prog="recipe", description="A page.\n\n    its command")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert flag(field.name) in out
    assert "--config FILE.toml" in out
    assert "Of Adam." in out
    assert "    its command" in out


def test_there_is_always_a_nearest_name():
    assert nearest("zzz", ["epochs"]) == "epochs"


def test_settings_and_listing_are_read_without_keras():
    code = """if True:
        import sys
        from kerastransfer.recipes import __main__
        from kerastransfer.runs import folder, settings
        settings.parse(settings.CommonConfig, [])
        __main__.main()
        assert not {"tensorflow", "keras", "numpy"} & set(sys.modules), "too heavy for --help"
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "--help" in ended.stdout


@dataclasses.dataclass
class Square:
    side: float = 2.0
    """Length of a side."""
    corners: tuple[int, ...] = (4,)
    """How many of them."""

    def __post_init__(self) -> None:
        require_positive(self, "side", prefix="shape.")


@dataclasses.dataclass
class Disc:
    radius: float = 1.0
    """Distance of the rim."""
    side: str = "upper"
    """Which way up."""
    colour: Literal["red", "blue"] = "red"
    """Of the face."""


KINDS = {"square": Square, "tile": Square, "disc": Disc}


def kind_of(name):
    if name not in KINDS:
        raise UserError(f"unknown --form {name}; choose {', '.join(KINDS)}")
    return KINDS[name]


@dataclasses.dataclass
class Drawing(settings.CommonConfig):
    """Draws a form."""

    CHOSEN: ClassVar = {"shape": ("form", kind_of)}
    TOY: ClassVar = {"batch_size": 4, "shape": {"side": 0.5}}

    form: str = "square"
    """What to draw."""
    shape: settings.one_of({"square": Square, "disc": Disc}) = None
    """Settings of the form."""


def test_a_choice_brings_its_own_defaults():
    assert Drawing().shape == Square() and Drawing(form="disc").shape == Disc()
    assert settings.parse(Drawing, ["--data", "photos"]).shape == Square()
    assert settings.parse(Drawing, ["--form", "disc"]).shape == Disc()
    given = settings.parse(Drawing, ["--form", "disc", "--shape.radius", "3", "--shape.side", "lower"])
    assert given.form == "disc" and given.shape == Disc(radius=3, side="lower")


def test_settings_of_another_choice_are_refused():
    with pytest.raises(UserError, match=r"the settings in shape are not those of --form disc"):
        Drawing(form="disc", shape=Square())
    with pytest.raises(UserError, match=r"^unknown --form ring; choose square, tile, disc"):
        settings.parse(Drawing, ["--form", "ring"])


@pytest.mark.parametrize(
    "config", [Drawing(), Drawing(form="disc", shape=Disc(2.5, colour="blue")), Drawing(shape=Square(corners=(1, 2)))]
)
def test_a_table_survives_a_round_trip(tmp_path, config):
    file = write(tmp_path / "run.toml", settings.to_toml(config))
    assert "\n[shape]\n" in settings.to_toml(config)
    assert settings.read(Drawing, file) == config == settings.parse(Drawing, ["--config", file])
    assert tomllib.loads(settings.to_toml(config)).keys() >= {"form", "shape"}


def test_flags_override_a_table(tmp_path):
    file = write(tmp_path / "run.toml", 'form = "disc"\n[shape]\nradius = 3\ncolour = "blue"\n')
    assert settings.parse(Drawing, ["--config", file]).shape == Disc(3, colour="blue")
    assert settings.parse(Drawing, ["--config", file, "--shape.radius", "4"]).shape == Disc(4, colour="blue")
    # Of two forms with the same settings, the file's are kept.
    file = write(tmp_path / "run.toml", "[shape]\nside = 7\n")
    assert settings.parse(Drawing, ["--config", file, "--form", "tile"]) == Drawing(form="tile", shape=Square(7))


def test_a_table_of_the_wrong_choice_is_refused(tmp_path):
    file = write(tmp_path / "run.toml", "[shape]\nside = 7\n")
    with pytest.raises(UserError) as caught:
        settings.parse(Drawing, ["--config", file, "--form", "disc"])
    told = str(caught.value)
    assert told.startswith(file) and "[shape] is for form = 'square'" in told and "--form disc" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[shape]\nsid = 3", "unknown key 'shape.sid'; the nearest known one is shape.side"),
        ("[shape]\nradius = 3", "unknown key 'shape.radius'"),
        ('[shape]\nside = "long"', "shape.side is 'long'; it must be a number"),
        ("[shape]\nside = 0", "--shape.side is 0"),
        ("shape = 3", "shape is 3; it must be a table, [shape]"),
        ('form = "ring"', "unknown --form ring"),
        ("side = 3", "unknown key 'side' at the top level; it belongs in the table [shape]"),
        ('form = "disc"\nradius = 3', "'radius' at the top level; it belongs in the table [shape]"),
    ],
)
def test_a_mistake_in_a_table_is_one_line_that_names_it(tmp_path, text, told):
    file = write(tmp_path / "run.toml", text)
    with pytest.raises(UserError) as caught:
        settings.parse(Drawing, ["--config", file])
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--shape.sid", "3"], "'--shape.sid'; the nearest flag is --shape.side"),
        (["--side", "3"], "'--side'; the nearest flag is --shape.side"),
        (["--shape.radius", "3"], "unknown '--shape.radius'"),
        (["--form", "disc", "--radius=3"], "the nearest flag is --shape.radius"),
    ],
)
def test_a_mistake_in_a_flag_of_a_choice_names_the_nearest(flags, told):
    with pytest.raises(UserError) as caught:
        settings.parse(Drawing, flags)
    assert told in str(caught.value)


@pytest.mark.parametrize(("form", "shown", "hidden"), [("tile", "corners", "radius"), ("disc", "radius", "corners")])
def test_help_shows_the_flags_of_the_choice_alone(form, shown, hidden, capsys):
    with pytest.raises(SystemExit) as caught:
        settings.parse(Drawing, ["--form", form, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"--shape.{shown}" in out and f"--shape.{hidden}" not in out


def test_settings_of_a_choice_are_fixed_in_a_resumed_run():
    fixed = settings.fixed(Drawing(form="disc", output="somewhere"))
    assert fixed["shape.radius"] == 1.0 and fixed["form"] == "disc"
    assert "output" not in fixed and "resume" not in fixed


@pytest.mark.parametrize("flags", [[], ["--data", "toy"], ["--data=toy:20"], ["--data", "toy-hard:8"]])
def test_drawn_scenes_bring_the_settings_of_a_small_job(flags):
    parsed = settings.parse(Drawing, flags)
    assert parsed.batch_size == 4 and parsed.shape == Square(side=0.5)
    assert settings.parse(Drawing, [*flags, "--batch-size", "2", "--shape.side", "3"]).batch_size == 2


def test_other_data_and_files_of_settings_do_not(tmp_path):
    for data in ("photos", "tfds:toys", "toys", "toy/photos"):
        assert settings.parse(Drawing, ["--data", data]) == Drawing(data=data), data
    file = write(tmp_path / "run.toml", "seed = 7\n")
    assert settings.parse(Drawing, ["--config", file]) == Drawing(seed=7)
    assert Drawing().batch_size == 16


def test_a_small_job_of_another_choice_leaves_its_table_out():
    assert settings.parse(Drawing, ["--form", "disc"]) == Drawing(form="disc", batch_size=4)
    assert settings.parse(Drawing, ["--form", "tile"]).shape == Square(side=0.5)


def test_help_mentions_the_small_job_where_there_is_one(capsys):
    for Recipe, there in ((Drawing, True), (Config, False)):
        with pytest.raises(SystemExit):
            settings.parse(Recipe, ["--help"])
        assert (settings.TOY_HELP.split(",")[0] in " ".join(capsys.readouterr().out.split())) == there


def test_the_choice_of_classes_is_kept_with_the_run(tmp_path):
    given = settings.CommonConfig(classes=("a b", "c"), merge=("person=man,woman",), allow_outside=True)
    (tmp_path / "config.toml").write_text(settings.to_toml(given))
    assert settings.read(settings.CommonConfig, tmp_path / "config.toml") == given
    assert {"classes", "merge", "allow_outside"} <= settings.fixed(given).keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": "3"}, "batch_size is '3'; it must be a whole number"),
        ({"fraction": "0.5"}, "fraction is '0.5'; it must be a number"),
        ({"quiet": "yes"}, "quiet is 'yes'; it must be true or false"),
        ({"split": "owners"}, "split is 'owners'; it must be one of 'auto', 'owner', 'every_fifth'"),
        ({"classes": "person"}, r"classes is 'person'; it must be several values, as in \('person',\)"),
    ],
)
def test_text_in_place_of_other_values(given, message):
    with pytest.raises(UserError, match=message):
        settings.CommonConfig(**given)
