"""What can be told of a run's settings before Keras and TensorFlow are imported, which takes seconds."""

from typing import Any

from kerastransfer.data import datasets
from kerastransfer.runs import folder
from kerastransfer.runs.settings import CommonConfig, RunConfig


def check(recipe: str, config: Any) -> None:
    """Raises UserError for an output folder that cannot be used, and for data that is not there or in no layout."""
    if not isinstance(config, RunConfig):
        return
    folder.check(recipe, config)
    if isinstance(config, CommonConfig):
        datasets.require(config.data, config.format, allow_outside=config.allow_outside)
