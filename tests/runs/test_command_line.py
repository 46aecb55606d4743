"""How a recipe ends: a foreseen failure in one line with an exit code, a bug with its traceback."""

import errno
import subprocess
import sys

import pytest

from kerastransfer.errors import DiskFullError, UserError
from kerastransfer.runs import command_line, settings


@pytest.fixture(autouse=True)
def _light(monkeypatch):
    """These recipes need no Keras, which takes seconds to import."""
    monkeypatch.setattr(command_line, "import_keras", lambda: None)


class ParityError(Exception):
    """Stands for that of `export.parity`, which comes with TensorFlow."""


class ResourceExhaustedError(Exception):
    """Stands for that of TensorFlow."""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("two\nlines"), 2, "error: two lines"),
        (ParityError("int8 lost 0.2"), 1, "error: int8 lost 0.2; such a file is kept for a look: use one that passed"),
        (KeyboardInterrupt(), 130, "--resume"),
        (MemoryError(), 2, "out of memory"),
        (ResourceExhaustedError("a\nlong\ntale"), 2, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "disk is full"),
        (type("AbortedError", (Exception,), {})("lost"), 2, "another worker has ended"),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), 2, "disk is full"),
    ],
)
def test_a_foreseen_failure_is_one_line_and_an_exit_code(error, code, told, capsys):
    def main(config):
        raise error

    with pytest.raises(SystemExit) as caught:
        command_line.run(main, settings.CommonConfig, [])
    assert caught.value.code == code
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_what_a_command_without_resume_is_told(capsys):
    for error, told in (
        (KeyboardInterrupt(), "stopped; files that were finished are kept"),
        (OSError(errno.ENOSPC, "No space left on device"), "then run again"),
        (DiskFullError("a.png: the disk is full; free some space, then run again"), "then run again"),
    ):
        for resumable in (False, True):
            with pytest.raises(SystemExit), command_line.one_line_errors(resumable=resumable):
                raise error
            said = capsys.readouterr().err
            assert ("--resume" in said) == resumable
            assert resumable or told in said


def test_a_bug_keeps_its_traceback():
    def main(config):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        command_line.run(main, settings.CommonConfig, [])


def test_a_reader_that_leaves_is_not_a_bug():
    code = """if True:
        from kerastransfer.runs import command_line, settings
        command_line.import_keras = lambda: None
        command_line.run(lambda config: [print("x" * 99) for _ in range(9999)], settings.CommonConfig, [])
    """
    command = f"{sys.executable} -c '{code}'"
    ended = subprocess.run(f"({command}; echo $? >&2) | true", shell=True, capture_output=True, text=True)
    assert ended.stderr == "141\n"
