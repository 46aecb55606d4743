"""A recipe over two workers, real processes on loopback: one of them killed, and all resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kerastransfer.runs import trained

FLAGS = ["--model", "small", "--data", "toy:20", "--image-size", "32", "--batch-size", "8", "--detector-epochs", "4"]


def start(environments, folder, *flags):
    """Workers of the detector recipe."""
    flags = [*FLAGS, "--no-export", "--deterministic", "--strategy", "multi_worker", *flags]
    command = [sys.executable, "-m", "kerastransfer.recipes.detector", *flags]
    return [
        subprocess.Popen(
            [*command, "--output", str(folder)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for env in environments
    ]


def ended(processes):
    """Their exit codes and what they said as errors."""
    said = [process.communicate(timeout=580)[1] for process in processes]
    return [process.returncode for process in processes], said


def weights(folder):
    from kerastransfer.training import transfer

    return transfer.weights(trained.stored(folder / "models/yolov1.keras")[0])


@pytest.mark.slow
def test_a_worker_killed_and_all_resumed_end_as_undisturbed(worker_environments, tmp_path):
    folder = tmp_path / "workers"
    workers = start(worker_environments(2), folder)
    history = folder / "history.csv"
    deadline = time.monotonic() + 400
    while not (history.exists() and "detector,1," in history.read_text()):
        assert time.monotonic() < deadline and workers[0].poll() is None, ended(workers)
        time.sleep(0.02)
    os.kill(workers[1].pid, signal.SIGKILL)
    codes, said = ended(workers)
    assert codes[0] == 2 and "another worker has ended" in said[0].splitlines()[-1], said[0][-2000:]
    assert not (folder / "metrics.json").exists()

    codes, said = ended(start(worker_environments(2), folder, "--resume"))
    assert codes == [0, 0], said
    codes, said = ended(start(worker_environments(2), tmp_path / "undisturbed"))
    assert codes == [0, 0], said
    want, got = weights(tmp_path / "undisturbed"), weights(folder)
    assert want.keys() == got.keys() and len(want) > 10
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    scores = [json.loads((path / "metrics.json").read_text())["results"] for path in (tmp_path / "undisturbed", folder)]
    assert scores[0] == scores[1] and scores[0].keys() == {"yolov1"}
    rows = history.read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["1", "2", "3", "4"]
