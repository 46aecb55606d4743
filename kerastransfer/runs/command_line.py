"""The command line of a recipe: from flags to an exit code."""

import contextlib
import errno
import os
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kerastransfer.errors import DiskFullError, UserError
from kerastransfer.runs import early
from kerastransfer.runs.settings import parse
from kerastransfer.silence import silenced


def run(
    main: Callable[[Any], Any], Config: type, argv: Sequence[str] | None = None, *, prog: str | None = None
) -> None:
    """Parse the command line, call `main`, and report errors in one line with an exit code (see `one_line_errors`)."""
    prog = prog or f"python -m kerastransfer.recipes.{Path(main.__code__.co_filename).stem}"
    with one_line_errors(resumable=True):
        argv = sys.argv[1:] if argv is None else argv
        settings = parse(Config, argv, prog=prog, description=main.__globals__["__doc__"])
        early.check(Path(main.__code__.co_filename).stem, settings)
        import_keras()
        main(settings)


def import_keras() -> None:
    """Import Keras and TensorFlow (which prepares the batches on every backend) silently: TensorFlow writes to stderr
    on import, whatever its log level."""
    with silenced():
        import keras  # noqa: F401

        import kerastransfer.data.pipeline  # noqa: F401


@contextlib.contextmanager
def one_line_errors(*, resumable: bool = False) -> Iterator[None]:
    """A context in which an expected failure ends the program with one line on stderr and without a traceback.

    Exit codes: 2 for what the user can fix (bad input, a full disk, too little memory), 1 for an exported file out of
    tolerance, 130 for Ctrl-C. Any other error is a bug and keeps its traceback.

    resumable: whether what runs has --resume, which the messages then name.
    """
    # TensorFlow also logs as errors what is none: that a machine has no GPU, or that oneDNN cannot compute something
    # itself. Errors proper are raised too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Such a picture is refused, in one line.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")
    try:
        yield
    except KeyboardInterrupt:
        again = "run the recipe again with --resume to continue from its last complete epoch"
        _exit(f"stopped; {again if resumable else 'files that were finished are kept'}", 130)
    except BrokenPipeError:
        # The reader of our output has exited, as `head` does. 141 is the exit code that shells report for this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except Exception as error:
        # Compared by name, because importing the classes would import TensorFlow.
        name = type(error).__name__
        again = " with --resume" if resumable else ""
        if isinstance(error, DiskFullError):
            _exit(f"{error}{again}", 2)
        if isinstance(error, UserError):
            _exit(str(error), 2)
        if name == "ParityError":
            _exit(f"{error}; such a file is kept for a look: use one that passed, or train longer and export again", 1)
        if name == "BadSampleError":
            _exit(f"{error}, although it was readable when the data were checked; fix the data, then use --resume", 2)
        # HDF5 does not set errno.
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            _exit(f"the disk is full; free some space, then run again{again}", 2)
        if name in ("UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError") or _lost(error):
            _exit("another worker has ended or cannot be reached; start all of them again with --resume", 2)
        if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
            sizes = "a smaller --batch-size or --image-size, or " if resumable else ""
            _exit(f"out of memory; choose {sizes}a smaller model", 2)
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
    """Whether `error` is JAX's report that another process has ended, judged by its text: JAX has no error type for
    it."""
    return _among_jax_processes() and any(word in str(error) for word in ("Gloo", "NCCL", "coordination service"))


def _leave(code: int) -> typing.NoReturn:
    """Exit immediately: in a normal exit JAX waits for the other processes, and then aborts this one with a long
    message."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
