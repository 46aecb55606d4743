"""What the pretexts have in common that show the network two views of each image: contrast and reconstruction."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kerastransfer.pretexts.pretext import Pretext

if TYPE_CHECKING:
    import keras

    from kerastransfer.heads.embedding import Pooling

VIEWS = ("first", "second")
# Of the mean squared error of all decoding tasks together (ConRec, Dippel et al. 2021, section 3).
RECONSTRUCTION = 100.0
# Sides, aspect ratio: those of SimCLR's windows (Chen et al. 2020, appendix A).
AREA, ASPECT = (0.08, 1.0), 4 / 3


def two_views(
    encoder: "keras.Model",
    *,
    tasks: Sequence[str] = (),
    contrast: "Pooling | None" = None,
    temperature: float = 0.5,
    colours: float = 1.0,
    everyone=None,
) -> Pretext:
    """The pretext on `models.conrec.conrec(encoder, tasks=tasks, contrast=contrast)`. With tasks the input is altered
    (`data.masking`); a task's error is the mean of both views. The share of images whose second view is recognised is
    reported as "accuracy", and is not trained on.

    temperature: of the contrast. colours: strength of the change of colours (`data.recolour`). everyone: as in
    `losses.contrastive.nt_xent`.
    """
    from kerastransfer.data import masking, recolour, views
    from kerastransfer.losses.contrastive import alike, nt_xent
    from kerastransfer.losses.reconstruction import mse, wanted
    from kerastransfer.models import conrec

    network = conrec.conrec(encoder, tasks=tasks, contrast=contrast)
    weights = {task: RECONSTRUCTION / len(tasks) for task in tasks}
    if contrast:
        weights |= {"contrast": 1.0, "accuracy": 0.0}

    def view(how):
        crop = dataclasses.replace(how, area=AREA, aspect=ASPECT, brightness=0.0, contrast=0.0, saturation=0.0)
        recoloured = recolour.simclr_colours(colours) if colours else None
        return views.two_crops(crop, recolour=recoloured, distort=masking.masking if tasks else None)

    def terms(targets, found):
        losses = {}
        for task in tasks:
            errors = [
                mse(
                    wanted(task, targets[view], targets[f"{view}_colours"], targets[f"{view}_altered"]),
                    found[f"{view}_{task}"],
                )
                for view in VIEWS
            ]
            losses[task] = sum(errors) / len(errors)
        if contrast:
            first, second = (found[f"{view}_{conrec.EMBEDDING}"] for view in VIEWS)
            losses["contrast"] = nt_xent(first, second, temperature, everyone=everyone)
            losses["accuracy"] = alike(first, second)
        return losses

    return Pretext(network, conrec.of_two_views(network), terms, weights, view, tuple(tasks))
