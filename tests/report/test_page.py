import html.parser
import re

import numpy as np
import pytest
from PIL import Image

from kerastransfer.report import page, style
from kerastransfer.report.page import Comparison, Estimate, ExportedFile, Figure, Highlight, Page

DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
PICTURE = style.png(Image.new("RGB", (8, 6), "red"))


def full_page(**changed):
    content = {
        "title": "Toy",
        "lead": "What was done.",
        "highlights": [Highlight("0.88", "AP50", "3 seeds")],
        "facts": {"Data": "toy", "Test images": 96},
        "classes": ["disc", "star"],
        "settings": {"image_size": 160, "encoder": None, "scale": (0.7, 1.2)},
        "command": "python -m kerastransfer.recipes.detector",
        "results": {
            "detector": {"AP50": Estimate(0.8841, spread=0.012), "AP50/disc": 0.9, "AP50/star": np.float64("nan")},
            "unet": {"iou_mean": Estimate(0.72, 0.69, 0.75), "images": 96},
            "segnet": {"iou_mean": 0.61, "images": 96},
        },
        "comparisons": [Comparison("unet", "segnet", "iou_mean", Estimate(0.11, 0.08, 0.14))],
        "figures": [Figure("Curves", "Loss.", PICTURE, chart=True)],
        "exported": [ExportedFile("a.tflite", 11_204_512, False, 38.2, 1.2e-6, 3e-8, 0.70, 0.72, reason="loses 0.020")],
        "notes": ["A note."],
        "left_out": [("a.gif", "cannot be decoded")],
        "machine": {"Cores": 2},
        "seconds": {"detector": 151.0},
    }
    return Page(**{**content, **changed})


class WellFormed(html.parser.HTMLParser):
    """Fails on a tag that is closed out of turn; keeps the text and the addresses that the page refers to."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.addresses = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def test_says_all_it_was_given(tmp_path):
    page.write_page(tmp_path / "report.html", full_page())
    seen = WellFormed((tmp_path / "report.html").read_text())
    text = " ".join(seen.text)
    for said in (
        *("Toy", "What was done.", "0.88", "3 seeds", "Test images", "disc", "0.7, 1.2", "none"),
        *("0.884", "± 0.012", "IoU mean", f"0.690 {DASH} 0.750", "96", "AP50 of each class"),
        *("+0.110", "+0.080 to +0.140", "Curves", "Loss.", "a.tflite", "11.2 MB", "38.2 ms", f"1.2 {TIMES} 10⁻⁶"),
        *(f"{MINUS}0.020", "failed", "loses 0.020", "A note.", "1 sample left out", "a.gif", "cannot be decoded"),
        *("2 min 31 s", "python -m kerastransfer.recipes.detector"),
    ):
        assert said in text, said
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_stands_alone():
    seen = WellFormed(page.render(full_page(figures=[Figure("A", "", PICTURE), Figure("B", "", PICTURE, chart=True)])))
    assert [address.split(";")[0] for address in seen.addresses] == ["data:image/webp", "data:image/png"]
    assert "url(" not in page.render(full_page()) and "@import" not in page.render(full_page())


def test_text_of_the_user_is_escaped():
    text = "<script>alert(1)</script>"
    written = page.render(
        full_page(
            title=text,
            lead=text,
            classes=[text],
            facts={text: text},
            settings={text: text},
            command=text,
            results={text: {text: 0.5, f"AP50/{text}": 0.5}},
            figures=[Figure(f'"{text}', text, PICTURE)],
            notes=[text],
            left_out=[(text, text)],
        )
    )
    assert text not in written and "&lt;script&gt;alert(1)" in written
    WellFormed(written)


def test_what_is_empty_is_left_out():
    seen = WellFormed(page.render(Page("Nothing yet")))
    assert [text for text in seen.text if text][-1].startswith("const dialog")
    assert not re.search("Results|Comparisons|Figures|Exported|What was done|Notes|machine", " ".join(seen.text[4:-4]))


def test_missing_numbers_are_dashes_and_crash_nothing():
    nan = float("nan")
    content = full_page(
        results={"a": {"AP": nan, "n": 3}, "b": {"AP": Estimate(nan, nan, nan, nan), "n": 4}},
        comparisons=[Comparison("a", "b", "AP", Estimate(nan, nan, nan)), Comparison("b", "a", "AP", Estimate(0.0))],
        exported=[ExportedFile("a.tflite", 10, True)],
        seconds={"none": 0.0},
    )
    written = page.render(content)
    assert "nan" not in " ".join(WellFormed(written).text).lower() and "left: nan" not in written


def test_a_figure_may_be_a_file(tmp_path):
    style.save(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    from_file = page.render(full_page(figures=[Figure("A", "", tmp_path / "a.png", chart=True)]))
    assert from_file == page.render(full_page(figures=[Figure("A", "", (tmp_path / "a.png").read_bytes(), chart=True)]))


def test_models_with_the_same_metrics_share_a_table():
    whole, by_class = page.tables(full_page().results)
    assert [(table.columns, [name for name, _ in table.rows]) for table in whole] == [
        (["AP50"], ["detector"]),
        (["iou_mean", "images"], ["unet", "segnet"]),
    ]
    assert [(table.title, table.columns, [name for name, _ in table.rows]) for table in by_class] == [
        ("AP50", ["detector"], ["disc", "star"])
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((0.88412, "0.884"), (1.0, "1.000"), (-0.5, f"{MINUS}0.500"), (153.7, "154")),
        *((96, "96"), (12345, "12,345"), (96.0, "96"), (None, DASH), (float("nan"), DASH)),
    ],
)
def test_numbers(value, written):
    assert page.number(value) == written


def test_units():
    assert [page.duration(s) for s in (1.44, 59.96, 151, 3840)] == ["1.4 s", "1 min 00 s", "2 min 31 s", "1 h 04 min"]
    assert [page.small(v) for v in (0.0, 0.0013, 1.24e-7, -0.31)] == [
        "0",
        "0.0013",
        f"1.2 {TIMES} 10⁻⁷",
        f"{MINUS}0.31",
    ]
    assert [page.megabytes(b) for b in (2_914_512, 11_204_512)] == ["2.91 MB", "11.2 MB"]
    assert [page.milliseconds(v) for v in (0.412, 38.24, 1234)] == ["0.412 ms", "38.2 ms", "1.23 s"]


def test_a_number_without_a_spread_has_no_sign_of_one():
    results = {"detector": {"AP_small": Estimate(np.nan, spread=np.nan), "AP": Estimate(0.5, spread=0.01)}}
    text = " ".join(WellFormed(page.render(full_page(results=results))).text)
    assert text.count("±") == 1
