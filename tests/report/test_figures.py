import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kerastransfer.report import figures, style


def drawn(figure):
    """A figure that renders without a warning, as an image; warnings are errors in the tests."""
    assert isinstance(figure, Figure)
    image = Image.open(io.BytesIO(style.png(figure)))
    assert image.format == "PNG" and min(image.size) > 100
    return image


def history(phases=("detector",), epochs=3, **more):
    return [
        {"phase": phase, "epoch": str(epoch), "loss": str(3.0 / (epoch + 1)), **more}
        for phase in phases
        for epoch in range(epochs)
    ]


def test_learning_curves_have_the_points_of_the_history():
    rows = history(val_loss="2.5", AP50="0.5", learning_rate="0.001") + history(("unet",), epochs=1)
    figure = figures.learning_curves(rows)
    drawn(figure)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["detector: loss", "detector: score", "unet: loss"]
    loss, validation = figure.axes[0].lines
    np.testing.assert_allclose(loss.get_xydata(), [[0, 3], [1, 1.5], [2, 1]])
    assert loss.get_color() == validation.get_color() and loss.get_linestyle() != validation.get_linestyle()


def test_learning_curves_of_damaged_and_empty_histories():
    drawn(figures.learning_curves([]))
    rows = [{"phase": "a", "epoch": 0, "loss": ""}, {"phase": "a", "epoch": 1, "loss": "nan"}]
    drawn(figures.learning_curves(rows))
    drawn(figures.learning_curves([*rows, {"phase": "a", "epoch": 2, "loss": "1"}]))


def test_losses_of_several_magnitudes_have_plain_numbers_on_a_log_axis():
    rows = [{"phase": "a", "epoch": epoch, "loss": 10.0**-epoch, "dice": 0.5} for epoch in range(4)]
    (axis,) = figures.learning_curves(rows).axes  # "dice" is a loss too
    drawn(axis.figure)
    assert axis.get_yscale() == "log"
    assert {"0.001", "0.1", "1"} <= {label.get_text() for label in axis.get_yticklabels()}
    assert not any("$" in label.get_text() for label in axis.get_yticklabels(which="both"))


def test_seeds_are_lines_of_one_colour():
    rows = history(seed="0") + history(seed="1")
    (axis,) = figures.learning_curves(rows).axes
    assert len(axis.lines) == 2 and len({line.get_color() for line in axis.lines}) == 1
    assert len(axis.get_legend().texts) == 1


def test_distribution():
    scores = np.linspace(0, 1, 11)
    figure = figures.distribution({"unet": np.append(scores, np.nan), "$segnet": scores / 2, "none": np.array([])})
    drawn(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["median 0.500", "median 0.250"]


@pytest.mark.parametrize("difference", [None, (0.1, 0.05, 0.15), (0.1, np.nan, np.nan)])
def test_paired(difference):
    rng = np.random.default_rng(0)
    a = np.append(rng.uniform(size=40), np.nan)
    figure = figures.paired(a, a - 0.1, ("unet", "segnet"), difference=difference)
    drawn(figure)
    counted = sum(bar.get_height() for bar in figure.axes[1].patches)
    assert counted == 40


def test_paired_of_one_image_and_of_none():
    drawn(figures.paired([0.5], [0.5], ("a", "b")))
    drawn(figures.paired([np.nan], [0.5], ("a", "b")))


def test_exported_files():
    drawn(figures.exported_files(["a.tflite", "b.tflite"], [11.2, 2.9], [38.2, np.nan]))


def test_the_settings_of_the_user_stay(tmp_path):
    before = dict(matplotlib.rcParams)
    style.save(figures.distribution({"a": np.array([0.5])}), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_colours_are_distinct():
    assert len({style.colour(index) for index in range(100)}) == 100


def test_similarity_says_each_value_where_there_is_room():
    values = np.array([[1.0, 0.25], [0.25, 1.0]])
    (axis, *_) = figures.similarity(values, ["a", "b"]).axes
    assert [text.get_text() for text in axis.texts] == ["1.00", "0.25", "0.25", "1.00"]
    (axis, *_) = figures.similarity(np.eye(20), [str(number) for number in range(20)]).axes
    assert not axis.texts


def test_bars_stand_side_by_side():
    (axis,) = figures.bars({"a": [0.5, np.nan], "b": [0.25, 1.0]}, ["x", "y"], y="AP lost").axes
    drawn(axis.figure)
    (first, _), (second, last) = axis.containers
    assert [bar.get_height() for bar in (first, second, last)] == [0.5, 0.25, 1.0]
    assert first.get_x() + first.get_width() < second.get_x() and second.get_x() < 0.5 < last.get_x()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["x", "y"] and axis.get_ylabel() == "AP lost"


def test_lines_have_ticks_where_there_are_values():
    curves = {"a": ([8, 42], [0.5, 0.6], np.array([0.1, 0.1])), "b": ([8, 42], [0.4, 0.7], None)}
    (axis,) = figures.lines(curves, x="labelled images", y="Dice", logarithmic=True).axes
    assert axis.get_xscale() == "log" and [tick.get_text() for tick in axis.get_xticklabels()] == ["8", "42"]
    assert not len(axis.get_xticks(minor=True))
    assert [line.get_label() for line in axis.lines] == ["a", "b"] and len(axis.collections) == 1


def test_maps_name_the_classes_that_occur_if_they_are_few():
    labels = np.arange(30) % 3 * 2
    points = {"one": np.random.default_rng(0).normal(size=(30, 2)), "other": np.zeros((30, 2))}
    names = [f"class {number}" for number in range(6)]
    figure = figures.maps(points, labels, names)
    drawn(figure)
    assert [text.get_text() for text in figure.legends[0].texts] == ["class 0", "class 2", "class 4"]
    colours = [dots.get_facecolor()[0] for dots in figure.axes[0].collections]
    assert len(colours) == 3 and not np.allclose(colours[0], colours[1])
    assert not figures.maps(points, labels, names, named=2).legends
    plain = figures.maps(points, None, ())
    assert len(plain.axes[0].collections) == 1 and not plain.legends
