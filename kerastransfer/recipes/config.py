"""A recipe's settings: one dataclass, whose fields are the flags of the command line and the keys of a TOML file.

A recipe ends with

    if __name__ == "__main__":
        config.run(main, Config)

and its own `Config` extends `CommonConfig`. Every field has a default, is of type bool, int, float, str, Literal, a
`tuple[X, ...]` of these, or one of them `| None`, and is followed by a docstring, which is its line in `--help`. A
recipe's module imports what is heavy (Keras, TensorFlow, the rooms that use them) inside `main`, so that `--help`
answers at once.
"""

import argparse
import contextlib
import dataclasses
import difflib
import errno
import json
import os
import sys
import tomllib
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from kerastransfer.errors import UserError

FILE_HELP = "--config FILE.toml reads settings, one a line (batch_size = 16); flags override them."
NOT_STORED = ("resume", "overwrite")  # what to do with an output folder this once: no setting of the run in it


@dataclasses.dataclass
class CommonConfig:
    """The flags that mean the same in every recipe."""

    data: str = "toy"
    """A folder or an annotation file in a known layout, `toy` or `toy-hard` (drawn scenes), or `tfds:NAME`."""
    format: str = "auto"
    """The layout of --data: found by itself with `auto`."""
    split: Literal["auto", "owner", "every_fifth"] = "auto"
    """Which images test: the data's `owner` says, or `every_fifth` by sorted name; `auto` asks the owner first."""
    max_bad: float = 0.01
    """Largest share of bad samples: with more, the run stops before training."""
    fraction: float = 1.0
    """Share of the training images to train on, drawn by the seed."""
    image_size: int = 224
    """Height and width, in pixels, that images are resized to."""
    batch_size: int = 16
    """Images in a training step, over all replicas."""
    seed: int = 0
    """Of weights, order of images and augmentation."""
    seeds: tuple[int, ...] = ()
    """Several seeds in place of one: a run for each, then mean and spread."""
    output: str | None = None
    """The run's folder; by itself saved_models/RECIPE-DATA."""
    resume: bool = False
    """Go on with the run in --output where it stopped."""
    overwrite: bool = False
    """Remove the run in --output and start again."""
    strategy: Literal["none", "mirrored", "multi_worker", "data_parallel"] = "none"
    """Spread a training step over this machine's devices (`mirrored`), the workers of TF_CONFIG (`multi_worker`), or
    with KERAS_BACKEND=jax the devices of all processes (`data_parallel`); docs/scale.md."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the arithmetic in training; weights are always float32. `auto` is bfloat16 where this processor or GPU
    computes in it, which is about twice as fast, else float32."""
    jit: bool = False
    """Compile the training step with XLA."""
    deterministic: bool = False
    """The same numbers from the same seed, to the last bit; slower."""
    quiet: bool = False
    """Print nothing but warnings and where the results lie."""

    def __post_init__(self) -> None:
        """Raises UserError for a value that no run can have. A recipe's Config calls this first in its own."""
        require_positive(self, "image_size", "batch_size", "fraction")
        for name in ("fraction", "max_bad"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{flag(name)} is {getattr(self, name)}: it is a share, from 0 to 1")
        for seed in (self.seed, *self.seeds):
            if seed < 0:
                raise UserError(f"the seed {seed} is negative: give --seed or --seeds whole numbers from 0")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"--seeds {' '.join(map(str, self.seeds))}: one comes twice; name each seed once")
        if self.resume and self.overwrite:
            raise UserError("--resume keeps the run in the output folder, --overwrite removes it: give one of them")


