"""Models in a place that others read: a folder, or a repository of Hugging Face, hf://OWNER/NAME.

It holds model.keras, model.json, which says what the model is for, and README.md, the model card.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kerastransfer import files
from kerastransfer.errors import UserError

HUGGING_FACE = "hf://"
MODEL = "model.keras"
FILES = (MODEL, "model.json", "README.md")
# At least two letters, because a single one is a drive of Windows. A `Path` keeps only one of the slashes.
ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def is_address(source: str | Path) -> bool:
    """Whether this names a repository of Hugging Face. A `Path` keeps only one of the slashes."""
    return _posix(source).startswith(HUGGING_FACE[:-1])


def is_shared(source: str | Path) -> bool:
    """Whether this is an address, or a folder that `push` filled. Raises UserError, before anything is downloaded, for
    an address that cannot be one, and for one of another place."""
    if is_address(source):
        _repository(source)
        _hub()
        return True
    _refuse_elsewhere(source)
    return (Path(source) / MODEL).is_file()


def push(model: Path, card: str, to: str | Path) -> str:
    """Copy NAME.keras and NAME.json, with a model card, to the folder or the repository `to`; returns where they are.

    The repository is created if there is none. Raises UserError for a folder that holds one of the files already, and
    where Hugging Face refuses.
    """
    if not is_address(to):
        folder = Path(to).expanduser()
        there = [name for name in FILES if (folder / name).exists()]
        if there:
            raise UserError(f"{folder / there[0]} would be replaced; choose another folder, or remove it first")
        _fill(folder, model, card)
        return str(folder)
    repository = _repository(to)
    hub = _hub()
    with tempfile.TemporaryDirectory() as temporary:
        _fill(Path(temporary), model, card)
        try:
            hub.create_repo(repository, exist_ok=True)
            hub.upload_folder(repo_id=repository, folder_path=temporary, commit_message="A model of kerastransfer")
        except Exception as error:
            raise UserError(
                f"{to}: cannot be written ({_first_line(error)}); log in with `hf auth login`, and check that the "
                "repository is yours"
            ) from error
    return str(to)


def local(source: str | Path) -> Path:
    """The .keras file of `source`: itself, or that in a folder that `push` filled, or in a repository of Hugging Face,
    which is downloaded once. Raises UserError."""
    if not is_address(source):
        _refuse_elsewhere(source)
        path = Path(source)
        return path / MODEL if (path / MODEL).is_file() else path
    repository = _repository(source)
    hub = _hub()
    try:
        folder = hub.snapshot_download(repository, allow_patterns=list(FILES))
    except Exception as error:
        raise UserError(
            f"{source}: cannot be downloaded ({_first_line(error)}); check the name, the connection, and whether the "
            "repository is public"
        ) from error
    path = Path(folder) / MODEL
    if not path.is_file():
        raise UserError(f"{source}: the repository has no {MODEL}; give one that kt.push wrote")
    return path


def _fill(folder: Path, model: Path, card: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".keras"):
        with files.replacing(folder / f"model{suffix}") as temporary:
            shutil.copyfile(model.with_suffix(suffix), temporary)
    files.write_text(folder / "README.md", card)


def _refuse_elsewhere(source: str | Path) -> None:
    if ELSEWHERE.match(_posix(source)):
        raise UserError(
            f"{source}: an address cannot be read; download the file and give its path ({HUGGING_FACE}OWNER/NAME works)"
        )


def _posix(source: str | Path) -> str:
    return source.as_posix() if isinstance(source, Path) else str(source)


def _repository(address: str | Path) -> str:
    name = _posix(address).removeprefix(HUGGING_FACE[:-1]).removeprefix("/")
    if not REPOSITORY.fullmatch(name):
        raise UserError(f"{address} is not the address of a repository; give {HUGGING_FACE}OWNER/NAME")
    return name


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("Hugging Face needs its package; pip install 'kerastransfer[hf]'") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
