"""RoIAlign against hand-computed cases, a loop over samples of the definition (Mask R-CNN, He et al. 2017, section 3)
and torchvision."""

import math

import detection_references as references
import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.ops.roi_align import roi_align

SIZE = (9, 12)


def pooled(features, boxes, size, **options):
    """For arrays (H, W, D) and (N, 4), boxes in pixels of the map."""
    height, width = features.shape[:2]
    fractions = (boxes / np.array([height, width] * 2)).astype("float32")
    out = roi_align(ops.convert_to_tensor(features[None]), ops.convert_to_tensor(fractions[None]), size, **options)
    return ops.convert_to_numpy(out)[0]


def looped(features, box, size, *, sampling_ratio=2, aligned=True, reduce="mean"):
    """One box, sample by sample."""
    offset = 0.5 if aligned else 0.0
    starts, steps, samples = [], [], []
    for axis in (0, 1):
        near, far = box[axis] - offset, box[axis + 2] - offset
        side = far - near if aligned else max(far - near, 1.0)
        starts.append(near)
        steps.append(side / size[axis])
        samples.append(sampling_ratio or math.ceil(side / size[axis]))
    out = np.zeros((*size, features.shape[2]))
    for i in range(size[0]):
        for j in range(size[1]):
            values = []
            for a in range(samples[0]):
                for b in range(samples[1]):
                    y = starts[0] + (i + (a + 0.5) / samples[0]) * steps[0]
                    x = starts[1] + (j + (b + 0.5) / samples[1]) * steps[1]
                    values.append(bilinear(features, y, x))
            if values:
                out[i, j] = np.mean(values, 0) if reduce == "mean" else np.max(values, 0)
    return out


def bilinear(features, y, x):
    height, width = features.shape[:2]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(features.shape[2])
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = math.floor(y), math.floor(x)
    if top >= height - 1:
        top, y = height - 1, height - 1.0
    if left >= width - 1:
        left, x = width - 1, width - 1.0
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = y - top, x - left
    upper = features[top, left] * (1 - along) + features[top, right] * along
    lower = features[bottom, left] * (1 - along) + features[bottom, right] * along
    return upper * (1 - down) + lower * down


def some_features(size=SIZE, depth=3, seed=0):
    return np.random.default_rng(seed).normal(-0.5, 1, (*size, depth)).astype("float32")


def some_boxes(number=12, size=SIZE, seed=1):
    """Inside, partly and wholly outside, thinner than a pixel, and several times as large as the map."""
    random = np.random.default_rng(seed)
    corners = random.uniform(-0.4, 1.4, (number, 2, 2)) * np.array(size)
    ends = np.sort(corners, axis=1).reshape(number, 4)
    special = [[2.2, 3.1, 2.3, 9.7], [-30.3, -21.7, 41.9, 55.1], [3.3, -90.7, 5.2, 30.2], [20.1, 3, 26.3, 8]]
    return np.concatenate([ends, special])


@pytest.mark.parametrize(("aligned", "first", "step"), [(True, [4.5, 5, 5.5, 6], 2.5), (False, [7.5, 8, 8.5, 9], 2.5)])
def test_the_five_by_five_of_detectron(aligned, first, step):
    features = np.arange(25, dtype="float32").reshape(5, 5, 1)
    expected = np.array(first) + step * np.arange(4)[:, None]
    for sampling_ratio in (0, 1):
        got = pooled(features, np.array([[1, 1, 3, 3]]), 4, sampling_ratio=sampling_ratio, aligned=aligned)
        np.testing.assert_allclose(got[0, ..., 0], expected, atol=1e-5)


