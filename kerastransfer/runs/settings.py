"""A recipe's settings: one dataclass, whose fields are the flags of the command line and the keys of a TOML file.

A recipe ends with

    if __name__ == "__main__":
        command_line.run(main, Config)

and its own `Config` extends `CommonConfig`. Every field has a default, is of type bool, int, float, str, Literal, a
`tuple[X, ...]` of these, or one of them `| None`, and is followed by a docstring, which is its line in `--help`.

A field may also hold the settings of a choice, such as those of the family that --model belongs to: the class variable
`CHOSEN` maps its name to (the field that chooses, a function from that field's value to a dataclass). Its fields are
flags with the name before them (--net.loss) and a table of the file ([net]); --help shows those of the chosen class.

The class variable `TOY` holds the settings of the recipe's small job on drawn scenes, as a TOML file would: they are
the defaults where neither --config nor other --data is given.

A recipe's module imports what is slow to import (Keras, TensorFlow, the rooms that use them) inside `main`, so that
`--help` answers at once.
"""

import argparse
import dataclasses
import json
import os
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from kerastransfer.errors import UserError
from kerastransfer.flags import flag, nearest, require_positive
from kerastransfer.runs.flag_help import explain

TOY_HELP = "Without --data and --config, a small complete job runs on drawn scenes; other data has other defaults."
FILE_HELP = "--config FILE.toml reads settings from a file, one per line (batch_size = 16); flags override them."
LARGEST_SEED = 2**32 - 1  # NumPy's


def variable(default: Any) -> Any:
    """A field that may differ between a run and its resumption, as it does not change the numbers."""
    return dataclasses.field(default=default, metadata={"variable": True})


def unstored(default: Any) -> Any:
    """A field that says what to do this once, and is not part of the run's settings."""
    return dataclasses.field(default=default, metadata={"variable": True, "unstored": True})


def one_of(classes: Mapping[str, type]) -> Any:
    """The type of a field that holds an instance of one of these dataclasses, which another field chooses."""
    kinds = [Annotated[one, tyro.conf.subcommand(name)] for name, one in classes.items()]
    return tyro.conf.AvoidSubcommands[typing.Union[tuple(kinds)]]  # noqa: UP007


@dataclasses.dataclass
class CommonConfig:
    """The flags that mean the same in every recipe."""

    CHOSEN: ClassVar[Mapping[str, tuple[str, Callable[[str], type]]]] = {}
    TOY: ClassVar[Mapping[str, Any]] = {}

    data: str = "toy"
    """A folder or an annotation file in a known layout, `toy` or `toy-hard` (drawn scenes), or
    `tfds:NAME`."""
    format: str = "auto"
    """Layout of --data; `auto` detects it."""
    split: Literal["auto", "owner", "every_fifth"] = "auto"
    """Which images are test images: those of the data's own split (`owner`), or every fifth by name (`every_fifth`);
    `auto` takes the data's own split where there is one."""
    max_bad: float = 0.01
    """Largest share of bad samples; with more, the run stops before training."""
    fraction: float = 1.0
    """Share of the training images to train on, drawn by the seed."""
    image_size: int = 224
    """Height and width, in pixels, that images are resized to."""
    batch_size: int = 16
    """Images in a training step, over all replicas."""
    seed: int = 0
    """Seed of the weights, the order of the images and the augmentation."""
    seeds: tuple[int, ...] = ()
    """Several seeds instead of one: a run for each, and their mean and spread."""
    output: str | None = variable(None)
    """Folder of the run; the default is saved_models/RECIPE-DATA."""
    resume: bool = unstored(False)
    """Continue the run in --output where it stopped."""
    overwrite: bool = unstored(False)
    """Remove the run in --output and start again."""
    strategy: Literal["none", "mirrored", "multi_worker", "data_parallel"] = variable("none")
    """Distribute each training step over the devices of this machine (`mirrored`), over the workers of TF_CONFIG
    (`multi_worker`), or with KERAS_BACKEND=jax over the devices of all processes (`data_parallel`): docs/scale.md."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type that the arithmetic of training uses; weights are always float32. `auto` is bfloat16 where this processor or
    GPU computes in it, which is about twice as fast, and float32 elsewhere."""
    jit: bool = False
    """Compile the training step with XLA."""
    deterministic: bool = False
    """Give exactly the same numbers for the same seed; slower."""
    quiet: bool = variable(False)
    """Print only warnings and where the results are."""

    def __post_init__(self) -> None:
        """Raises UserError for a value that no run can have. A recipe's Config calls this first in its own."""
        for name, (by, settings_of) in self.CHOSEN.items():
            wanted, given = settings_of(getattr(self, by)), getattr(self, name)
            if given is None:
                setattr(self, name, wanted())
            elif type(given) is not wanted:
                raise UserError(
                    f"the settings in {name} are not those of {flag(by)} {getattr(self, by)}; leave them out"
                )
        require_positive(self, "image_size", "batch_size", "fraction")
        for name in ("fraction", "max_bad"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; give a share, from 0 to 1")
        for seed in (self.seed, *self.seeds):
            if not 0 <= seed <= LARGEST_SEED:
                raise UserError(f"the seed {seed} is out of range; give whole numbers from 0 to {LARGEST_SEED}")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"--seeds {' '.join(map(str, self.seeds))} names a seed twice; name each seed once")
        if self.resume and self.overwrite:
            raise UserError("--resume keeps the run in the output folder and --overwrite removes it; give one of them")


