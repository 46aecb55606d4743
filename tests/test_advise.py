"""The command `kerastransfer advise`: what it prints and writes, and the one line that it says of a mistake."""

import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from kerastransfer import cli
from kerastransfer.errors import UserError
from kerastransfer.runs import advising
from kerastransfer.runs.short_names import short_names

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def code_of(*argv):
    try:
        cli.main(["advise", *map(str, argv)])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photos of a bright square, of which the last five have no mask."""
    folder = tmp_path_factory.mktemp("squares")
    for inside in ("images", "masks"):
        (folder / inside).mkdir()
    for number in range(21):
        random = np.random.default_rng(number)
        mask = np.zeros((32, 32), np.uint8)
        top, left = random.integers(0, 16, 2)
        mask[top : top + 14, left : left + 14] = 255
        image = np.clip(60 + 0.5 * mask[..., None] + 20 * random.normal(size=(32, 32, 3)), 0, 255).astype(np.uint8)
        PIL.Image.fromarray(image).save(folder / "images" / f"{number:02}.png")
        if number < 16:
            PIL.Image.fromarray(mask).save(folder / "masks" / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Two small encoders, in files of the same name in two folders, as runs leave them."""
    import keras

    from kerastransfer.export import loading

    made = []
    for name, pool in (("sharp", 2), ("blurred", 8)):
        image = keras.Input((None, None, 3))
        pooled = keras.layers.AveragePooling2D(pool)(keras.layers.Rescaling(1 / 255)(image))
        path = tmp_path_factory.mktemp(name) / "encoder.keras"
        path.parent.mkdir(exist_ok=True)
        loading.write_keras(keras.Model(image, {"c1": pooled}, name="encoder"), path)
        made.append(path)
    return made


@pytest.mark.slow
def test_encoders_are_ranked_and_the_page_and_numbers_are_written(data, encoders, tmp_path, capsys, monkeypatch):
    from kerastransfer.analysis import advice

    monkeypatch.setattr(advice, "PASSES", 1)
    numbers, page = tmp_path / "advice.json", tmp_path / "advice.html"
    flags = ["--image-size", 32, "--target-dice", 0.5, "--next", 2, "--output", numbers, "--report", page]
    assert code_of("--data", data, "--encoders", *encoders, *flags) == 0
    told = capsys.readouterr().out
    assert f"Take {encoders[0].parent.name}/encoder.keras: AUC 0." in words(told)
    assert "Annotate next" in told and "with a probe on" in told
    written = json.loads(numbers.read_text())
    assert [one["encoder"] for one in written["encoders"]] == list(map(str, encoders))
    assert written["masks_used"] == 16 and written["encoders"][1]["behind_first"]["mean"] > 0
    assert len(written["photos"]) == 2 and set(written["photos"]) <= {f"{number}" for number in range(16, 21)}
    assert np.shape(written["cka"]) == (2, 2) and written["curve"]["target_dice"] == 0.5
    html = page.read_text()
    for part in ("Dice against masks", "How alike the encoders are", "kerastransfer advise --data", "LogME"):
        assert part in html
    assert "<img" in html and "http" not in html.partition("<main>")[2].replace("http://www.w3.org", "")


def test_without_masks_it_says_what_it_can_tell(encoders, capsys, tmp_path):
    assert code_of("--data", _unannotated(tmp_path), "--encoders", *encoders, "--image-size", 32, "--next", 1) == 0
    told = words(capsys.readouterr().out)
    assert "No photo has a mask, so nothing is said of which encoder segments best" in told
    assert "Annotate next" in told and "nothing can be in doubt yet" in told


