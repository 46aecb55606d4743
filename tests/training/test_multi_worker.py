"""Two workers, real processes on loopback, end with the weights of one device at the same batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("small_training.py")


def started(environment, *arguments):
    command = [sys.executable, PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_workers_end_with_the_weights_of_one_device(worker_environments, tmp_path):
    files = {"none": tmp_path / "one.npz", "multi_worker": tmp_path / "two.npz"}
    alone, *workers = worker_environments(1) + worker_environments(2)
    processes = [started(alone, files["none"], "none")]
    processes += [started(worker, files["multi_worker"], "multi_worker") for worker in workers]
    for process in processes:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error[-3000:]
    one, two = (dict(np.load(file)) for file in files.values())
    assert (one.pop("parts"), two.pop("parts")) == (1, 2)
    assert one.keys() == two.keys() and len(one) > 10
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
