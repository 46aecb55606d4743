"""The settings of a recipe: a dataclass whose fields are the flags of the command line and the keys of a TOML file.

A recipe ends with

    if __name__ == "__main__":
        command_line.run(main, Config)

and its own `Config` extends `CommonConfig`, or `RunConfig` where its data are not images. Every field has a default, is
of type bool, int, float, str, Literal, a `tuple[X, ...]` of these, or one of them `| None`, and is followed by a
docstring, which describes it in `--help`.

A field may also hold the settings of a choice, such as those of the family that --model belongs to: the class variable
`CHOSEN` maps its name to (the field that chooses, a function from that field's value to a dataclass). The fields of
this dataclass are flags with a prefix (--net.loss) and keys of a table in the file ([net]); --help shows those of the
chosen class.

The class variable `TOY` holds the settings of the recipe's small demo on drawn scenes, as a TOML file would. They are
the defaults if neither --config nor other --data is given.

The module of a recipe imports whatever is slow to import (Keras, TensorFlow, and modules that use them) inside `main`,
so that `--help` answers immediately.
"""

import argparse
import dataclasses
import functools
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
from kerastransfer.flags import flag, nearest, refuse_repeated, require_positive
from kerastransfer.runs import other_words
from kerastransfer.runs.flag_help import explain
from kerastransfer.vocabulary import DRAWN

TOY_HELP = (
    "Without --data and --config, and with --data toy or toy-hard, the recipe runs a small demo on drawn scenes, which "
    "has defaults of its own; with other data the defaults differ."
)
FILE_HELP = "--config FILE.toml reads settings from a file, one per line (batch_size = 16); flags override them."
# The largest seed that NumPy accepts.
LARGEST_SEED = 2**32 - 1


def variable(default: Any) -> Any:
    """A field that may change when a run is resumed, because it does not affect the results."""
    return dataclasses.field(default=default, metadata={"variable": True})


def unstored(default: Any) -> Any:
    """A field that applies to a single call and is not stored with the settings of the run."""
    return dataclasses.field(default=default, metadata={"variable": True, "unstored": True})


def one_of(classes: Mapping[str, type]) -> Any:
    """The type of a field that holds an instance of one of these dataclasses; another field chooses which."""
    kinds = [Annotated[one, tyro.conf.subcommand(name)] for name, one in classes.items()]
    return tyro.conf.AvoidSubcommands[typing.Union[tuple(kinds)]]  # noqa: UP007


@dataclasses.dataclass
class RunConfig:
    """The flags that all recipes have, whatever their data."""

    CHOSEN: ClassVar[Mapping[str, tuple[str, Callable[[str], type]]]] = {}
    TOY: ClassVar[Mapping[str, Any]] = {}

    data: str = "toy"
    """The data, or `toy` for drawn ones."""
    batch_size: int = 16
    """Number of images in a training step, over all replicas."""
    seed: int = 0
    """Seed for the initial weights, the order of the images and the augmentation."""
    seeds: tuple[int, ...] = ()
    """Several seeds instead of one: train once for each, and report the mean and the spread."""
    output: str | None = variable(None)
    """Folder of the run; the default is saved_models/RECIPE-DATA."""
    resume: bool = unstored(False)
    """Continue the run in --output where it stopped."""
    overwrite: bool = unstored(False)
    """Remove the run in --output and start again."""
    strategy: Literal["none", "mirrored", "multi_worker", "data_parallel"] = variable("none")
    """Distribute each training step over the devices of this machine (`mirrored`), over the workers of TF_CONFIG
    (`multi_worker`), or, with KERAS_BACKEND=jax, over the devices of all processes (`data_parallel`). See
    docs/scale.md."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the computations in training; weights are always float32. `auto` is bfloat16 if this CPU or GPU
    supports it, which is about twice as fast, and float32 otherwise."""
    jit: bool = False
    """Compile the training step with XLA."""
    deterministic: bool = False
    """Make runs with the same seed give exactly the same numbers; training is slower."""
    quiet: bool = variable(False)
    """Print only warnings, the main scores and the location of the results."""

    def __post_init__(self) -> None:
        """Raises UserError for an invalid value. The Config of a recipe calls this first in its own."""
        for name, (by, settings_of) in self.CHOSEN.items():
            wanted, given = settings_of(getattr(self, by)), getattr(self, name)
            if given is None:
                setattr(self, name, wanted())
            elif type(given) is not wanted:
                raise UserError(
                    f"the settings in {name} are not those of {flag(by)} {getattr(self, by)}; leave them out"
                )
        _refuse_text(self)
        require_positive(self, "batch_size")
        for seed in (self.seed, *self.seeds):
            if not 0 <= seed <= LARGEST_SEED:
                raise UserError(f"the seed {seed} is out of range; give whole numbers from 0 to {LARGEST_SEED}")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"--seeds {' '.join(map(str, self.seeds))} names a seed twice; name each seed once")
        if self.resume and self.overwrite:
            raise UserError("--resume keeps the run in the output folder and --overwrite removes it; give one of them")


