"""Every model gives the same on JAX."""

import pytest
from backends import needs_jax, pass_under_jax


@pytest.mark.slow
@needs_jax
def test_models_under_jax():
    pass_under_jax("test_every_model.py", least=50)
