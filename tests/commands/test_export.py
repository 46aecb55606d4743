"""What `export` takes from the run that a model is of."""

from kerastransfer.commands import export
from kerastransfer.runs import settings


def test_the_data_of_the_run_are_read_as_it_read_them(tmp_path):
    config = settings.CommonConfig(data="toy:20", max_bad=0.5, classes=("disc",), allow_outside=True)
    (tmp_path / "config.toml").write_text(settings.to_toml(config))
    *_, chosen = export._trained_on(str(tmp_path / "models" / "yolov3.keras"))
    assert chosen == {"classes": ["disc"], "merge": [], "allow_outside": True, "max_bad": 0.5}
