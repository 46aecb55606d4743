"""A data set as Python sees it."""

import pytest

from kerastransfer.data import toy


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
