"""What other tools call our flags, for the advice where a flag is unknown."""

from collections.abc import Sequence

# {flag of another tool: ours, of which a recipe has some}
FLAGS = {
    "epoch": ("epochs",),
    "epochs": ("epochs",),
    "weights": ("start", "detector", "encoder"),
    "pretrained": ("start", "detector", "encoder"),
    "checkpoint": ("start", "detector", "encoder"),
    "backbone": ("encoder", "net.encoder"),
    # A flag of other recipes.
    "encoder": ("start", "net.encoder"),
    **dict.fromkeys(("imgsz", "img", "img-size", "imgsize", "size", "input-size", "resolution"), ("image-size",)),
    **dict.fromkeys(("batch", "bs"), ("batch-size",)),
    **dict.fromkeys(("lr", "lr0", "base-lr"), ("learning-rate",)),
    **dict.fromkeys(("lr-scheduler", "scheduler", "lrf", "cos-lr"), ("schedule",)),
    **dict.fromkeys(("name", "project", "save-dir", "out-dir", "output-dir", "outdir", "exp"), ("output",)),
    **dict.fromkeys(("data-dir", "data-path", "dataset", "datasets", "root", "source", "train-dir"), ("data",)),
    **dict.fromkeys(("val", "val-split", "validation-split", "val-fraction"), ("validation",)),
    **dict.fromkeys(("patience", "early-stop"), ("early-stopping",)),
    **dict.fromkeys(("exist-ok", "force"), ("overwrite",)),
    **dict.fromkeys(("amp", "half", "fp16", "bf16", "mixed-precision"), ("precision",)),
    **dict.fromkeys(("wd", "weight-decay"), ("optim.weight-decay",)),
    "momentum": ("optim.momentum",),
    "freeze": ("freeze-stages", "freeze"),
    "cfg": ("net.cfg", "config"),
    "arch": ("model",),
    "hflip": ("flip",),
    "fliplr": ("flip",),
}
# What is no flag here.
ADVICE = {
    **dict.fromkeys(("device", "gpu", "gpus"), "set CUDA_VISIBLE_DEVICES to choose a GPU, or -1 for none"),
    **dict.fromkeys(("workers", "num-workers", "j"), "leave it out: images are read with the cores that there are"),
    "save-period": "leave it out: a checkpoint is kept after every epoch",
}


def advice(given: str, known: Sequence[str]) -> str | None:
    """What to give in place of a flag of another tool, in a line without a full stop; None for other words.

    given: the flag, with dashes, or a word that stands behind none. known: all flags of the recipe, with dashes.
    """
    if not given.startswith("-"):
        return f"a value stands behind its flag, as in --data {given}"
    word = given.lstrip("-").replace("_", "-").lower()
    if word in ADVICE:
        return ADVICE[word]
    if word not in FLAGS:
        return None
    wanted = [f"--{name}" for name in FLAGS[word] if f"--{name}" in known]
    if word.startswith("epoch"):
        wanted += [name for name in known if name.endswith("-epochs") and name not in (*wanted, "--warmup-epochs")]
    return f"the flag here is {' or '.join(wanted)}" if wanted else None
