"""The images that a run began with, in data.json of its folder: a run that is resumed must find them again."""

from pathlib import Path

from kerastransfer import files
from kerastransfer.data.dataset import Dataset
from kerastransfer.data.layouts.files import listed
from kerastransfer.errors import UserError
from kerastransfer.runs.settings import CommonConfig

FILE = "data.json"


def names(config: CommonConfig) -> frozenset[str] | None:
    """Names of the samples of --data that the run in --output began with; None for a new run or one that does not
    say."""
    if not config.resume or not config.output:
        return None
    stored = files.read_json(Path(config.output) / FILE, {})
    found = stored.get(config.data) if isinstance(stored, dict) else None
    return frozenset(map(str, found)) if isinstance(found, list) else None


def settle(config: CommonConfig, dataset: Dataset, before: frozenset[str] | None, *, leads: bool = True) -> None:
    """Write the names of the samples of a new run; of one that is resumed, raise UserError if they are others.

    leads: False for all but the first worker of a run with several processes, which write nothing."""
    now = {sample.name for sample in dataset.samples}
    if before is not None and before != now:
        changes = [
            f"{len(some)} {'is' if len(some) == 1 else 'are'} {what} ({listed(sorted(some))})"
            for what, some in (("gone", before - now), ("new", now - before))
            if some
        ]
        raise UserError(
            f"--data {config.data} has changed since the run began: of its images, {' and '.join(changes)}; put it "
            f"back, or start again with --overwrite (to go on anyway, remove {Path(config.output) / FILE})"
        )
    if leads and before is None and config.output and Path(config.output).is_dir():
        path = Path(config.output) / FILE
        stored = files.read_json(path, {})
        files.write_json(path, {**stored, config.data: sorted(now)})