def _unannotated(folder):
    """Photos in folders by class: a data set without masks."""
    for kind in ("cat", "dog"):
        (folder / kind).mkdir()
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(folder / kind / f"{kind}{number}.png")
    return folder


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--encoders", "{sharp}", "{sharp}"], "twice; give each encoder once"),
        (["--encoders", "yolov3-tiny", "small", "yolov3-tiny"], "names yolov3-tiny twice"),
        (["--encoders", "yolov3-tinny"], "yolov3-tinny"),
        (["--encoders", "{tmp}/no.keras"], "--encoders {tmp}/no.keras: no such file"),
        (["--encoders"], "--encoders needs names or files"),
        (["--encoders", "{sharp}", "--masks", "4"], "--masks 4 are too few; give at least 5"),
        (["--encoders", "{sharp}", "--masks", "0"], "--masks is 0; it must be 1 or more"),
        (["--encoders", "{sharp}", "--image-size", "-32"], "--image-size is -32"),
        (["--encoders", "{sharp}", "--next", "-1"], "--next is -1"),
        (["--encoders", "{sharp}", "--next", "6"], "--next 6: squares0 has 5 photos without a mask"),
        (["--encoders", "{sharp}", "--target-dice", "90"], "--target-dice 90 is outside (0, 1)"),
        (["--encoders", "{sharp}", "--image-size", "33"], "--image-size 33 is not a multiple of 2"),
        (["--encoders", "{sharp}", "--format", "cocoo"], "did you mean coco"),
        (["--encoders", "{sharp}", "--data", "{tmp}/nowhere"], "no such file or folder"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(flags, told, data, encoders, tmp_path, capsys):
    given = {"sharp": encoders[0], "tmp": tmp_path}
    flags = [flag.format(**given) for flag in flags]
    where = [] if "--data" in flags else ["--data", data]
    out = ["--output", tmp_path / "out.json", "--report", tmp_path / "out.html"]
    assert code_of(*where, *out, *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ")
    assert told.format(**given).replace("squares0", data.name) in error[0]
    assert not list(tmp_path.iterdir())


def test_too_few_masks_are_refused(encoders, tmp_path, capsys):
    for inside in ("images", "masks"):
        (tmp_path / inside).mkdir()
    for number in range(4):
        PIL.Image.new("RGB", (32, 32)).save(tmp_path / "images" / f"{number}.png")
        if number < 3:
            mask = PIL.Image.fromarray(np.uint8(np.indices((32, 32))[0] > 9) * 255)
            mask.save(tmp_path / "masks" / f"{number}.png")
    assert code_of("--data", tmp_path, "--encoders", encoders[0], "--image-size", 32) == 2
    assert "has masks for 3 photos; advice needs 5 or more" in words(capsys.readouterr().err)


def test_files_are_not_replaced_unasked(data, encoders, tmp_path, capsys):
    there = tmp_path / "advice.html"
    there.write_text("mine")
    assert code_of("--data", data, "--encoders", encoders[0], "--report", there) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert there.read_text() == "mine"


def test_a_file_without_an_encoder_is_refused(data, tmp_path, capsys):
    path = tmp_path / "no.keras"
    path.write_bytes(b"nothing")
    assert code_of("--data", data, "--encoders", path) == 2
    assert str(path) in capsys.readouterr().err


def test_the_command_line_imports_nothing_heavy():
    code = """if True:
        import sys
        from kerastransfer import cli
        from kerastransfer.runs import advising
        advising.require(["yolov3-tiny", "yolo-fastest-1.1-xl"])
        assert not {"tensorflow", "keras", "sklearn"} & set(sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_short_names_tell_files_apart():
    given = ["run1/models/encoder.keras", "run2/models/encoder.keras", "/tmp/other.keras", "yolov3-tiny", "mine.keras"]
    short = ["run1/models/encoder.keras", "run2/models/encoder.keras", "tmp/other.keras", "yolov3-tiny", "mine.keras"]
    assert short_names(given, 2) == dict(zip(short, given, strict=True))


def test_a_name_of_random_weights_is_an_encoder():
    advising.require(["small"])
    assert advising.opener("small")().name == "encoder"
    with pytest.raises(UserError, match="resnet18x"):
        advising.require(["resnet18x"])
