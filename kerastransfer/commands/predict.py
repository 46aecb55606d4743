"""`kerastransfer predict`."""

import contextlib
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from kerastransfer import files
from kerastransfer.commands import output_files, predictions
from kerastransfer.commands.arguments import Model
from kerastransfer.commands.sources import CAMERA, Source, sources
from kerastransfer.errors import UserError
from kerastransfer.lettering import printed

Images = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]


def predict(
    model: Model,
    images: Images,
    /,
    *,
    camera: int | None = None,
    every: int = 1,
    frames: int | None = None,
    output: Path = Path("predictions"),
    score: float | None = None,
    overwrite: bool = False,
) -> None:
    """Run a .keras or .tflite file on photos, videos or a camera; writes overlays, and predictions.json.

    Args:
        model: A .keras file of a run, a .tflite file that was exported from one, or `hf://OWNER/NAME`.
        images: Photos, videos, folders of these (with all folders below), patterns ("img*.jpg"), or camera:0.
        camera: Number of a camera, as camera:0; Ctrl-C ends it.
        every: Of a video or camera, predict every so many frames.
        frames: Of a video or camera, predict at most so many frames.
        output: The folder to write to.
        score: Lowest score of a detection, from 0 to 1; the default is stored with the model.
        overwrite: Replace files of the same name in the folder.
    """
    if score is not None and not (math.isfinite(score) and 0 <= score <= 1):
        raise UserError(f"--score is {score:g}; give a score from 0 to 1")
    for flag, value in (("--every", every), ("--frames", frames)):
        if value is not None and value < 1:
            raise UserError(f"{flag} is {value}; it must be 1 or more")
    given = sources([*images, *([] if camera is None else [f"{CAMERA}{camera}"])], output)
    results = output / "predictions.json"
    overlays = {name: output / f"{name}{'.mp4' if one.moving else '.png'}" for name, one in given.items()}
    told = [path.with_suffix(".jsonl") for path in overlays.values() if path.suffix == ".mp4"]
    output_files.refuse_to_replace([results, *overlays.values(), *told], overwrite)
    if any(one.moving for one in given.values()):
        from kerastransfer.commands import video

        video.require()
    from kerastransfer.runs import trained

    predictor = trained.open_predictor(model)
    head = {"model": model, "form": predictions.FORM, "labels": list(predictor.about.labels)}
    done = left_out = 0
    with predictions.document(results, head) as add:
        for name, source in given.items():
            try:
                if source.moving:
                    entry = _video(predictor, source, overlays[name], score, every, frames)
                else:
                    entry = _photo(predictor, source, overlays[name], score)
            except _LeftOut as error:
                print(f"left out: {printed(error)}", file=sys.stderr)
                left_out += 1
                continue
            done += 1
            overlay = overlays[name].relative_to(output)
            if source.moving:
                entry["predictions"] = overlay.with_suffix(".jsonl").as_posix()
            add(entry | {"overlay": overlay.as_posix()})
    print(f"{results}, with {done} overlay{'' if done == 1 else 's'} beside it")
    if left_out:
        raise UserError(f"{left_out} of {len(given)} images could not be read and were left out")


class _LeftOut(Exception):
    """A file that is no photo or video."""


def _photo(predictor: Any, source: Source, overlay: Path, score: float | None) -> dict[str, Any]:
    from kerastransfer.tasks import images

    try:
        image = images.read(source.path)
    except UserError as error:
        raise _LeftOut(error) from error
    prediction = predictor.predict(image, score=score)
    with files.replacing(overlay) as temporary:
        prediction.draw(image).save(temporary)
    print(printed(f"{source}: {prediction.in_words()}"))
    height, width = image.shape[:2]
    found = predictions.told(prediction.summary(), predictor.about.labels)
    return {"image": str(source), "height": height, "width": width, "predictions": found}


def _video(
    predictor: Any, source: Source, overlay: Path, score: float | None, every: int, most: int | None
) -> dict[str, Any]:
    import numpy as np

    from kerastransfer.commands import video

    lines, number, size = overlay.with_suffix(".jsonl"), 0, (0, 0)
    with contextlib.ExitStack() as stack:
        try:
            rate, frames = stack.enter_context(video.opened(source))
        except UserError as error:
            raise _LeftOut(error) from error
        add = stack.enter_context(predictions.lines(lines))
        draw = stack.enter_context(video.writing(overlay, rate / every))
        # A camera has no end.
        with contextlib.suppress(*([KeyboardInterrupt] if source.path is None else [])):
            for frame in frames(every):
                prediction = predictor.predict(frame.image, score=score)
                draw(np.asarray(prediction.draw(frame.image)))
                found = predictions.told(prediction.summary(), predictor.about.labels)
                add({"frame": frame.number, "seconds": round(frame.seconds, 4), "predictions": found})
                number, size = number + 1, frame.image.shape[:2]
                if number == most:
                    break
        if not number:
            raise _LeftOut(f"{source}: no frame of it can be decoded")
    print(printed(f"{source}: {number} frames, {overlay} and {lines}"))
    height, width = size
    return {"video": str(source), "height": height, "width": width, "frames": number}