def test_two_bins_with_two_samples():
    features = np.arange(36, dtype="float32").reshape(6, 6, 1)
    box = np.array([[1.25, 0.5, 5.5, 4.0]])  # Mask R-CNN writes (x1, y1, x2, y2)
    np.testing.assert_allclose(pooled(features, box, 2)[0, ..., 0], [[11.75, 13.5], [24.5, 26.25]], atol=1e-5)


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_equals_a_loop(sampling_ratio, aligned, reduce):
    features, boxes = some_features(), some_boxes()
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned, "reduce": reduce}
    got = pooled(features, boxes, (2, 3), **options)
    expected = [looped(features, box, (2, 3), **options) for box in boxes]
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.ptp(expected) > 1


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_every_image_has_its_own_boxes(sampling_ratio, reduce):
    features = np.stack([some_features(seed=seed) for seed in range(3)])
    boxes = np.stack([some_boxes(3, seed=seed) for seed in range(3)])
    options = {"sampling_ratio": sampling_ratio, "reduce": reduce}
    fractions = (boxes / np.array([*SIZE, *SIZE])).astype("float32")
    got = roi_align(ops.convert_to_tensor(features), ops.convert_to_tensor(fractions), 3, **options)
    assert got.shape == (3, 7, 3, 3, 3)
    for image in range(3):
        alone = pooled(features[image], boxes[image], 3, **options)
        np.testing.assert_allclose(ops.convert_to_numpy(got[image]), alone, atol=1e-5)


def test_bins_of_whole_pixels_average_them():
    """A box on pixel borders, bins of 2 x 3 pixels: the mean of each, even where fractions round (a third of 30)."""
    features = some_features((6, 30))
    got = pooled(features, np.array([[2, 10, 6, 22]]), (2, 4), sampling_ratio=0)
    expected = features[2:6, 10:22].reshape(2, 2, 4, 3, 3).mean((1, 3))
    np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_half_the_map_and_half_the_box_give_the_same():
    features = some_features((30, 30))
    half = features.reshape(15, 2, 15, 2, 3).mean((1, 3))  # what bilinear resizing to a half is
    whole_box, half_box = np.array([[10, 10, 20, 20]]), np.array([[5, 5, 10, 10]])
    got = pooled(features, whole_box, 5, sampling_ratio=0)
    np.testing.assert_allclose(got, pooled(half, half_box, 5, sampling_ratio=0), atol=1e-4)


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_inside_out_is_the_mirror_image(sampling_ratio, reduce):
    features, boxes = some_features(), some_boxes()
    options = {"sampling_ratio": sampling_ratio, "reduce": reduce}
    straight = pooled(features, boxes, 4, **options)
    np.testing.assert_allclose(pooled(features, boxes[:, [0, 3, 2, 1]], 4, **options), straight[:, :, ::-1], atol=1e-4)
    np.testing.assert_allclose(pooled(features, boxes[:, [2, 1, 0, 3]], 4, **options), straight[:, ::-1], atol=1e-4)


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("aligned", [True, False])
def test_padding_samples_the_corner_or_nothing(aligned, reduce):
    features, nothing = some_features(), np.zeros((2, 4))
    options = {"aligned": aligned, "reduce": reduce}
    for sampling_ratio in (0, 2):
        got = pooled(features, nothing, 3, sampling_ratio=sampling_ratio, **options)
        expected = looped(features, nothing[0], (3, 3), sampling_ratio=sampling_ratio, **options)
        np.testing.assert_allclose(got[1], expected, atol=1e-5)


def test_samples_end_a_pixel_outside():
    """The far sides of a pixel around the map still count; a little further does not."""
    features = np.ones((4, 4, 1), "float32")
    for centre, expected in ((-0.51, 0), (-0.49, 1), (4.49, 1), (4.51, 0)):
        box = np.array([[centre - 0.1, 1, centre + 0.1, 2]])  # one bin, one sample: at the box's centre
        got = pooled(features, box, 1, sampling_ratio=1)
        assert got.item() == pytest.approx(expected), centre


