"""`predict` on videos and cameras, and what it writes; the model is a stand-in that finds a box in each image."""

import importlib.util
import json

import cv2
import numpy as np
import PIL.Image
import pytest

from kerastransfer.commands.predict import predict
from kerastransfer.errors import UserError
from kerastransfer.runs import trained
from kerastransfer.tasks.about import About
from kerastransfer.tasks.detection import Detections


class Model:
    about = About("detection", ("cat", "dog"), (64, 64))

    def predict(self, image, *, score=None):
        box = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32)
        return Detections(box, np.array([0.9], np.float32), np.array([1]), ("dog",), image.shape[:2])


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setattr(trained, "open_predictor", lambda path: Model())


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (80, 40))
    for number in range(7):
        writer.write(np.full((40, 80, 3), 30 * number, np.uint8))
    writer.release()
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_boxes_have_names_for_their_corners_and_the_image_its_size(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    PIL.Image.new("RGB", (80, 40)).save(tmp_path / "in" / "deep" / "photo.png")
    predict("model.keras", (str(tmp_path / "in"),), output=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written["labels"] == ["cat", "dog"] and "[x, y, width, height]" in written["form"]
    (image,) = written["images"]
    assert (image["height"], image["width"], image["overlay"]) == (40, 80, "deep/photo.png")
    (found,) = image["predictions"]
    assert found["class"] == 1 and found["box"] == [10, 40, 30, 80] and found["bbox"] == [40, 10, 40, 20]
    assert (tmp_path / "out" / "deep" / "photo.png").exists()


def test_a_video_is_annotated_frame_by_frame(clip, tmp_path, capsys):
    predict("model.keras", (str(clip),), output=tmp_path / "out", every=3)
    (entry,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert entry["frames"] == 3 and (entry["height"], entry["width"]) == (40, 80)
    found = lines(tmp_path / "out" / entry["predictions"])
    assert [one["frame"] for one in found] == [0, 3, 6]
    assert [one["seconds"] for one in found] == [0, 0.3, 0.6]
    capture = cv2.VideoCapture(str(tmp_path / "out" / entry["overlay"]))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10 / 3, abs=0.01)
    frame = capture.read()[1]
    # The box of the dog, which is not grey.
    assert np.ptp(frame[30, 60].astype(int)) > 30 or np.ptp(frame[:, 38:44].astype(int), axis=-1).max() > 60


def test_videos_of_one_name_in_two_folders_keep_their_folders(clip, tmp_path):
    for folder in ("left", "right"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "clip.mp4").write_bytes(clip.read_bytes())
    predict("model.keras", (str(tmp_path / "in"),), output=tmp_path / "out", frames=1)
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert [one["predictions"] for one in told] == ["left/clip.jsonl", "right/clip.jsonl"]
    assert all((tmp_path / "out" / one[key]).is_file() for one in told for key in ("predictions", "overlay"))


def test_a_file_that_is_no_video_is_left_out(tmp_path, capfd):
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match="1 of 1 images could not be read"):
        predict("model.keras", (str(tmp_path / "torn.mp4"),), output=tmp_path / "out")
    assert "torn.mp4: cannot be opened as a video" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]


class Camera:
    """A camera that is stopped by Ctrl-C after five frames."""

    def __init__(self, number):
        self.number, self.left, self.released = number, 5, False

    def isOpened(self):
        return self.number == 0

    def get(self, what):
        return 0.0

    def grab(self):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True

    def retrieve(self):
        return True, np.zeros((40, 80, 3), np.uint8)

    def release(self):
        pass


@pytest.mark.parametrize(("most", "seen"), [(None, 5), (2, 2)])
def test_a_camera_runs_until_it_is_stopped(most, seen, tmp_path, monkeypatch):
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda what: Camera(what) if isinstance(what, int) else capture(what))
    predict("model.keras", (), camera=0, frames=most, output=tmp_path)
    assert [one["frame"] for one in lines(tmp_path / "camera0.jsonl")] == list(range(seen))
    assert capture(str(tmp_path / "camera0.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == seen


def test_a_camera_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with pytest.raises(UserError, match="could not be read"):
        predict("model.keras", ("camera:3",), output=tmp_path)


def test_without_opencv_the_extra_is_named(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'kerastransfer\[video\]'"):
        predict("model.keras", (str(clip),), output=tmp_path / "out")


@pytest.mark.parametrize("score", [5, -0.1, float("nan")])
def test_a_score_is_from_0_to_1(score, tmp_path):
    with pytest.raises(UserError, match="from 0 to 1"):
        predict("model.keras", ("photo.jpg",), score=score, output=tmp_path)


def test_file_names_with_control_codes_are_printed_escaped(tmp_path, capsys):
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a\n\x1b[2J.png")
    predict("model.keras", (str(tmp_path / "a\n\x1b[2J.png"),), output=tmp_path / "out")
    assert r"a\n\x1b[2J.png: dog 0.90" in capsys.readouterr().out
