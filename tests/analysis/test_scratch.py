"""Arrays in memory, and in files that go with them."""

import gc

import numpy as np
import pytest

from kerastransfer.analysis import scratch


@pytest.mark.parametrize("block", [12, 11])
def test_both_hold_what_is_written(block, monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "BLOCK", block)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = scratch.zeros(3, 4)
    assert isinstance(values, np.memmap) == (block < 12)
    assert values.dtype == "float32" and not values.any()
    values[1] += np.arange(4)
    np.testing.assert_array_equal(values, [[0] * 4, range(4), [0] * 4])
    del values
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("block", [1, 8, 11, 100])
def test_blocks_hold_each_row_once(block, monkeypatch):
    monkeypatch.setattr(scratch, "BLOCK", block)
    rows = np.arange(5 * 4).reshape(5, 2, 2)
    found = [rows[part] for part in scratch.blocks(rows)]
    np.testing.assert_array_equal(np.concatenate(found), rows)
    assert all(len(one) == 1 or one.size <= block for one in found)
