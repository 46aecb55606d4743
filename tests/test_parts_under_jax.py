"""Arithmetic, codecs, losses, layers and a training step give the same on JAX."""

import pytest
from backends import needs_jax, pass_under_jax


@pytest.mark.slow
@needs_jax
def test_parts_under_jax():
    training = ("training/test_optimizers.py", "training/test_terms.py")
    pass_under_jax("ops", "codecs", "losses", "test_every_layer.py", *training, least=100)
