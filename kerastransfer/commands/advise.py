"""`kerastransfer advise`."""

import shlex
from pathlib import Path

from kerastransfer.commands import output_files, tables
from kerastransfer.commands.arguments import repeated
from kerastransfer.errors import UserError
from kerastransfer.flags import flag
from kerastransfer.progress import bar
from kerastransfer.runs import command_line


def advise(
    data: str,
    encoders: tuple[str, ...],
    *,
    format: str = "auto",
    classes: tuple[str, ...] = (),
    merge: tuple[str, ...] = (),
    allow_outside: bool = False,
    image_size: int = 224,
    masks: int = 64,
    target_dice: float | None = None,
    next: int = 0,
    seed: int = 0,
    output: Path | None = None,
    report: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Rank encoders for a data set before any training, from a linear probe, LogME, H-score, CKA and cost.

    Args:
        data: A folder or an annotation file in a known layout, `tfds:NAME`, or drawn scenes (`toy`, `toy-hard`).
        encoders: Files (RUN/models/encoder.keras), names of published weights, or of random weights (`small`).
        format: Layout of the data; `auto` detects it.
        classes: Use only the classes of these names; the default is all. What is left out counts as background.
        merge: Join classes under a new name, before --classes chooses: `person=man,woman`.
        allow_outside: Read images that annotations or links name outside the data's folder, too.
        image_size: Side in pixels of the square that images are stretched to.
        masks: Use at most so many photos with a mask.
        target_dice: Say how many masks this dice would take.
        next: Choose so many of the photos without a mask to be annotated next.
        seed: Of what is drawn: masks, pixels, folds, photos.
        output: Write the numbers to this file (NAME.json).
        report: Write a page with tables and charts to this file (NAME.html).
        overwrite: Replace the files if they exist.
    """
    from kerastransfer.runs import advising
    from kerastransfer.runs.short_names import short_names

    written = [path for path in (output, report) if path is not None]
    output_files.refuse_to_replace(written, overwrite)
    advising.require(encoders)
    for name, value, least in (("image_size", image_size, 1), ("masks", masks, 1), ("next", next, 0)):
        if value < least:
            raise UserError(f"{flag(name)} is {value}; it must be {least} or more")
    command_line.import_keras()
    from kerastransfer.analysis import advice as advices

    chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    dataset, given = advising.load(data, format, **chosen), short_names(encoders, 2)
    found = advices.advise(
        {name: advising.opener(encoder) for name, encoder in given.items()},
        dataset,
        image_size=image_size,
        masks=masks,
        target=target_dice,
        photos=next,
        seed=seed,
        progress=bar,
    )
    tables.encoders(advising.rows(found), advising.COLUMNS)
    print("\n".join(advising.sentences(found)))
    settings = {"image_size": image_size, "masks": masks, "target_dice": target_dice, "next": next, "seed": seed}
    if output is not None:
        advising.write_json(found, output, data, given, settings)
    if report is not None:
        command = ["kerastransfer", "advise", "--data", data, "--encoders", *encoders]
        command += repeated(chosen)
        for name, value in settings.items():
            command += [flag(name), str(value)] if value is not None else []
        advising.write_page(found, dataset, report, shlex.join(command), settings)
    for path in written:
        print(path)
