"""Flags of other tools are answered with ours."""

import importlib

import pytest

from kerastransfer.errors import UserError
from kerastransfer.recipes import pages
from kerastransfer.runs import other_words, settings


@pytest.mark.parametrize(
    ("recipe", "flag", "told"),
    [
        ("detector", "--epochs", "the flag here is --detector-epochs"),
        ("yolo_unet", "--epochs", "--decoder-epochs"),
        ("detector", "--weights=a.pt", "the flag here is --start"),
        ("yolo_unet", "--weights", "the flag here is --start or --encoder"),
        ("detector", "--encoder", "the flag here is --start;"),
        ("detector", "--imgsz", "the flag here is --image-size"),
        ("detector", "--batch", "the flag here is --batch-size"),
        ("detector", "--lr0", "the flag here is --learning-rate"),
        ("detector", "--device", "CUDA_VISIBLE_DEVICES"),
        ("detector", "--project", "the flag here is --output"),
        ("detector", "--name", "the flag here is --output"),
        ("detector", "--data_dir", "the flag here is --data"),
        ("detector", "--patience", "the flag here is --early-stopping"),
        ("detector", "--workers", "leave it out"),
        ("detector", "photos/", "a value stands behind its flag, as in --data photos/"),
        ("detector", "--dta", "the nearest flag is --data"),
    ],
)
def test_the_advice_knows_other_words(recipe, flag, told):
    Config = importlib.import_module(f"kerastransfer.recipes.{recipe}").Config
    with pytest.raises(UserError) as caught:
        settings.parse(Config, [flag, "3"])
    assert told in str(caught.value) and "warmup" not in str(caught.value)


def test_the_encoder_of_a_net_that_takes_any():
    Config = importlib.import_module("kerastransfer.recipes.detector").Config
    with pytest.raises(UserError, match=r"the flag here is --start or --net\.encoder"):
        settings.parse(Config, ["--model", "retinanet", "--encoder", "x"])


def test_what_is_advised_is_a_flag_of_some_recipe():
    flags = set()
    for name in pages():
        config = importlib.import_module(f"kerastransfer.recipes.{name}").Config()
        flags |= {settings.flag(field) for field in settings.flat(config)}
    unused = {ours for names in other_words.FLAGS.values() for ours in names if f"--{ours}" not in flags}
    # Settings of choices that no recipe begins with, --config, which is no field, and what a recipe of yours may have.
    assert unused <= {"epochs", "optim.momentum", "config", "net.cfg"}