def parse(Config: type, argv: Sequence[str], *, prog: str | None = None, description: str | None = None) -> Any:
    """A `Config` from flags, over the values of `--config FILE.toml`, over the defaults.

    Raises UserError for an unknown flag or key, which names the nearest known one, and for a file that cannot be
    read; a flag's value of the wrong type ends the program with code 2, and so does `--help` with code 0.
    """
    given, flags = _before("config").parse_known_args(argv)
    choosers = {by for by, _ in Config.CHOSEN.values()}
    chosen = {name: value for name, value in vars(_before(*choosers).parse_known_args(flags)[0]).items() if value}
    if given.config is not None:
        default = read(Config, given.config, **chosen)
    elif (_before("data").parse_known_args(flags)[0].data or "toy").startswith("toy"):
        default = toy(Config, **chosen)
    else:
        default = Config(**chosen)
    description = f"{(description or Config.__doc__).strip()}\n\n{FILE_HELP}" + (
        f"\n\n{TOY_HELP}" if Config.TOY else ""
    )
    explain(Config, *(type(getattr(default, name)) for name in Config.CHOSEN))
    config, unknown = tyro.cli(
        Config, prog=prog, description=description, args=flags, default=default, return_unknown_args=True
    )
    if unknown:
        names = [flag(name) for name in flat(config)] + ["--config"]
        name = unknown[0].partition("=")[0]
        nested = [known for known in names if known.endswith(f".{name.removeprefix('--')}")]
        raise UserError(
            f"unknown {unknown[0]!r}; the nearest flag is {(nested or [nearest(name, names)])[0]}; see --help"
        )
    return config


def _before(*names: str) -> argparse.ArgumentParser:
    """Reads these flags alone, before the others can be understood."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(flag(name), dest=name)
    return parser


def toy(Config: type, **chosen: str) -> Any:
    """The settings of a recipe's small job on drawn scenes, `Config.TOY`; `chosen` as in `read`."""
    values, defaults = dict(Config.TOY), _defaults(Config)
    for name, (by, settings_of) in Config.CHOSEN.items():
        if settings_of(chosen.get(by, values.get(by, defaults[by]))) is not settings_of(values.get(by, defaults[by])):
            # The flags chose another class than the one that the small job has settings for.
            values.pop(name, None)
    return _from_values(Config, values, "TOY", chosen)