def flag(name: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + name.replace("_", "-")


def require_positive(config: Any, *names: str) -> None:
    """Raises UserError unless the fields of these names are above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise UserError(f"{flag(name)} is {getattr(config, name)}: it must be above 0")


def parse(Config: type, argv: Sequence[str], *, prog: str | None = None, description: str | None = None) -> Any:
    """A `Config` from flags, over the values of `--config FILE.toml`, over the defaults.

    Raises UserError for an unknown flag or key, which names the nearest known one, and for a file that cannot be
    read; a flag's value of the wrong type ends the program with code 2, and so does `--help` with code 0.
    """
    files = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    files.add_argument("--config", metavar="FILE.toml")
    known, flags = files.parse_known_args(argv)
    default = Config() if known.config is None else read(Config, known.config)
    description = f"{(description or Config.__doc__).strip()}\n\n{FILE_HELP}"
    config, unknown = tyro.cli(
        Config, prog=prog, description=description, args=flags, default=default, return_unknown_args=True
    )
    if unknown:
        names = [flag(field.name) for field in dataclasses.fields(Config)] + ["--config"]
        raise UserError(f"unknown {unknown[0]!r}; the nearest flag is {nearest(unknown[0], names)}; see --help")
    return config


def read(Config: type, path: str | os.PathLike) -> Any:
    """A `Config` from a TOML file; what the file does not name keeps its default. Raises UserError."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); --config needs a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not whole TOML ({error}); needed one `key = value` a line") from error
    kinds = typing.get_type_hints(Config)
    names = [field.name for field in dataclasses.fields(Config)]
    for name, value in values.items():
        if name not in names:
            raise UserError(f"{path}: unknown key {name!r}; the nearest known one is {nearest(name, names)!r}")
        try:
            values[name] = _typed(value, kinds[name])
        except TypeError as error:
            raise UserError(f"{path}: {name} is {value!r}; needed {error}") from error
    try:
        return Config(**values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def to_toml(config: Any) -> str:
    """All settings as TOML, which `read` turns into an equal config; a setting of None is left out."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    lines = (f"{name} = {_toml(v)}\n" for name, v in values.items() if v is not None and name not in NOT_STORED)
    return "".join(lines)


def nearest(name: str, known: Iterable[str]) -> str:
    """The name most like `name`."""
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def run(
    main: Callable[[Any], Any], Config: type, argv: Sequence[str] | None = None, *, prog: str | None = None
) -> None:
    """Parse the command line, call `main`, and turn mistakes into one line and an exit code (see `one_line_errors`)."""
    prog = prog or f"python -m kerastransfer.recipes.{Path(main.__code__.co_filename).stem}"
    with one_line_errors():
        argv = sys.argv[1:] if argv is None else argv
        settings = parse(Config, argv, prog=prog, description=main.__globals__["__doc__"])
        import_keras()
        main(settings)


def import_keras() -> None:
    """Import Keras and TensorFlow, which makes the batches on every backend, in silence: TensorFlow greets on stderr
    whatever its log level, over our lines."""
    from kerastransfer.export.silence import silenced

    with silenced():
        import keras  # noqa: F401

        import kerastransfer.data.pipeline  # noqa: F401


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Around a program: a foreseen failure ends it with one line on stderr and no traceback.

    Exit codes: 2 for what the user can mend (bad input, a full disk, too little memory), 1 for an exported file out of
    tolerance, 130 for Ctrl-C. Any other error is a bug and keeps its traceback.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors of TensorFlow only
    try:
        yield
    except KeyboardInterrupt:
        _exit("stopped; a recipe goes on from its last whole epoch when it is run again with --resume", 130)
    except BrokenPipeError:  # the reader of our output has left, as `head` does; 141 is what a shell calls it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except Exception as error:
        name = type(error).__name__  # by name: to import the classes themselves would import TensorFlow
        if isinstance(error, UserError):
            _exit(str(error), 2)
        if name == "ParityError":
            _exit(str(error), 1)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            _exit("the disk is full; free some space, then run again with --resume", 2)  # HDF5 sets no errno
        if name in ("UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError") or _lost(error):
            _exit("another worker has ended or cannot be reached; start all of them again with --resume", 2)
        if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
            _exit("out of memory; choose a smaller --batch-size or --image-size, or a smaller model", 2)
        if _among_jax_processes():
            traceback.print_exc()
            _leave(1)
        raise


def _exit(message: str, code: int) -> typing.NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    if code == 2 and _among_jax_processes():
        _leave(code)
    raise SystemExit(code) from None


def _among_jax_processes() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def _lost(error: BaseException) -> bool:
    """Whether JAX says with `error` that another process has ended; its types of errors tell nothing."""
    return _among_jax_processes() and any(word in str(error) for word in ("Gloo", "NCCL", "coordination service"))


def _leave(code: int) -> typing.NoReturn:
    """End at once: on its way out JAX waits for the other processes, and then ends this one with a page of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
