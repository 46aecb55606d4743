"""The folder of a run: used by one process at a time, and written atomically, so that a kill never leaves half a file.

config.toml      all settings; --config with this file repeats the run
phases.json      the result of each finished phase, so that --resume does not repeat it
metrics.json     {"recipe", "data", "seed" or "seeds", "results": {MODEL: {METRIC: value}}, "seconds": {PHASE: value}}
history.csv      a row per epoch and phase
data.json        {DATA: the names of the images that the run began with}
report.html, transfer_report.json, claims.json, and the folders named in `FOLDERS`
"""

import csv
import io
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kerastransfer import __version__, files
from kerastransfer.errors import UserError
from kerastransfer.flags import flag
from kerastransfer.runs import lock, settings

FOLDERS = ("figures", "models", "saved_model", "tflite", "predictions", "logs", "checkpoints")
FILES = (
    "phases.json",
    "metrics.json",
    "history.csv",
    "report.html",
    "transfer_report.json",
    "grid.json",
    "claims.json",
    "data.json",
)
# The beginning of config.toml, by which the folder of a run is recognised.
HEADER = "# kerastransfer"
# What `files.replacing` and `export.saved_model` leave behind when they are killed.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.(tmp(\..*)?|old)")

Row = Mapping[str, Any]


class RunFolder:
    """The output folder of a run, locked until `close` or the end of the process.

    Attributes: `path` is the folder; `models`, `figures`, ... are those of `FOLDERS`, which are created when something
    is written there.

    leads: False for all but the first worker of a run with several processes. They write nothing, and read the results
        of phases that only the leader runs from its files; so all of them must be able to read the folder.
    meet: a function that waits until all workers have called it.

    Raises UserError if the folder is not empty and neither --resume nor --overwrite is given, if it holds anything but
    a run, if another process is using it, or if the settings differ from those of the run to resume.
    """

    def __init__(
        self, recipe: str, config: settings.RunConfig, *, leads: bool = True, meet: Callable[[], None] = lambda: None
    ) -> None:
        self.recipe = recipe
        self.config = config
        self.leads = leads
        self._meet = meet
        self.path = Path(config.output or default_output(recipe, config.data))
        self.figures = self.path / "figures"
        self.models = self.path / "models"
        self.saved_model = self.path / "saved_model"
        self.tflite = self.path / "tflite"
        self.predictions = self.path / "predictions"
        self.logs = self.path / "logs"
        self.checkpoints = self.path / "checkpoints"
        self._new = False
        self._lock = self._claim() if leads else io.StringIO()
        try:
            meet()
            # Read between two barriers, so that all workers see the same phases.
            self._done = set(self.phases)
            meet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self._new:
            self._leave_no_trace()
        self.close()

    def close(self) -> None:
        """Unlock the folder for other processes."""
        self._lock.close()

    def _leave_no_trace(self) -> None:
        """Remove the folder of a new run that failed before it had trained anything."""
        before_training = ("grid.json", "config.toml", "data.json", lock.FILE)
        if {entry.name for entry in self.path.iterdir()} <= set(before_training):
            for name in before_training:
                _remove(self.path / name)
            self.path.rmdir()

    @property
    def phases(self) -> dict[str, dict]:
        """The finished phases: {name: {"seconds", "result"}}."""
        return files.read_json(self.path / "phases.json", {})

    def finish_phase(self, name: str, result: dict, seconds: float | None = None) -> None:
        """Record that a phase has finished, and its result (any JSON value; NaN is read back as None)."""
        files.write_json(self.path / "phases.json", {**self.phases, name: {"seconds": seconds, "result": result}})

    def phase(self, name: str, work: Callable[[], dict], *, together: bool = False) -> dict:
        """The result of a phase: from phases.json if it has finished before, else from `work`, timed and recorded.

        In both cases it is what JSON reads back, so a resumed run continues with the same values as an uninterrupted
        one. together: all workers run it; otherwise the leader runs it while the others wait.
        """
        if name not in self._done:
            start = time.monotonic()
            result = work() if self.leads or together else None
            if self.leads:
                self.finish_phase(name, result, time.monotonic() - start)
            self._meet()
            self._done.add(name)
        return self.phases[name]["result"]

    def append_history(self, rows: Iterable[Row]) -> None:
        """Add rows with "phase", "epoch" and metrics to history.csv.

        Rows of the same phase at the same epoch or a later one are replaced: a resumed phase repeats those epochs.
        """
        if not self.leads:
            return
        rows = [dict(row) for row in rows]
        first: dict[str, int] = {}
        for row in rows:
            first[row["phase"]] = min(row["epoch"], first.get(row["phase"], row["epoch"]))
        kept = [row for row in self.history() if int(row["epoch"]) < first.get(row["phase"], int(row["epoch"]) + 1)]
        columns = dict.fromkeys(["phase", "epoch"])
        for row in (*kept, *rows):
            columns.update(dict.fromkeys(row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])
        files.write_text(self.path / "history.csv", text.getvalue())

    def history(self) -> list[dict[str, str]]:
        """The rows of history.csv, as text; empty values are left out."""
        path = self.path / "history.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [{key: value for key, value in row.items() if value != ""} for row in csv.DictReader(file)]

    def write_metrics(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Write metrics.json: {MODEL: {METRIC: value}}, and the data, the seeds and the seconds of the phases."""
        seeds = {"seeds": list(self.config.seeds)} if self.config.seeds else {"seed": self.config.seed}
        seconds = {name: phase["seconds"] for name, phase in self.phases.items() if phase["seconds"] is not None}
        metrics = {"recipe": self.recipe, "data": self.config.data, **seeds, "results": results, "seconds": seconds}
        files.write_json(self.path / "metrics.json", metrics)

    def write_transfer(self, model: str, report: Mapping[str, Any]) -> None:
        """Add a model to transfer_report.json: where its weights came from, and which of them training changed."""
        if self.leads:
            path = self.path / "transfer_report.json"
            files.write_json(path, {**files.read_json(path, {}), model: report})

    def _claim(self) -> io.TextIOBase:
        lock.refuse_in_use(self.path)
        self._refuse_unless_free()
        held = lock.take(self.path)
        try:
            # Checked again, because another process may have used the folder before the lock was ours.
            self._refuse_unless_free()
            self._enter()
        except BaseException:
            held.close()
            raise
        return held

    def _refuse_unless_free(self) -> None:
        refuse_unless_free(self.path, self.config)

    def _enter(self) -> None:
        if self.config.resume:
            self._refuse_other_settings()
            for path in [*self.path.rglob(".*")]:
                if TEMPORARY.fullmatch(path.name):
                    _remove(path)
            return
        if self.config.overwrite:
            # config.toml stays until it is replaced, so that the folder is recognised as a run's after a kill.
            _clear(self.path)
        self._new = not self.config.overwrite
        header = f"{HEADER} {__version__}: python -m kerastransfer.recipes.{self.recipe} --config config.toml\n"
        files.write_text(self.path / "config.toml", header + settings.to_toml(self.config))

    def _refuse_other_settings(self) -> None:
        stored = self.path / "config.toml"
        first_line = stored.read_text(encoding="utf-8").partition("\n")[0]
        if f"kerastransfer.recipes.{self.recipe} " not in first_line:
            raise UserError(
                f"--output {self.path} holds a run of another recipe ({first_line.lstrip('# ')}); "
                "choose another --output"
            )
        if first_line.startswith(f"{HEADER} 0.1"):
            raise UserError(
                f"--output {self.path} holds a run of version 0.1, which cannot be resumed, as its settings have other "
                f"names; begin a new run in another --output, and give the old models, in {self.models}, as --encoder "
                "or --start"
            )
        before, now = (settings.fixed(one) for one in (settings.read(type(self.config), stored), self.config))
        differing = [name for name in now if before.get(name) != now[name]]
        if differing:
            told = ", ".join(f"{flag(name)} {now[name]} (was {before.get(name)})" for name in differing)
            raise UserError(
                f"--resume needs the settings that the run began with, but these differ: {told}; "
                f"give --config {stored} --resume, or choose another --output"
            )


def refuse_unless_free(path: Path, config: settings.RunConfig) -> None:
    """Raises UserError unless a run with these settings may begin, or go on, in the folder at `path`."""
    if path.exists() and not path.is_dir():
        raise UserError(f"--output {path} is a file; give a folder")
    empty = not path.exists() or all(_ignored(entry.name) for entry in path.iterdir())
    if config.resume and (empty or not is_run(path)):
        raise UserError(f"--output {path} has no run to resume; leave out --resume, or change --output")
    if empty:
        return
    if not is_run(path):
        raise UserError(f"--output {path} holds files that are not from a run; choose another --output")
    if not (config.resume or config.overwrite):
        raise UserError(
            f"--output {path} already holds a run; continue it with --resume, "
            "remove it with --overwrite, or choose another --output"
        )


def check(recipe: str, config: settings.RunConfig) -> None:
    """Raises UserError, before anything slow is imported, for an output folder that cannot be used."""
    # Workers share a folder, which the first of them has claimed before the others look.
    if config.strategy in ("none", "mirrored"):
        path = Path(config.output or default_output(recipe, config.data))
        lock.refuse_in_use(path)
        refuse_unless_free(path, config)


def default_output(recipe: str, data: str) -> str:
    """saved_models/RECIPE-DATA, where DATA is the last part of a path, or NAME of `tfds:NAME`."""
    name = data.removeprefix("tfds:")
    if name == data and data != "toy":
        # Resolved, so that "." has a name.
        path = Path(data).resolve()
        name = path.stem if path.is_file() else path.name
    return f"saved_models/{recipe}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"


def _ignored(name: str) -> bool:
    """Whether a file in the folder is irrelevant: the lock, or a leftover of a killed write."""
    return name == lock.FILE or TEMPORARY.fullmatch(name) is not None


def is_run(folder: Path) -> bool:
    """Whether the folder is that of a run."""
    try:
        return (folder / "config.toml").read_text(encoding="utf-8").startswith(HEADER)
    except (OSError, UnicodeDecodeError):
        return False


def _clear(folder: Path) -> None:
    """Remove what a run, and the runs of its grid, have written, except for config.toml. Other files are kept."""
    cells = [folder / name for name in files.read_json(folder / "grid.json", {"cells": []})["cells"]]
    # Runs of version 0.1 have no grid.json.
    cells = cells or sorted(folder.glob("seed*"))
    for name in (*FILES, *FOLDERS):
        _remove(folder / name)
    for inner in cells:
        if is_run(inner):
            _clear(inner)
            if {entry.name for entry in inner.iterdir()} <= {"config.toml", lock.FILE}:
                _remove(inner)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
