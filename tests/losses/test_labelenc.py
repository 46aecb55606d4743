import keras
import numpy as np
import torch_reference
from harness import with_gradient

from kerastransfer.losses.labelenc import distance


def maps(seed):
    random = np.random.default_rng(seed)
    return {
        "p3": random.normal(1, 2, (2, 4, 6, 5)).astype("float32"),
        "p4": random.normal(0, 1, (2, 2, 3, 5)).astype("float32"),
    }


def test_it_is_the_mean_over_all_places_of_all_levels():
    """Each level normalized as by PyTorch; the finer one has more places, so it counts more."""
    features, codes = maps(0), maps(1)
    own, code = (torch_reference.asked("layer_norms", [*one.values()]) for one in (features, codes))
    squares = [np.square(a - b).reshape(2, -1) for a, b in zip(own, code, strict=True)]
    expected = np.concatenate(squares, axis=1).mean(1)
    np.testing.assert_allclose(np.asarray(distance(features, codes)), expected, rtol=1e-4)


def test_scale_and_shift_of_a_level_do_not_matter():
    features, codes = maps(0), maps(1)
    changed = {"p3": 3 * codes["p3"] + 2, "p4": 0.5 * codes["p4"] - 7}
    np.testing.assert_allclose(
        np.asarray(distance(features, changed)), np.asarray(distance(features, codes)), rtol=1e-3
    )
    np.testing.assert_allclose(np.asarray(distance(changed, codes)), 0, atol=1e-4)


def test_no_gradient_flows_into_the_codes():
    given = {"own": maps(0)["p3"], "code": maps(1)["p3"]}
    step = with_gradient(lambda x: (keras.ops.sum(distance({"p3": x["own"]}, {"p3": x["code"]})), None))
    _, gradient = step({name: keras.ops.convert_to_tensor(value) for name, value in given.items()})
    assert np.asarray(gradient["own"]).any() and not np.asarray(gradient["code"]).any()
