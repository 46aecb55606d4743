"""JAX: two devices of one process, and two processes on loopback of which one is killed and all resumed, end with the
weights of one device at the same batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from backends import needs_jax

pytestmark = needs_jax
PROGRAM = Path(__file__).with_name("small_training.py")


def started(environment, *arguments):
    command = [sys.executable, PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes):
    """Their exit codes and what they said as errors."""
    said = [process.communicate(timeout=240)[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.slow
def test_devices_and_processes_end_with_the_weights_of_one_device(jax_environments, tmp_path):
    files = {name: tmp_path / f"{name}.npz" for name in ("one", "devices", "processes")}
    alone, two_devices = jax_environments(1)[0], jax_environments(1, devices=2)[0]
    checkpoint = tmp_path / "checkpoint.npz"
    workers = ("data_parallel", checkpoint)

    killed = [started(each, files["processes"], *workers, 12) for each in jax_environments(2)]
    codes, said = ended(killed)
    assert codes == [2, -9] and "another worker has ended" in said[0].splitlines()[-1], said
    assert checkpoint.exists() and not files["processes"].exists()

    finished = [started(each, files["processes"], *workers) for each in jax_environments(2)]
    codes, said = ended(finished)
    assert codes == [0, 0], said
    codes, said = ended([started(alone, files["one"], "none"), started(two_devices, files["devices"], *workers[:1])])
    assert codes == [0, 0], said

    one, devices, processes = (dict(np.load(file)) for file in files.values())
    assert [int(found.pop("parts")) for found in (one, devices, processes)] == [1, 2, 2]
    assert one.keys() == devices.keys() == processes.keys() and len(one) > 10
    for name, value in one.items():
        np.testing.assert_allclose(devices[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(processes[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