def test_the_older_form_is_that_of_a_box_half_a_pixel_on():
    features, boxes = some_features(), np.array([[1.0, 2, 4, 7], [0.2, 3.3, 6.1, 9.9]])
    old = pooled(features, boxes, 3, aligned=False)
    np.testing.assert_allclose(old, pooled(features, boxes + 0.5, 3), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weighs_in_float32(dtype):
    """On a map of coordinates as large as half precision still tells apart, the error is that of the result alone."""
    size = (64, 64)
    features = np.broadcast_to(np.arange(64, dtype="float32")[:, None, None], (*size, 1))
    boxes = np.array([[[0.111, 0.222, 0.777, 0.888]]], "float32")
    half = roi_align(ops.cast(ops.convert_to_tensor(features[None]), dtype), ops.convert_to_tensor(boxes), 4)
    assert keras.backend.standardize_dtype(half.dtype) == dtype
    full = roi_align(ops.convert_to_tensor(features[None]), ops.convert_to_tensor(boxes), 4)
    got, expected = ops.convert_to_numpy(ops.cast(half, "float32")), ops.convert_to_numpy(full)
    np.testing.assert_allclose(got, expected, rtol={"float16": 2e-3, "bfloat16": 1.6e-2}[dtype])


def gradient(features, boxes, weights, **options):
    """Of sum(weights * roi_align) to the features, on the backend of this run."""

    def total(values):
        return ops.sum(weights * roi_align(values, boxes, 2, **options))

    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(total))(features))
    tf = pytest.importorskip("tensorflow")

    @tf.function(jit_compile=True)
    def compiled(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            out = total(values)
        return tape.gradient(out, values)

    return compiled(tf.constant(features)).numpy()


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.slow
def test_gradient_by_finite_differences(sampling_ratio, reduce):
    """Compiled. Maximum and mean are linear between ties, so that a difference of any small step is exact."""
    size = (4, 3)
    features = some_features(size, 2)[None]
    boxes = np.array([[[0.1, 0.2, 0.9, 0.8], [-0.3, -0.2, 0.4, 1.3], [0, 0, 0, 0]]], "float32")
    random = np.random.default_rng(2)
    weights = random.normal(0, 1, (1, 3, 2, 2, 2)).astype("float32")
    options = {"sampling_ratio": sampling_ratio, "reduce": reduce}
    got = gradient(features, boxes, weights, **options)
    pixels = boxes[0] * np.array([*size, *size])

    def total(values):
        pairs = zip(pixels, weights[0], strict=True)
        return sum(np.sum(own * looped(values, box, (2, 2), **options)) for box, own in pairs)

    step = 1e-4
    for place in np.ndindex(features.shape[1:]):
        change = np.zeros(features.shape[1:])
        change[place] = step
        slope = (total(features[0] + change) - total(features[0] - change)) / (2 * step)
        assert got[(0, *place)] == pytest.approx(slope, abs=2e-3), place


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.slow
def test_compiled_equals_eager(sampling_ratio, reduce):
    features, boxes = some_features()[None], (some_boxes()[None] / np.array([*SIZE, *SIZE])).astype("float32")
    options = {"sampling_ratio": sampling_ratio, "reduce": reduce}

    def align(features, boxes):
        return roi_align(features, boxes, 3, **options)

    if keras.backend.backend() == "jax":
        import jax

        compiled = [jax.jit(align)]
    else:
        tf = pytest.importorskip("tensorflow")
        unknown = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, 4))]
        compiled = [tf.function(align, jit_compile=True), tf.function(align, input_signature=unknown)]
    expected = ops.convert_to_numpy(align(ops.convert_to_tensor(features), ops.convert_to_tensor(boxes)))
    for function in compiled:
        np.testing.assert_allclose(np.asarray(function(features, boxes)), expected, atol=1e-4)


def test_wrong_options_are_named():
    features, boxes = ops.zeros((1, 2, 2, 1)), ops.zeros((1, 1, 4))
    with pytest.raises(ValueError, match=r"'median'.*mean"):
        roi_align(features, boxes, 2, reduce="median")
    with pytest.raises(ValueError, match="sampling_ratio -1"):
        roi_align(features, boxes, 2, sampling_ratio=-1)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_it_is_that_of_torchvision(aligned, sampling_ratio):
    features, boxes = references.roi_align_inputs().values()
    found = pooled(features[0], boxes, 4, sampling_ratio=sampling_ratio, aligned=aligned)
    expected = references.expected("roi_align")[f"{'aligned' if aligned else 'older'} {sampling_ratio}"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (found == 0).all((1, 2, 3)).any() and (found != 0).any()
