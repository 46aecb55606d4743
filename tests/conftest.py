"""What every test shares: real photos where they are present, two logical CPUs, one seed."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos; tests that need it are skipped for those who do not have it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real photos are not here: {SHARED_DATA} is missing")
    return SHARED_DATA
