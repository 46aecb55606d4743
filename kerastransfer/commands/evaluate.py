"""`kerastransfer evaluate`."""

import sys
from pathlib import Path
from typing import Literal

from kerastransfer import files
from kerastransfer.commands import output_files, tables
from kerastransfer.commands.arguments import Data, Model
from kerastransfer.commands.parts import parts
from kerastransfer.flags import some
from kerastransfer.progress import bar


def evaluate(
    model: Model,
    data: Data,
    /,
    *,
    format: str = "auto",
    classes: tuple[str, ...] = (),
    merge: tuple[str, ...] = (),
    allow_outside: bool = False,
    map: tuple[str, ...] = (),
    split: Literal["auto", "owner", "every_fifth", "all"] = "auto",
    max_bad: float = 0.01,
    output: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Score a .keras or .tflite file on the test images of a data set.

    Args:
        model: A .keras file of a run, a .tflite file that was exported from one, or `hf://OWNER/NAME`.
        data: A folder or an annotation file in a known layout, `tfds:NAME`, or drawn scenes (`toy`, `toy-hard`).
        format: Layout of the data; `auto` detects it.
        classes: Use only the classes of these names; the default is all. What is left out counts as background.
        merge: Join classes under a new name, before --classes chooses: `person=man,woman`.
        allow_outside: Read images that annotations or links name outside the data's folder, too.
        map: Classes that the model calls otherwise, as `motorcycle=motorbike`: the data's name, then the model's.
        split: Which images are used for testing, as in the recipes; `all` scores all images.
        max_bad: Largest share of bad samples that is tolerated.
        output: Write the scores to this file as well (NAME.json).
        overwrite: Replace the file if it exists.
    """
    from kerastransfer.runs import trained
    from kerastransfer.tasks import TASKS

    if output is not None:
        output_files.refuse_to_replace([output], overwrite)
    predictor = trained.open_predictor(model)
    task, labels = TASKS[predictor.about.task], predictor.about.labels
    chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    test = parts(data, format, split, task.FIELD, max_bad=max_bad, map=map, labels=labels, **chosen)[1]
    unknown = [name for name in task.classes(test) if name not in labels]
    scores = task.score(predictor.predict, test, labels, bar("scoring")).metrics
    if unknown:
        print(
            f"not scored, because the model does not know them: {', '.join(unknown)}; it knows {some(labels)} "
            "(--map and --merge give the data's classes its names)",
            file=sys.stderr,
        )
    tables.table(f"{model} on {len(test)} images of {test.name}", tables.without_classes(scores))
    if output is not None:
        files.write_json(output, {"model": model, "data": data, "split": split, "images": len(test), "results": scores})
        print(output)
