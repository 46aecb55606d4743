"""What `export` takes from the run that a model is of."""

import pytest

from kerastransfer.commands import export
from kerastransfer.commands.parts import parts
from kerastransfer.data import datasets
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError
from kerastransfer.runs import settings


def test_the_data_of_the_run_are_read_as_it_read_them(tmp_path):
    config = settings.CommonConfig(data="toy:20", max_bad=0.5, classes=("disc",), allow_outside=True)
    (tmp_path / "config.toml").write_text(settings.to_toml(config))
    *_, chosen = export._trained_on(str(tmp_path / "models" / "yolov3.keras"))
    assert chosen == {"classes": ["disc"], "merge": [], "allow_outside": True, "max_bad": 0.5}


def test_data_that_tell_too_little_have_images_all_the_same(monkeypatch):
    """VOC with boxes and classes of pixels, but no object masks, for a model of instances."""
    samples = tuple(Sample(str(number), lambda: {}, frozenset({"boxes", "segmentation"})) for number in range(5))
    dataset = Dataset("photos", samples, ("cat",), ("background", "cat"))
    monkeypatch.setattr(datasets, "load", lambda *arguments, **options: dataset)
    train, test = parts("photos", "auto", "every_fifth", "masks", or_images=True)
    assert (len(train), len(test), len(test.having("masks"))) == (4, 1, 0)
    with pytest.raises(UserError, match="masks needed"):
        parts("photos", "auto", "every_fifth", "masks")
