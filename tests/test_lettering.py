"""Names in any script, and with control codes, are drawn and printed."""

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from kerastransfer import lettering
from kerastransfer.report import figures, pictures, style
from kerastransfer.tasks import drawing
from kerastransfer.tasks.detection import Detections

NAMES = ["Kätzchen", "кошка", "قط", "猫", "बिल्ली", "line\nfeed", "\x1b[2Jred", "a\x00b", "\udcff", "🐈", ""]


@pytest.fixture
def no_other_fonts(monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    lettering._path.cache_clear()
    yield
    lettering._path.cache_clear()


def test_what_is_printed_is_one_line_without_control_codes():
    assert lettering.printed("a\nb\x1b[2J\u202e猫") == r"a\nb\x1b[2J\u202e猫"


def test_letters_that_no_font_has_become_code_points(no_other_fonts):
    assert lettering.drawn("猫 cat", 12)[0] == r"\u732b cat"
    assert lettering.drawn("кошка", 12)[0] == "кошка"


def test_a_font_of_this_machine_is_taken_for_letters_that_it_has(tmp_path, monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr(lettering, "_letters", lambda path: {ord("猫")} if path == "own" else {ord("c")})
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["own"])
    lettering._path.cache_clear()
    assert lettering._path(frozenset("猫")) == "own"
    assert lettering._path(frozenset("c")) != "own"
    lettering._path.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_classes_are_drawn(name, no_other_fonts):
    image = np.zeros((60, 80, 3), np.uint8)
    box = np.array([[0.2, 0.2, 0.8, 0.8]], np.float32)
    found = Detections(box, np.array([0.5], np.float32), np.array([0]), (name,), (60, 80))
    for picture in (drawing.boxes(image, found), pictures.draw_boxes(image, box, [0], [name])):
        assert np.asarray(picture).any()
    assert np.asarray(drawing.caption(image, name, 0)).any() or not name
    pictures.sheet([(name, PIL.Image.new("RGB", (60, 80)))], columns=1, headings=[name])
    style.png(figures.confusion(np.array([[1]]), [name]))
