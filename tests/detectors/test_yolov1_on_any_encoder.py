"""The head of YOLOv1 on an encoder from a file."""

import numpy as np
import pytest

from kerastransfer.detectors import yolov1
from kerastransfer.detectors.detector import Purpose
from kerastransfer.encoders.resnet import resnet18
from kerastransfer.errors import UserError
from kerastransfer.training import transfer


@pytest.mark.slow
def test_it_keeps_the_weights_of_the_encoder():
    given = resnet18()
    purpose = Purpose(("a", "b", "c"), 64, None, encoder=lambda source: given)
    built = yolov1.build(yolov1.Settings(encoder="encoder.keras"), "small", purpose)
    network = built.build()
    assert (built.stride, built.loaded) == (32, ("encoder",))
    assert network.output.shape[-1] == built.codec.outputs
    assert network(np.zeros((1, 64, 64, 3), "float32")).shape[1:3] == (2, 2)
    before, after = (transfer.weights(one) for one in (given, network.get_layer("encoder")))
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"--net.head paper_fc is for the encoders of the papers"):
        yolov1.Settings(encoder="encoder.keras", head="paper_fc")
    purpose = Purpose(("a",), 48, None, encoder=lambda source: resnet18())
    with pytest.raises(UserError, match="--image-size 48 is not a multiple of 32, the largest stride of encoder"):
        yolov1.build(yolov1.Settings(encoder="encoder.keras"), "small", purpose)