def read(Config: type, path: str | os.PathLike, **chosen: str) -> Any:
    """A `Config` from a TOML file; what the file does not name keeps its default. `chosen`: flags that override the
    file, of fields that choose the class of others. Raises UserError."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); --config needs a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid TOML ({error}); it needs one `key = value` per line") from error
    return _from_values(Config, values, path, chosen)


def _from_values(Config: type, values: Mapping[str, Any], source: Any, chosen: Mapping[str, str]) -> Any:
    values, defaults, tables = dict(values), _defaults(Config), {}
    try:
        for name, (by, settings_of) in Config.CHOSEN.items():
            given = values.get(by, defaults[by])
            wanted, table = settings_of(chosen.get(by, given)), values.pop(name, {})
            if not isinstance(table, dict):
                raise UserError(f"{name} is {table!r}; it must be a table, [{name}]")
            if table and settings_of(given) is not wanted:
                raise UserError(
                    f"the table [{name}] is for {by} = {given!r} and does not apply to {flag(by)} {chosen[by]}; "
                    "remove one of them"
                )
            tables[name] = wanted, table
        settings = {name: wanted(**_fields(wanted, table, f"{name}.")) for name, (wanted, table) in tables.items()}
        moved = {field.name: name for name, (wanted, _) in tables.items() for field in dataclasses.fields(wanted)}
        for key in values.keys() & moved.keys() - defaults.keys():
            raise UserError(f"unknown key {key!r} at the top level; it belongs in the table [{moved[key]}]")
        return Config(**{**_fields(Config, values), **settings, **chosen})
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def _defaults(Config: type) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(Config)}


def _fields(Config: type, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a file, or of a table in it, with the types of the fields of `Config`. Raises UserError."""
    kinds = typing.get_type_hints(Config)
    names = [field.name for field in dataclasses.fields(Config) if field.name not in getattr(Config, "CHOSEN", {})]
    typed = {}
    for name, value in values.items():
        if name not in names:
            known = f"the nearest known one is {prefix}{nearest(name, names)}" if names else "there are no keys here"
            raise UserError(f"unknown key {prefix + name!r}; {known}")
        try:
            typed[name] = _typed(value, kinds[name])
        except TypeError as error:
            raise UserError(f"{prefix}{name} is {value!r}; needed {error}") from error
    return typed


def flat(config: Any) -> dict[str, Any]:
    """{"batch_size": 16, "net.loss": "giou", ...}: all settings, those of a choice with the name of its table."""
    return dict(_flat(config, ""))


def _flat(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{field.name}.")
        else:
            yield prefix + field.name, value


def fixed(config: Any) -> dict[str, Any]:
    """The settings, by name, that a run and its resumption must share."""
    loose = {field.name for field in dataclasses.fields(config) if field.metadata.get("variable")}
    return {name: value for name, value in flat(config).items() if name not in loose}


def to_toml(config: Any) -> str:
    """All settings as TOML, which `read` turns into an equal config; a setting of None is left out."""
    stored = [field for field in dataclasses.fields(config) if not field.metadata.get("unstored")]
    values = {field.name: getattr(config, field.name) for field in stored}
    tables = {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
    text = _lines({name: value for name, value in values.items() if name not in tables})
    return text + "".join(f"\n[{name}]\n{_lines(vars(table))}" for name, table in tables.items())


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items() if value is not None)


def _typed(value: Any, kind: Any) -> Any:
    """`value` as the type that its field is declared with; TypeError with the words for what was needed."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value in arguments:
            return value
        raise TypeError("one of " + ", ".join(map(repr, arguments)))
    if origin in (typing.Union, types.UnionType):  # `kind | None`; a file says None by leaving the key out
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _typed(value, kind)
    if origin is tuple:
        try:
            return tuple(_typed(item, arguments[0]) for item in (value if isinstance(value, list) else [value]))
        except TypeError as error:
            raise TypeError(f"a list, each {error}") from error
    if type(value) is kind or (kind is float and type(value) is int):
        return kind(value)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: 'a text in "quotes"'}
    raise TypeError(words[kind])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):  # every escape of JSON is one of TOML, which alone wants DEL escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return "[" + ", ".join(map(_toml, value)) + "]"
