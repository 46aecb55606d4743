"""`kerastransfer convert`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from kerastransfer.commands import output_files
from kerastransfer.errors import UserError
from kerastransfer.runs import command_line

Cfg = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.cfg")]
Weights = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.weights")]
Output = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.keras")]


def convert(
    cfg: Cfg,
    weights: Weights,
    output: Output,
    /,
    *,
    names: Path | None = None,
    layers: int | None = None,
    overwrite: bool = False,
) -> None:
    """Convert a Darknet cfg file, of YOLOv1 or a YOLOv3 net, and its .weights file to a .keras file.

    Args:
        cfg: The Darknet cfg file that describes the net.
        weights: The .weights file of the net.
        output: The file to write the model to; OUT.json is written beside it.
        names: A file of class names, one per line; the default is class0, class1, ...
        layers: Read only this many sections (75 is the trunk of yolov3); later layers keep their initial weights.
        overwrite: Replace the files if they exist.
    """
    if output.suffix != ".keras":
        raise UserError(f"{output} is not the name of a .keras file; give one that ends in .keras")
    output_files.refuse_to_replace([output, output.with_suffix(".json")], overwrite)
    command_line.import_keras()
    from kerastransfer.detectors.darknet import converted
    from kerastransfer.runs import trained

    model, about, done = converted(cfg, weights, names, layers)
    trained.write(model, output, about)
    for sentence in done["advice"]:
        print(f"warning: {sentence}", file=sys.stderr)
    if done["fresh"]:
        print(f"not in the file, so initialised: {', '.join(done['fresh'])}")
    size = " x ".join(map(str, about.image_size))
    print(f"{output}: {len(done['copied'])} layers of {weights}, {len(about.labels)} classes, {size} pixels")
