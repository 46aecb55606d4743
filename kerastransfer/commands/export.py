"""`kerastransfer export`."""

import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

from kerastransfer.commands import output_files, tables
from kerastransfer.commands.arguments import Model
from kerastransfer.commands.parts import parts
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import DRAWN


def export(
    model: Model,
    /,
    *,
    data: str | None = None,
    format: str = "auto",
    classes: tuple[str, ...] = (),
    merge: tuple[str, ...] = (),
    allow_outside: bool = False,
    split: Literal["auto", "owner", "every_fifth"] = "auto",
    output: Path = Path("exported"),
    overwrite: bool = False,
) -> None:
    """Export a .keras file as SavedModel and as LiteRT files in float32, float16 and int8; each is checked on images.

    The check compares outputs, and scores where the data are annotated with what the model predicts.

    Args:
        model: A .keras file of a run, or `hf://OWNER/NAME`.
        data: The data set for calibration and test images; by default the one that the run was trained on.
        format: Layout of the data; `auto` detects it.
        classes: Use only the classes of these names; the default is all. What is left out counts as background.
        merge: Join classes under a new name, before --classes chooses: `person=man,woman`.
        allow_outside: Read images that annotations or links name outside the data's folder, too.
        split: Which images are used for testing; the others are used for calibration.
        output: The folder to write to.
        overwrite: Replace files of the same name in the folder.
    """
    from kerastransfer.runs import trained

    name = Path(model).stem
    tflite, saved_model = output / "tflite", output / "saved_model"
    output_files.refuse_to_replace([tflite / f"{name}.json", saved_model / name], overwrite)
    from kerastransfer.tasks import TASKS

    task = TASKS[trained.stored(model)[1].task]
    if data is None:
        data, format, split, chosen = _trained_on(model)
    else:
        chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    train, test = parts(data, format, split, task.FIELD, or_images=True, **chosen)
    if not len(test.having(task.FIELD)):
        print(f"note: {data} has no {task.FIELD}; outputs are compared, but not scored", file=sys.stderr)
    from kerastransfer.export.parity import ParityError

    try:
        exported = trained.export(model, train, test, saved_model=saved_model, tflite=tflite)
    except ParityError as error:
        tables.exported(error.files)
        raise
    tables.exported(exported)
    print(f"{tflite}\n{saved_model / name}")


def _trained_on(model: str) -> tuple[str, str, str, dict[str, Any]]:
    """data, format, split and what else chose its samples, of the run that a model (RUN/models/NAME.keras) is of."""
    settings = Path(model).resolve().parent.parent / "config.toml"
    try:
        stored = tomllib.loads(settings.read_text(encoding="utf-8"))
        data, format, split = stored["data"], stored["format"], stored["split"]
        # Runs of older versions chose no classes.
        names = ("classes", "merge", "allow_outside", "max_bad")
        chosen = {name: stored[name] for name in names if name in stored}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{model} is not in the folder of a run, so its data is not known; give --data") from error
    if data.partition(":")[0] not in (*DRAWN, "tfds") and not Path(data).expanduser().exists():
        raise UserError(f"{settings}: the run was trained on {data}, which does not exist here; give --data")
    return data, format, split, chosen
