"""Fetches published files once, checks them, and keeps them in a cache folder.

KERASTRANSFER_HOME is that folder (by default ~/.cache/kerastransfer). KERASTRANSFER_MIRROR is an address, or a folder
on this machine, that takes the place of the owners' addresses.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from kerastransfer.errors import UserError
from kerastransfer.presets.preset import File

try:
    import fcntl
except ImportError:
    # On Windows, two processes may download to the same file; the checksum then refuses it.
    fcntl = None

# Bytes that are read at a time.
BLOCK = 1 << 20
# Seconds without an answer after which a download has failed.
TIMEOUT = 30


def home() -> Path:
    """The cache folder."""
    return Path(os.environ.get("KERASTRANSFER_HOME") or "~/.cache/kerastransfer").expanduser()


def cached(file: File) -> Path:
    """Where the file is kept, whether or not it is there."""
    return home() / "presets" / file.name


def is_cached(file: File) -> bool:
    """Whether the cache holds a file of this name and size."""
    path = cached(file)
    return path.is_file() and path.stat().st_size == file.size


def fetched(file: File, *, quiet: bool = False) -> Path:
    """The path of the file, which is downloaded unless it is in the cache or in a mirror on this machine.

    A download that was cut off is continued by the next call. Raises UserError if the file cannot be had, with what to
    fetch by hand and where to put it, or if it is another file than the owner published.
    """
    path, mirror = cached(file), os.environ.get("KERASTRANSFER_MIRROR", "")
    if path.is_file():
        _check(path, file)
        return path
    if mirror and "://" not in mirror:
        return _in_folder(Path(mirror).expanduser(), file)
    address = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.address
    part = path.with_name(f"{path.name}.part")
    try:
        with _alone(part):
            # Another process may have fetched it while this one waited.
            if not path.is_file():
                _complete(part, address, file, quiet)
                part.replace(path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"{address} cannot be downloaded ({_reason(error)}); run again to continue, or fetch {file.address} by "
            f"hand and put it at {path}"
        ) from error
    return path


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Wait until no other process downloads to this file. What is empty afterwards is removed."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as opened:
        if fcntl:
            fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()


def _complete(part: Path, address: str, file: File, quiet: bool) -> None:
    """Download what is missing of `part`, and check it. Raises UserError if there is no room, and for another file than
    was published, which is removed."""
    missing = file.size - (part.stat().st_size if part.exists() else 0)
    if shutil.disk_usage(part.parent).free < missing:
        raise UserError(
            f"{file.name} needs {missing / 1e6:.0f} MB in {part.parent}; free some space, or set KERASTRANSFER_HOME"
        )
    _download(address, part, file, quiet)
    try:
        _check(part, file)
    except UserError:
        part.unlink()
        raise


def _in_folder(folder: Path, file: File) -> Path:
    """The file in a folder or in one of its folders."""
    found = [path for pattern in (file.name, f"*/{file.name}") for path in sorted(folder.glob(pattern))]
    if not found:
        raise UserError(
            f"KERASTRANSFER_MIRROR: {folder} has no {file.name}; put it there from {file.address}, or unset it"
        )
    _check(found[0], file)
    return found[0]


def _check(path: Path, file: File) -> None:
    """Raises UserError unless the content is what the owner published."""
    size = path.stat().st_size
    if size == file.size:
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256:
                return
    raise UserError(
        f"{path}: its {size} bytes are not the {file.size} that were published (sha256 {file.sha256}); remove it, and "
        f"fetch {file.address} again"
    )


def _download(address: str, part: Path, file: File, quiet: bool) -> None:
    """Append to `part` what is missing, or write it anew where the server cannot continue."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    begun = part.stat().st_size if part.exists() else 0
    if begun >= file.size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={begun}-"} if begun else {})
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT) as answer,
        Progress(*columns, TimeRemainingColumn(), disable=quiet) as progress,
    ):
        # 206 is the answer of a server that continues.
        begun = begun if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        task = progress.add_task(file.name, total=file.size, completed=begun)
        with part.open("ab" if begun else "wb") as opened:
            # One byte more than was published is enough to see that it is another file.
            while begun <= file.size and (block := answer.read(BLOCK)):
                opened.write(block)
                begun += len(block)
                progress.update(task, completed=begun)
    if begun < file.size:
        raise ConnectionError(f"it was cut off after {begun} of {file.size} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return str(reason) or type(error).__name__