@dataclasses.dataclass
class CommonConfig(RunConfig):
    """The flags that all recipes on images have."""

    data: str = "toy"
    """The data: a folder or an annotation file in a known layout, `tfds:NAME`, or drawn scenes (`toy`, `toy-hard`)."""
    format: str = "auto"
    """Layout of --data; `auto` detects it."""
    split: Literal["auto", "owner", "every_fifth"] = "auto"
    """Which images are used for testing: those of the data set's own split (`owner`), or every fifth by name
    (`every_fifth`); `auto` uses the data set's own split if there is one."""
    max_bad: float = 0.01
    """Largest share of bad samples that is tolerated; with more, the run stops before training."""
    classes: tuple[str, ...] = ()
    """Use only the classes of these names; the default is all. What is left out counts as background."""
    merge: tuple[str, ...] = ()
    """Join classes under a new name, before --classes chooses: `person=man,woman`; several are separated by spaces."""
    allow_outside: bool = False
    """Read images that annotations or links name outside the data's folder, too; otherwise they are bad samples."""
    fraction: float = 1.0
    """Share of the training images to train on; the seed decides which."""
    image_size: int = 224
    """Height and width, in pixels, that images are resized to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "image_size", "fraction")
        for name in ("fraction", "max_bad"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; give a share, from 0 to 1")


def parse(Config: type, argv: Sequence[str], *, prog: str | None = None, description: str | None = None) -> Any:
    """A `Config` from flags, which override the values of `--config FILE.toml`, which override the defaults.

    Raises UserError for an unknown flag or key, naming the nearest known one, and for a file that cannot be read. A
    flag value of the wrong type ends the program with exit code 2, and `--help` with exit code 0.
    """
    given, flags = _before("config").parse_known_args(argv)
    choosers = {by for by, _ in Config.CHOSEN.values()}
    chosen = {name: value for name, value in vars(_before(*choosers).parse_known_args(flags)[0]).items() if value}
    if given.config is not None:
        default = read(Config, given.config, **chosen)
    elif (_before("data").parse_known_args(flags)[0].data or "toy").partition(":")[0] in DRAWN:
        default = toy(Config, **chosen)
    else:
        default = Config(**chosen)
    description = f"{(description or Config.__doc__).strip()}\n\n{FILE_HELP}" + (
        f"\n\n{TOY_HELP}" if Config.TOY else ""
    )
    explain(Config, *(type(getattr(default, name)) for name in Config.CHOSEN))
    refuse_repeated(flags, [flag(name) for name, value in flat(default).items() if isinstance(value, tuple)])
    config, unknown = tyro.cli(
        Config, prog=prog, description=description, args=flags, default=default, return_unknown_args=True
    )
    if unknown:
        names = [flag(name) for name in flat(config)] + ["--config"]
        name = unknown[0].partition("=")[0]
        if told := other_words.advice(name, names):
            raise UserError(f"unknown {unknown[0]!r}; {told}; see --help")
        nested = [known for known in names if known.endswith(f".{name.removeprefix('--')}")]
        raise UserError(
            f"unknown {unknown[0]!r}; the nearest flag is {(nested or [nearest(name, names)])[0]}; see --help"
        )
    return config


def _before(*names: str) -> argparse.ArgumentParser:
    """A parser for these flags only, which must be known before the others can be parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(flag(name), dest=name)
    return parser


