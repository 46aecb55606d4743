import numpy as np
import pytest

from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.encoders.resnet import resnet18
from kerastransfer.models import faster_rcnn, retinanet
from kerastransfer.models.head_features import head_features
from kerastransfer.models.parts import feed

# As in the table of Li et al. 2019: a 224 x 224 image has 14 x 14 positions there.
SIDE = 224


@pytest.fixture(scope="module")
def network():
    codec = faster_rcnn.faster_rcnn_codec(3)
    return faster_rcnn.faster_rcnn(resnet18(), codec, channels=16, hidden=24, proposals=8)


@pytest.mark.slow
def test_features_are_what_the_branch_makes_of_the_whole_image(network):
    images = np.random.default_rng(0).uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")
    found = {name: np.asarray(values) for name, values in head_features(network)(images).items()}
    assert {name: values.shape for name, values in found.items()} == {
        "proj": (2, 14, 14, 16),
        "fc1": (2, 24),
        "fc2": (2, 24),
    }
    maps = feed(network.get_layer("decoder"), network.get_layer("encoder")(images))
    maps = {name: np.asarray(values) for name, values in maps.items()}
    np.testing.assert_allclose(found["proj"], maps["p4"], atol=1e-4)

    # The index of p4 among the maps that boxes are pooled from.
    boxes, level = np.tile(np.float32([0, 0, 1, 1]), (2, 1, 1)), np.full((2, 1), 2, "int32")
    branch = network.get_layer("branch")
    said = feed(branch, {**maps, "boxes": boxes, "levels": level})
    weights, bias = branch.get_layer("box_head").get_layer("box_classes").get_weights()
    np.testing.assert_allclose(found["fc2"] @ weights + bias, said["classes"][:, 0], atol=1e-4)
    weights, bias = branch.get_layer("box_head").get_layer("dense2").get_weights()
    np.testing.assert_allclose(np.maximum(found["fc1"] @ weights + bias, 0), found["fc2"], atol=1e-4)


def test_a_detector_of_one_stage_has_no_such_head():
    codec = retinanet_codec(3, retinanet.LEVELS)
    assert head_features(retinanet.retinanet(resnet18(), codec, channels=16, towers=1)) is None
