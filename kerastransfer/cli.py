"""The console script `kerastransfer`: inspect data, list and run recipes, and use trained models.

Packages that are slow to import are imported by the subcommands that need them, and .tflite files run without
TensorFlow.
"""

import importlib
import itertools
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from kerastransfer import __version__, files
from kerastransfer.errors import UserError
from kerastransfer.flags import flag, nearest
from kerastransfer.progress import bar
from kerastransfer.recipes import pages
from kerastransfer.runs import command_line
from kerastransfer.vocabulary import PICTURES

if TYPE_CHECKING:
    from kerastransfer.data.dataset import Dataset
    from kerastransfer.export.parity import ExportedFile

DESCRIPTION = """Boxes are cheap, masks are expensive: reuse what an object detector has learnt for dense prediction.

`kerastransfer run RECIPE [--FLAG VALUE ...]` trains; `kerastransfer run RECIPE --help` shows its flags."""
# Largest number of classes that a table lists.
MOST_CLASSES = 20
# Of more classes, those with most objects.
MOST_ROWS = 25
Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
Cfg = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.cfg")]
Weights = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.weights")]
Output = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.keras")]
Images = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]


def main(argv: Sequence[str] | None = None) -> None:
    """Exit codes: 0; 1 for an exported file out of tolerance; 2 for a mistake of the user, reported in one line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with command_line.one_line_errors():
        if argv[:1] == ["run"]:
            run(argv[1:])
        elif argv == ["--version"]:
            print(f"kerastransfer {__version__}")
        else:
            tyro.extras.subcommand_cli_from_dict(
                {
                    function.__name__: function
                    for function in (recipes, datasets, presets, advise, evaluate, predict, export, convert)
                },
                prog="kerastransfer",
                description=DESCRIPTION,
                args=argv,
            )


def run(argv: Sequence[str]) -> None:
    """Run the recipe that `argv` names first; if it names none, the recipe whose folder (recipes/NAME/FILE.toml) holds
    the file of --config."""
    names = list(pages())
    if argv[:1] in (["--help"], ["-h"]):
        print("usage: kerastransfer run RECIPE [--FLAG VALUE ...]\n")
        recipes()
        return
    recipe, flags = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (_folder_of_config(argv), argv)
    if recipe not in names:
        told = f"the nearest to {recipe!r} is {nearest(recipe, names)!r}" if recipe else "none was given"
        raise UserError(f"kerastransfer run needs a recipe, one of {', '.join(names)}; {told}")
    page = importlib.import_module(f"kerastransfer.recipes.{recipe}")
    command_line.run(page.main, page.Config, flags, prog=f"kerastransfer run {recipe}")


def _folder_of_config(flags: Sequence[str]) -> str:
    """The name of the folder that holds the file of --config; "" without --config."""
    given = [flag.removeprefix("--config=") for flag in flags if flag.startswith("--config=")]
    given += [value for flag, value in itertools.pairwise(flags) if flag == "--config"]
    return Path(given[0]).resolve().parent.name if given else ""


def recipes() -> None:
    """List the recipes, one per line."""
    from kerastransfer.recipes import __main__ as listing

    listing.main()


def presets() -> None:
    """List the published weights that --encoder takes by name: size, licence, and whether they are in the cache."""
    from rich.console import Console
    from rich.table import Table

    from kerastransfer.presets import PRESETS, download

    table = Table()
    table.add_column("name", no_wrap=True)
    for title in ("MB", "trained on", "licence", "in the cache"):
        table.add_column(title)
    for name, preset in PRESETS.items():
        # Keras keeps its own.
        size = f"{sum(file.size for file in preset.files) / 1e6:.1f}" if preset.files else ""
        kept = "yes" if all(map(download.is_cached, preset.files)) else "no"
        table.add_row(name, size, preset.trained_on, preset.licence, kept if preset.files else "Keras's")
    Console(markup=False, highlight=False).print(table)
    print(f"cache: {download.home()} (KERASTRANSFER_HOME); hub:NAME is a backbone of keras-hub")


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
        _refuse_to_replace([output], overwrite)
    chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    with data_sets.outside_allowed(allow_outside):
        layout = data_sets.format_of(data) if format == "auto" else format
    dataset = data_sets.load(data, layout, max_bad=1, progress=True, **chosen)
    found = data_sets.summary(dataset)
    _table(
        dataset.name,
        {
            "layout": layout,
            "samples": found["samples"],
            "bad": len(found["bad"]),
            "annotated with": _counts(found["fields"]) or "nothing",
            "owner's split": _counts(found["splits"]),
            "height x width": ", ".join(f"{name} {h} x {w}" for name, (h, w) in found["image_sizes"].items()),
        },
    )
    ignored = {kind: sum(found[kind].values()) for kind in ("crowd", "difficult")}
    _table(
        "objects" + "".join(f", and {count} {kind}" for kind, count in ignored.items() if count),
        _most(found["objects"]),
    )
    _table("share of the pixels", _most(found["pixels"]))
    _table("images", _most(found["labels"]))
    for one in found["bad"]:
        print(f"bad: {one['name']}: {one['reason']}")
    if output is not None:
        from kerastransfer.report import pictures, style

        style.save(pictures.contact_sheet(dataset), output)
        print(f"{output}: a contact sheet")


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
    _refuse_to_replace(written, overwrite)
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
    _encoders_table(advising.rows(found), advising.COLUMNS)
    print("\n".join(advising.sentences(found)))
    settings = {"image_size": image_size, "masks": masks, "target_dice": target_dice, "next": next, "seed": seed}
    if output is not None:
        advising.write_json(found, output, data, given, settings)
    if report is not None:
        command = ["kerastransfer", "advise", "--data", data, "--encoders", *encoders]
        command += _repeated_flags(chosen)
        for name, value in settings.items():
            command += [flag(name), str(value)] if value is not None else []
        advising.write_page(found, dataset, report, shlex.join(command), settings)
    for path in written:
        print(path)


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
        model: A .keras file of a run, or a .tflite file that was exported from one.
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
        _refuse_to_replace([output], overwrite)
    predictor = trained.open_predictor(model)
    task, labels = TASKS[predictor.about.task], predictor.about.labels
    chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    test = _parts(data, format, split, max_bad, task.FIELD, map=map, labels=labels, **chosen)[1]
    unknown = [name for name in task.classes(test) if name not in labels]
    scores = task.score(predictor.predict, test, labels, bar("scoring")).metrics
    if unknown:
        print(f"not scored, because the model does not know them: {', '.join(unknown)}", file=sys.stderr)
    _table(f"{model} on {len(test)} images of {test.name}", _without_classes(scores))
    if output is not None:
        files.write_json(output, {"model": model, "data": data, "split": split, "images": len(test), "results": scores})
        print(output)


def predict(
    model: Model,
    images: Images,
    /,
    *,
    output: Path = Path("predictions"),
    score: float | None = None,
    overwrite: bool = False,
) -> None:
    """Run a .keras or .tflite file on photos; writes an overlay for each, and predictions.json.

    Args:
        model: A .keras file of a run, or a .tflite file that was exported from one.
        images: Photos, or folders of photos.
        output: The folder to write to.
        score: Lowest score of a detection; the default is stored with the model.
        overwrite: Replace files of the same name in the folder.
    """
    from kerastransfer.runs import trained
    from kerastransfer.tasks import images as pictures

    photos = _photos(images)
    results = output / "predictions.json"
    overlays = {name: output / f"{name}.png" for name in photos}
    _refuse_to_replace([results, *overlays.values()], overwrite)
    predictor = trained.open_predictor(model)
    told, left_out = [], 0
    for name, photo in photos.items():
        try:
            image = pictures.read(photo)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            left_out += 1
            continue
        prediction = predictor.predict(image, score=score)
        with files.replacing(overlays[name]) as temporary:
            prediction.draw(image).save(temporary)
        summary = prediction.summary()
        told.append({"image": str(photo), "overlay": overlays[name].name, "predictions": summary})
        print(f"{photo}: {prediction.in_words()}")
    files.write_json(results, {"model": model, "images": told})
    print(f"{results}, with overlays of {len(told)} images beside it")
    if left_out:
        raise UserError(f"{left_out} of {len(photos)} images could not be read and were left out")


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

    Args:
        model: A .keras file of a run.
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
    _refuse_to_replace([tflite / f"{name}.json", saved_model / name], overwrite)
    from kerastransfer.tasks import TASKS

    task = TASKS[trained.stored(model)[1].task]
    if data is None:
        data, format, split, chosen = _trained_on(model)
    else:
        chosen = {"classes": classes, "merge": merge, "allow_outside": allow_outside}
    train, test = _parts(data, format, split, 0.01, task.FIELD, **chosen)
    from kerastransfer.export.parity import ParityError

    try:
        exported = trained.export(model, train, test, saved_model=saved_model, tflite=tflite)
    except ParityError as error:
        _exported_table(error.files)
        raise
    _exported_table(exported)
    print(f"{tflite}\n{saved_model / name}")


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
    _refuse_to_replace([output, output.with_suffix(".json")], overwrite)
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


def _trained_on(model: str) -> tuple[str, str, str, dict[str, Any]]:
    """data, format, split and the choice of classes of the run that a model (RUN/models/NAME.keras) belongs to."""
    settings = Path(model).resolve().parent.parent / "config.toml"
    try:
        stored = tomllib.loads(settings.read_text(encoding="utf-8"))
        # Runs of older versions chose no classes.
        chosen = {name: stored[name] for name in ("classes", "merge", "allow_outside") if name in stored}
        return stored["data"], stored["format"], stored["split"], chosen
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{model} is not in the folder of a run, so its data is not known; give --data") from error


def _parts(
    data: str,
    format: str,
    split: str,
    max_bad: float,
    field: str,
    *,
    map: Sequence[str] = (),
    labels: Sequence[str] = (),
    **chosen: Any,
) -> tuple["Dataset", "Dataset"]:
    """(train, test) of the samples annotated with `field`; with `all`, every sample is in both. map: which classes of
    the data have other names among a model's `labels`."""
    from kerastransfer.data import choose_classes, derive, splits
    from kerastransfer.data import datasets as data_sets

    dataset = data_sets.load(data, format, max_bad=max_bad, progress=True, **chosen)
    dataset = derive.require(choose_classes.renamed(dataset, map, labels), field)
    if split == "all":
        return dataset.having(field), dataset.having(field)
    return splits.split(dataset, split, (field,))


