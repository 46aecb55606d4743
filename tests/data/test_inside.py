"""What annotations and links may reach, tried on YOLO txt, which lists a folder."""

import pytest

from kerastransfer.data import datasets, inside
from kerastransfer.errors import UserError
from kerastransfer.runs import early
from kerastransfer.runs.settings import CommonConfig


def folder_of(path, draw):
    draw(path / "images/a.jpg")
    (path / "labels").mkdir()
    for name in "ab":
        (path / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.2")


def test_a_link_to_a_file_outside_is_a_bad_sample(tmp_path, draw):
    secret = draw(tmp_path / "secret/b.jpg")
    folder_of(tmp_path / "data", draw)
    (tmp_path / "data/images/b.jpg").symlink_to(secret)
    dataset = datasets.load(tmp_path / "data")
    assert [sample.name for sample in dataset] == ["a"]
    assert [(one.name, one.reason) for one in dataset.bad] == [("b", inside.REASON)]
    assert len(datasets.load(tmp_path / "data", allow_outside=True)) == 2
    # What is allowed once is not allowed for ever.
    assert len(datasets.load(tmp_path / "data")) == 1


def test_links_that_stay_and_folders_that_are_links_are_fine(tmp_path, draw):
    folder_of(tmp_path / "data", draw)
    (tmp_path / "data/images/b.jpg").symlink_to("a.jpg")
    assert len(datasets.load(tmp_path / "data")) == 2
    (tmp_path / "linked").mkdir()
    for name in ("images", "labels"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "data" / name)
    assert len(datasets.load(tmp_path / "linked")) == 2


def test_a_link_in_a_circle_is_a_bad_sample(tmp_path, draw):
    folder_of(tmp_path, draw)
    (tmp_path / "images/b.jpg").symlink_to("b.jpg")
    assert [one.name for one in datasets.load(tmp_path).bad] == ["b"]


def test_a_source_outside_is_allowed_before_a_run_too(tmp_path, draw):
    folder_of(tmp_path / "data", draw)
    yaml = tmp_path / "home/data.yaml"
    yaml.parent.mkdir()
    yaml.write_text("train: ../data/images\nnames: [cat]\n")
    config = CommonConfig(data=str(yaml), output=str(tmp_path / "run"))
    with pytest.raises(UserError, match="--allow-outside"):
        early.check("detector", config)
    config.allow_outside = True
    early.check("detector", config)
    assert datasets.format_of(yaml, allow_outside=True) == "yolo_txt"
