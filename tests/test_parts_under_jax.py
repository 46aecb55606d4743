"""Arithmetic, layers, losses and a training step give the same on JAX."""

import pytest
from backends import needs_jax, pass_under_jax

# JAX compiles each operation for every shape, so the tests of codecs, which are layers as well, and most of those of
# detectors' losses would take minutes: of the latter, only those of whole losses and their gradients are run.
LOSSES = (
    *(f"losses/test_{name}.py" for name in ("contrastive", "mask", "pixels", "reconstruction", "volumes", "yolov1")),
    "losses/test_faster_rcnn.py::test_terms_by_hand",
    "losses/test_retinanet.py::test_terms_and_gradients_compile",
    "losses/test_yolov3.py::test_padding_changes_neither_values_nor_gradients",
)


@pytest.mark.slow
@needs_jax
def test_parts_under_jax():
    training = ("training/test_optimizers.py", "training/test_terms.py")
    pass_under_jax("ops", "test_every_layer.py", *LOSSES, *training, least=450)