def _photos(given: Iterable[str]) -> dict[str, Path]:
    """{name of the output: photo}, with all pictures of a folder. Photos of the same name are numbered."""
    photos: dict[str, Path] = {}
    for path in map(Path, given):
        inside = (
            sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES) if path.is_dir() else [path]
        )
        if not inside:
            raise UserError(f"{path}: no picture in this folder; it needs files that end in {', '.join(PICTURES)}")
        for photo in inside:
            names = (photo.stem if number == 1 else f"{photo.stem}_{number}" for number in range(1, len(photos) + 2))
            photos[next(name for name in names if name not in photos)] = photo
    if not photos:
        raise UserError("no image was given; give photos, or folders of photos, after the model")
    return photos


def _refuse_to_replace(paths: Iterable[Path], overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0]}{more} would be replaced; give --overwrite, or choose another --output")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _most(counts: Mapping[str, float]) -> dict[str, Any]:
    """Counts of classes for a table: where there are many, the largest first, and in a last row what is not shown."""
    if len(counts) <= MOST_CLASSES:
        return dict(counts)
    there = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
    shown = {name: counts[name] for name in there[:MOST_ROWS]}
    if len(there) > len(shown):
        shown[f"({len(there) - len(shown)} more)"] = sum(counts[name] for name in there[len(shown) :])
    if len(there) < len(counts):
        shown[f"({len(counts) - len(there)} without any)"] = 0
    return shown


