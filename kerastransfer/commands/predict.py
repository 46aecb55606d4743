"""`kerastransfer predict`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import tyro

from kerastransfer import files
from kerastransfer.commands import output_files
from kerastransfer.commands.arguments import Model
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import PICTURES

Images = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]


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
    output_files.refuse_to_replace([results, *overlays.values()], overwrite)
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
