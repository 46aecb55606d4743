"""A recipe over two JAX processes on loopback, to the report."""

import json
import subprocess
import sys

import numpy as np
import pytest
from backends import needs_jax

from kerastransfer.data import datasets, splits
from kerastransfer.runs import trained
from kerastransfer.tasks import detection

FLAGS = [
    "--model",
    "small",
    "--data",
    "toy:20",
    "--image-size",
    "16",
    "--batch-size",
    "8",
    "--detector-epochs",
    "2",
    "--no-export",
]


@pytest.mark.slow
@needs_jax
def test_a_recipe_over_two_processes(jax_environments, tmp_path):
    command = [sys.executable, "-m", "kerastransfer.recipes.detector", *FLAGS]
    command += ["--strategy", "data_parallel", "--output", str(tmp_path / "run")]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for environment in jax_environments(2)
    ]
    said = [process.communicate(timeout=580) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "report.html" in said[0][0] and "report.html" not in said[1][0]
    written = json.loads((tmp_path / "run/metrics.json").read_text())["results"]["yolov1"]
    predictor = trained.open_predictor(tmp_path / "run/models/yolov1.keras")
    _, test = splits.split(datasets.load("toy:20"), "every_fifth", ("boxes",))
    scores = detection.score(predictor.predict, test, predictor.about.labels).metrics
    # The kept model, on TensorFlow now, has the scores that the run wrote on JAX.
    for name, value in scores.items():
        np.testing.assert_allclose(np.nan if written[name] is None else written[name], value, atol=1e-3, err_msg=name)
    rows = (tmp_path / "run/history.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["1", "2"]