def _repeated_flags(chosen: Mapping[str, Any]) -> list[str]:
    """The flags, as they are written, of what was chosen of the data."""
    written = []
    for name, value in chosen.items():
        if value:
            written += [flag(name), *(value if isinstance(value, tuple) else ())]
    return written


def _without_classes(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without those of single classes (NAME/CLASS), if there are too many of these."""
    single = {name for name in scores if "/" in name}
    return {name: value for name, value in scores.items() if name not in single or len(single) <= MOST_CLASSES}


def _table(title: str, rows: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    if rows:
        table = Table(show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="left" if any(isinstance(value, str) for value in rows.values()) else "right")
        for name, value in rows.items():
            table.add_row(name, _written(value))
        # As the table's own title it would be wrapped to the width of the table.
        print(f"\n{title}")
        Console(markup=False, highlight=False).print(table)


def _written(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return str(value)


def _encoders_table(rows: Iterable[tuple[str, list[float | None]]], columns: Iterable[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("encoder", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="right")
    for name, values in rows:
        table.add_row(name, *(_short(value) for value in values))
    Console(markup=False, highlight=False).print(table)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def _exported_table(exported: Iterable["ExportedFile"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "MB", "metric (Keras)", "ms", "parity")
    for one in exported:
        metric = "-" if one.metric is None else f"{one.metric['file']:.4f} ({one.metric['keras']:.4f})"
        milliseconds = f"{min(one.milliseconds.values()):.1f}"
        table.add_row(one.path.name, f"{one.bytes / 1e6:.2f}", metric, milliseconds, one.reason or "passed")
    Console(markup=False, highlight=False).print(table)
