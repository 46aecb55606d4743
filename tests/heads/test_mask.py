"""The mask head: size, parameters, start, and what it exports to."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.export import graph
from kerastransfer.heads.mask import fcn
from kerastransfer.losses.mask import mask_loss
from kerastransfer.silence import silenced
from kerastransfer.training.terms import TermModel


def small(num_classes=3, **options):
    return fcn(6, num_classes, filters=8, convs=2, **{"pool": 4, "mask_size": 8, **options})


def rois(batch=2, number=5, pool=4, features=6, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (batch, number, pool, pool, features)).astype("float32")


def test_parameters_of_the_paper():
    head = fcn(256, 80)
    assert head.count_params() == 4 * 590_080 + 262_400 + 20_560 == 2_643_280
    assert head.name == "head" and list(head.input) == ["rois"]
    assert fcn(256, 1).count_params() == 2_643_280 - 79 * 257


@pytest.mark.parametrize(("mask_size", "kernel"), [(28, 1), (14, 2), (7, 4)])
def test_sizes(mask_size, kernel):
    head = fcn(6, 3, filters=8, convs=1, mask_size=mask_size)
    assert head.compute_output_shape({"rois": (2, 9, 14, 14, 6)}) == (2, 9, mask_size, mask_size, 3)
    logits = head({"rois": rois(number=2, pool=14)})
    assert logits.shape == (2, 2, mask_size, mask_size, 3)
    assert head.get_layer("logits").kernel.shape == (kernel, kernel, 8, 3)


def test_a_size_that_leaves_a_rest():
    with pytest.raises(ValueError, match="mask_size 10: give 28, or a whole part of it"):
        fcn(6, 3, mask_size=10)


@pytest.mark.parametrize("options", [{}, {"activation": "relu6"}, {"batch_norm": True}], ids=str)
def test_each_box_by_itself(options):
    """The mask of a box does not depend on the others, on their order or on the image they come from."""
    head, maps = small(**options), rois()
    head.get_layer("logits").kernel.assign(keras.random.normal(head.get_layer("logits").kernel.shape, seed=1))
    together = np.asarray(head({"rois": maps}))
    assert together.shape == (2, 5, 8, 8, 3) and together.std() > 0.1
    alone = np.asarray(head({"rois": maps[1:, 3:4]}))
    np.testing.assert_allclose(alone[0, 0], together[1, 3], atol=1e-5)
    assert np.abs(together[0, 0] - together[1, 3]).max() > 0.1


def test_the_start():
    """Masks of one half everywhere; activations neither die nor grow."""
    head = fcn(64, 3, filters=64)
    features = keras.Model(head.input, [head.get_layer(f"conv{number}_relu").output for number in (1, 4)])
    first, last = (np.asarray(value) for value in features({"rois": rois(pool=14, features=64)}))
    assert 0.5 < last.std() / first.std() < 2
    logits = np.asarray(head({"rois": rois(pool=14, features=64)}))
    assert logits.dtype == np.float32 and 0 < np.abs(logits).max() < 0.1


def test_activations_end_at_six_where_asked_for():
    keras.utils.set_random_seed(0)
    for activation, largest in (("relu", 60), ("relu6", 6)):
        head = small(activation=activation)
        up = keras.Model(head.input, head.get_layer(f"up_{activation}").output)
        peak = float(np.max(up({"rois": 1000 * rois()})))
        assert peak == largest if activation == "relu6" else peak > largest


def test_it_is_saved_and_loaded(tmp_path):
    head = small(batch_norm=True)
    head.save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras")
    np.testing.assert_array_equal(again({"rois": rois()}), head({"rois": rois()}))


@pytest.mark.parametrize("mask_size", [8, 4])
@pytest.mark.slow
def test_it_exports_to_builtin_operators(tmp_path, mask_size):
    head = small(mask_size=mask_size, activation="relu6")
    archive = keras.export.ExportArchive()
    archive.track(head)
    signature = [{"rois": tf.TensorSpec((1, 5, 4, 4, 6), "float32", "rois")}]
    with silenced():
        archive.add_endpoint("serve", head.call, signature)
        archive.write_out(tmp_path / "model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "model"))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    assert {"CONV_2D", "TRANSPOSE_CONV"} <= set(graph.operators(content))
    assert set(graph.operators(content)) <= set(vars(schema.BuiltinOperator)) - {"CUSTOM"}
    runner = Interpreter(model_content=content).get_signature_runner()
    maps = rois(batch=1)
    (found,) = runner(rois=maps).values()
    assert found.shape == (1, 5, mask_size, mask_size, 3)
    np.testing.assert_allclose(found, head({"rois": maps}), atol=1e-5)


@pytest.mark.slow
def test_a_compiled_step_learns_masks():
    """The left half of every box, from boxes of truth and proposals, in a step that XLA compiles."""
    random = np.random.default_rng(0)
    crops = np.zeros((4, 3, 16, 16), "uint8")
    crops[..., :8] = 255
    near = random.uniform(0, 0.5, (4, 3, 2))
    boxes = np.concatenate([near, near + random.uniform(0.2, 0.5, (4, 3, 2))], -1).astype("float32")
    labels = np.array([[0, 2, -1]] * 4, "int32")
    boxes = boxes * (labels >= 0)[..., None]
    truth = {"boxes": boxes, "labels": labels, "masks": crops, "frames": boxes}
    codec = MaskCodec(mask_size=8, most=5)

    def terms(targets, logits):
        return mask_loss(codec.encode(targets, targets["boxes"]), logits)

    model = TermModel(small(), terms, {"mask": 1.0})
    model.compile(keras.optimizers.Adam(0.02), jit_compile=True)
    data = tf.data.Dataset.from_tensors(({"rois": rois(batch=4)}, truth)).repeat()
    losses = model.fit(data, steps_per_epoch=10, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert losses[0] < np.log(2) + 0.1 and losses[-1] < 0.35