def toy(Config: type, **chosen: str) -> Any:
    """The settings of a recipe's small demo on drawn scenes, `Config.TOY`; `chosen` as in `read`."""
    values, defaults = dict(Config.TOY), _defaults(Config)
    for name, (by, settings_of) in Config.CHOSEN.items():
        if settings_of(chosen.get(by, values.get(by, defaults[by]))) is not settings_of(values.get(by, defaults[by])):
            # The flags chose another class than the one that the demo has settings for.
            values.pop(name, None)
    return _from_values(Config, values, chosen)


def read(Config: type, path: str | os.PathLike, **chosen: str) -> Any:
    """A `Config` from a TOML file; settings that are not in the file keep their defaults.

    chosen: flags that override the file, for fields that choose the class of other fields. Raises UserError for a file
    that cannot be read or has invalid settings.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); --config needs a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML ({error}); it needs one `key = value` per line") from error
    try:
        return _from_values(Config, values, chosen)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _from_values(Config: type, values: Mapping[str, Any], chosen: Mapping[str, str]) -> Any:
    values, defaults, tables = dict(values), _defaults(Config), {}
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


def _defaults(Config: type) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(Config)}


def _fields(Config: type, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a file, or of a table in it, with the types of the fields of `Config`. Raises UserError."""
    kinds = _kinds(Config)
    names = [field.name for field in dataclasses.fields(Config) if field.name not in getattr(Config, "CHOSEN", {})]
    typed = {}
    for name, value in values.items():
        if name not in names:
            known = f"the nearest known one is {prefix}{nearest(name, names)}" if names else "there are no keys here"
            raise UserError(f"unknown key {prefix + name!r}; {known}")
        try:
            typed[name] = _typed(value, kinds[name])
        except TypeError as error:
            raise UserError(f"{prefix}{name} is {value!r}; it must be {error}") from error
    return typed


def flat(config: Any) -> dict[str, Any]:
    """All settings, those of a choice prefixed with the name of its table: {"batch_size": 16, "net.loss": "giou"}."""
    return dict(_flat(config, ""))


def _flat(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{field.name}.")
        else:
            yield prefix + field.name, value


def fixed(config: Any) -> dict[str, Any]:
    """The settings, by name, that must not change when a run is resumed."""
    loose = {field.name for field in dataclasses.fields(config) if field.metadata.get("variable")}
    return {name: value for name, value in flat(config).items() if name.partition(".")[0] not in loose}


def to_toml(config: Any) -> str:
    """All settings as TOML, from which `read` makes an equal config; settings that are None are left out."""
    stored = [field for field in dataclasses.fields(config) if not field.metadata.get("unstored")]
    values = {field.name: getattr(config, field.name) for field in stored}
    tables = {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
    text = _lines({name: value for name, value in values.items() if name not in tables})
    return text + "".join(f"\n[{name}]\n{_lines(vars(table))}" for name, table in tables.items())


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items() if value is not None)


def _refuse_text(config: Any) -> None:
    """Raises UserError for text in place of a number, or of several values, whose letters would be taken for them."""
    kinds = _kinds(type(config))
    for name, value in vars(config).items():
        if not isinstance(value, str):
            continue
        kind = kinds[name]
        if typing.get_origin(kind) is tuple:
            raise UserError(f"{name} is {value!r}; it must be several values, as in ({value!r},)")
        try:
            _typed(value, kind)
        except TypeError as error:
            raise UserError(f"{name} is {value!r}; it must be {error}") from error


_kinds = functools.cache(typing.get_type_hints)


def _typed(value: Any, kind: Any) -> Any:
    """`value` in the type that its field is declared with. Raises TypeError with a description of that type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value in arguments:
            return value
        raise TypeError("one of " + ", ".join(map(repr, arguments)))
    # `kind | None`; None is expressed by leaving the key out.
    if origin in (typing.Union, types.UnionType):
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _typed(value, kind)
    if origin is tuple:
        try:
            return tuple(_typed(item, arguments[0]) for item in (value if isinstance(value, list) else [value]))
        except TypeError as error:
            raise TypeError(f"a list in which each item is {error}") from error
    if type(value) is kind or (kind is float and type(value) is int):
        return kind(value)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: 'a string in "quotes"'}
    raise TypeError(words[kind])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    # Every escape of JSON is valid in TOML, which also requires DEL to be escaped.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return "[" + ", ".join(map(_toml, value)) + "]"
