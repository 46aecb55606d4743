"""`kerastransfer datasets`."""

from pathlib import Path

from kerastransfer.commands import output_files, tables
from kerastransfer.commands.arguments import Data


def datasets(
    data: Data,
    /,
    *,
    format: str = "auto",
    classes: tuple[str, ...] = (),
    merge: tuple[str, ...] = (),
    allow_outside: bool = False,
    output: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Show what a data set contains: counts, classes, and bad files with the reasons; draw a contact sheet.

    Args:
        data: A folder or an annotation file in a known layout, `tfds:NAME`, or drawn scenes (`toy`, `toy-hard`).
        format: Layout of the data; `auto` detects it.
        classes: Use only the classes of these names; the default is all. What is left out counts as background.
        merge: Join classes under a new name, before --classes chooses: `person=man,woman`.
        allow_outside: Read images that annotations or links name outside the data's folder, too.
        output: Write a contact sheet of annotated samples to this file (NAME.png).
        overwrite: Replace the file if it exists.
    """
    from kerastransfer.data import datasets as data_sets

    if output is not None:
        output_files.refuse_to_replace([output], overwrite)
    chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    layout = data_sets.format_of(data, allow_outside=allow_outside) if format == "auto" else format
    dataset = data_sets.load(data, layout, max_bad=1, progress=True, **chosen)
    found = data_sets.summary(dataset)
    tables.table(
        dataset.name,
        {
            "layout": layout,
            "samples": found["samples"],
            "bad": len(found["bad"]),
            "annotated with": tables.counts(found["fields"]) or "nothing",
            "owner's split": tables.counts(found["splits"]),
            "height x width": ", ".join(f"{name} {h} x {w}" for name, (h, w) in found["image_sizes"].items()),
        },
    )
    ignored = {kind: sum(found[kind].values()) for kind in ("crowd", "difficult")}
    tables.table(
        "objects" + "".join(f", and {count} {kind}" for kind, count in ignored.items() if count),
        tables.most(found["objects"]),
    )
    tables.table("share of the pixels", tables.most(found["pixels"]))
    tables.table("images", tables.most(found["labels"]))
    for one in found["bad"]:
        print(f"bad: {one['name']}: {one['reason']}")
    if output is not None:
        from kerastransfer.report import pictures, style

        style.save(pictures.contact_sheet(dataset), output)
        print(f"{output}: a contact sheet")
