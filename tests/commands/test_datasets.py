"""`datasets`: what it counts, draws and refuses."""

import numpy as np
import PIL.Image
import pytest
from console import code_of


def test_datasets_counts_what_there_is_and_names_what_is_bad(tmp_path, capsys):
    folder = tmp_path / "people"
    for part in ("PNGImages", "PedMasks"):
        (folder / part).mkdir(parents=True)
    mask = np.zeros((20, 30), np.uint8)
    mask[2:9, 3:8], mask[2:9, 20:28] = 1, 2
    for name in ("a", "b"):
        PIL.Image.new("RGB", (30, 20)).save(folder / "PNGImages" / f"{name}.png")
        PIL.Image.fromarray(mask).save(folder / "PedMasks" / f"{name}_mask.png")
    (folder / "PNGImages" / "c.png").write_bytes(b"no picture")
    assert code_of(["datasets", folder]) == 0
    told = capsys.readouterr().out
    assert "penn_fudan" in told
    assert "bad: c: " in told
    assert "│ person │ 4 │" in told


@pytest.mark.slow
def test_datasets_draws_a_contact_sheet_and_replaces_none(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert code_of(["datasets", "toy:4", "--output", sheet]) == 0
    with PIL.Image.open(sheet) as picture:
        assert min(picture.size) > 100
    before = sheet.read_bytes()
    assert code_of(["datasets", "toy:4", "--output", sheet]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert sheet.read_bytes() == before
    assert code_of(["datasets", "toy:4", "--output", sheet, "--overwrite"]) == 0


def test_classes_are_chosen_joined_and_sorted_by_their_number(tmp_path, capsys):
    for name, count in {"man": 1, "woman": 2, "dog": 1, **{f"kind{k:02d}": 1 for k in range(20)}}.items():
        (tmp_path / name).mkdir()
        for k in range(count):
            PIL.Image.new("RGB", (8, 8)).save(tmp_path / name / f"{k}.png")
    assert code_of(["datasets", tmp_path, "--merge", "person=man,woman", "--classes", "person", "dog"]) == 0
    told = capsys.readouterr().out
    assert "person" in told and "kind00" not in told and "woman" not in told
    assert code_of(["datasets", tmp_path]) == 0
    told = capsys.readouterr().out
    # Of many classes the most frequent come first.
    assert told.index("woman") < told.index("dog")
    assert code_of(["datasets", tmp_path, "--classes", "doog"]) == 2
    assert "the nearest is dog" in capsys.readouterr().err
