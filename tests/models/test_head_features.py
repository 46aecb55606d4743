import numpy as np
import pytest

from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.encoders.resnet import resnet18
from kerastransfer.models import faster_rcnn, retinanet
from kerastransfer.models.head_features import head_features
from kerastransfer.models.parts import feed


@pytest.fixture(scope="module")
def network():
    codec = faster_rcnn.faster_rcnn_codec(3)
    return faster_rcnn.faster_rcnn(resnet18(), codec, channels=16, hidden=24, proposals=8)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "level", "places"), [(224, 4, 14), (128, 3, 16)])
def test_features_are_what_the_branch_makes_of_the_whole_image(network, side, level, places):
    """At 224 pixels 14 x 14 places are read, as in the table of Li et al. 2019."""
    images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype("float32")
    found = {name: np.asarray(values) for name, values in head_features(network, (side, side))(images).items()}
    assert {name: values.shape for name, values in found.items()} == {
        "proj": (2, places, places, 16),
        "fc1": (2, 24),
        "fc2": (2, 24),
    }
    maps = feed(network.get_layer("decoder"), network.get_layer("encoder")(images))
    maps = {name: np.asarray(values) for name, values in maps.items()}
    np.testing.assert_allclose(found["proj"], maps[f"p{level}"], atol=1e-4)

    # As the detector itself pools a box of the whole image.
    boxes = np.tile(np.float32([0, 0, 1, 1]), (2, 1, 1))
    levels = np.asarray(faster_rcnn.faster_rcnn_codec(3).levels(boxes, (side, side)))
    branch = network.get_layer("branch")
    said = feed(branch, {**maps, "boxes": boxes, "levels": levels})
    weights, bias = branch.get_layer("box_head").get_layer("box_classes").get_weights()
    np.testing.assert_allclose(found["fc2"] @ weights + bias, said["classes"][:, 0], atol=1e-4)
    weights, bias = branch.get_layer("box_head").get_layer("dense2").get_weights()
    np.testing.assert_allclose(np.maximum(found["fc1"] @ weights + bias, 0), found["fc2"], atol=1e-4)


def test_a_detector_of_one_stage_has_no_such_head():
    codec = retinanet_codec(3, retinanet.LEVELS)
    assert head_features(retinanet.retinanet(resnet18(), codec, channels=16, towers=1), (224, 224)) is None
