"""Arithmetic, layers, losses and a training step give the same on JAX."""

import pytest
from backends import needs_jax, pass_under_jax

# JAX compiles each operation for every shape, so all tests of these rooms would take many minutes. What is run of the
# largest is against an independent reference, or of the whole with its gradients, and of many combinations of options
# those in which each has two values; codecs are layers as well.
PARTS = (
    *(f"ops/test_{name}.py" for name in ("boxes", "fpn", "nms", "truths")),
    "ops/test_roi_align.py::test_equals_a_loop[0-True-mean]",
    "ops/test_roi_align.py::test_equals_a_loop[2-False-max]",
    "ops/test_roi_align.py::test_gradient_by_finite_differences",
    "ops/test_voting.py::test_equals_a_loop",
    *(f"ops/test_deformable.py::test_values_and_gradients_are_those_of_torchvision[{case}]" for case in (0, 5, 9)),
    *(f"losses/test_{name}.py" for name in ("contrastive", "pixels", "reconstruction", "volumes", "yolov1")),
    "losses/test_faster_rcnn.py::test_terms_by_hand",
    "losses/test_retinanet.py::test_terms_and_gradients_compile",
    "losses/test_yolov3.py::test_padding_changes_neither_values_nor_gradients[darknet-False]",
    "losses/test_yolov3.py::test_padding_changes_neither_values_nor_gradients[ciou-True]",
    "test_every_layer.py",
    "training/test_terms.py",
)


@pytest.mark.slow
@needs_jax
def test_parts_under_jax():
    pass_under_jax(*PARTS, least=300)
