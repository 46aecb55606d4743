"""The lock of a run's folder, which one process holds."""

import io
import os
from pathlib import Path

from kerastransfer.errors import UserError

try:
    import fcntl
except ImportError:
    # On Windows, two runs in the same folder are not noticed.
    fcntl = None

FILE = ".lock"


def refuse_in_use(folder: Path) -> None:
    """Raises UserError while another process has the folder: a run there can be neither resumed nor removed."""
    if not fcntl or not (folder / FILE).is_file():
        return
    try:
        with (folder / FILE).open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder) from None
    except OSError:
        # Whatever is wrong with the folder is said when it is locked.
        return


def _in_use(folder: Path) -> UserError:
    owner = (folder / FILE).read_text(encoding="utf-8").strip()
    return UserError(f"--output {folder} is in use by process {owner}; wait for it, or choose another --output")


def take(folder: Path) -> io.TextIOBase:
    """Lock the folder's lock file. The kernel releases the lock when the process dies, so no lock is ever stale."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output {folder} cannot be written ({error.strerror}); choose another --output") from error
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise _in_use(folder) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return file
