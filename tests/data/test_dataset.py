"""A data set as Python sees it."""

import numpy as np
import pytest

from kerastransfer.data import datasets, toy


def test_a_data_set_is_a_sequence_of_samples():
    data = toy.toy(count=5)
    assert [sample.name for sample in data] == [f"{k:05d}" for k in range(5)]
    assert data[1] is data.samples[1] and data[-1] is data.samples[4]
    part = data[1:3]
    assert [sample.name for sample in part] == ["00001", "00002"]
    assert part.classes == data.classes
    with pytest.raises(IndexError):
        data[5]


def test_what_is_shown_in_a_notebook_is_short():
    data = toy.toy(count=480)
    assert repr(data) == "<Dataset toy: 480 samples with boxes, masks, segmentation; 4 classes>"
    assert len(repr(data[0])) < 120
    assert repr(data[:0]) == "<Dataset toy: 0 samples; 4 classes>"


@pytest.mark.slow
def test_examples_as_tensors(tmp_path, draw):
    for name, size in (("a", (20, 30)), ("b", (10, 16))):
        draw(tmp_path / f"images/{name}.jpg", size)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n" * len(size))
    dataset = datasets.load(tmp_path)
    found = dataset.to_tf()
    assert len(found) == 2
    for example, sample in zip(found, dataset, strict=True):
        assert example.keys() == {"image", "boxes", "labels", "crowd", "difficult"}
        for name, value in example.items():
            np.testing.assert_array_equal(value, sample.read()[name])
    # Only what all samples have.
    draw(tmp_path / "images/c.jpg")
    assert list(datasets.load(tmp_path).to_tf().element_spec) == ["image"]
