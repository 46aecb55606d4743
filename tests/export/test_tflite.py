import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

from kerastransfer.errors import UserError
from kerastransfer.export import graph, tflite
from kerastransfer.export.predictor import Predictor

SIZE = (64, 96)
BUILTIN = set(vars(schema.BuiltinOperator)) - {"CUSTOM"}


def outputs(network, image):
    return {name: np.asarray(value)[0] for name, value in network(image[None].astype(np.float32)).items()}


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize(("kind", "largest"), [("float32", 1e-5), ("float16", 5e-3), ("int8", 0.05)])
def test_files_say_what_keras_says(networks, exported, image, task, kind, largest):
    expected, got = outputs(networks[task], image), Predictor(exported[task, kind]).outputs(image)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=largest)


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_builtin_operators_only(exported, kind):
    for task in ("detection", "segmentation"):
        found = graph.operators(exported[task, kind])
        assert "CONV_2D" in found
        assert set(found) <= BUILTIN
        assert graph.operators(exported[task, kind].read_bytes()) == found


def test_the_interface_of_the_files(exported):
    for (_, kind), path in exported.items():
        interpreter = Interpreter(model_path=str(path))
        (entry,) = interpreter.get_input_details()
        assert entry["shape"].tolist() == [1, *SIZE, 3]
        assert entry["shape_signature"].tolist() == [1, *SIZE, 3]
        assert entry["dtype"] == (np.uint8 if kind == "int8" else np.float32)
        if kind == "int8":  # a pixel is its own quantised value
            assert entry["quantization"] == (1.0, 0)
        (signature,) = interpreter.get_signature_list().values()
        assert signature["inputs"] == ["image"]
        assert {detail["dtype"] for detail in interpreter.get_output_details()} == {np.float32}


def test_int8_keeps_scores_apart(networks, exported, image):
    scores = Predictor(exported["detection", "int8"]).outputs(image)["scores"]
    expected = outputs(networks["detection"], image)["scores"]
    assert len(np.unique(scores)) > 60
    assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.99


def test_int8_computes_in_whole_numbers_up_to_the_tail(exported):
    model = schema.ModelT.InitFromPackedBuf(exported["segmentation", "int8"].read_bytes())
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        kind = tensors[operator.inputs[0]].type
        if code == schema.BuiltinOperator.CONV_2D:
            assert kind == schema.TensorType.INT8
        if code == schema.BuiltinOperator.SOFTMAX:
            assert kind == schema.TensorType.FLOAT32


def test_sums_of_shortcuts_stay_in_float32(drawn):
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(8, 3, 2, activation="relu6")(layers.Rescaling(1 / 255)(image))
    for _ in range(2):
        x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", activation="relu6")(x)])
    network = keras.Model(image, {"segmentation": layers.Softmax()(layers.Conv2D(2, 1)(x))})
    content = tflite.convert(network, (32, 32), "int8", drawn)
    model = schema.ModelT.InitFromPackedBuf(content)
    kinds = {tensor.name.decode(): tensor.type for tensor in model.subgraphs[0].tensors}
    sums = graph.outputs(content, "ADD")
    assert len(sums) == 2 and {kinds[name] for name in sums} == {schema.TensorType.FLOAT32}
    convolutions = [op for op in model.subgraphs[0].operators if op.opcodeIndex == _code(model, "CONV_2D")]
    weights = {model.subgraphs[0].tensors[op.inputs[1]].type for op in convolutions}
    assert len(convolutions) == 4 and weights == {schema.TensorType.INT8}


def _code(model, operator):
    (index,) = (i for i, code in enumerate(model.operatorCodes) if graph._name(code) == operator)
    return index


def test_the_tail_begins_behind_the_last_weights_of_every_path():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(2, 1)(image)
    model = keras.Model(image, {"a": ops.sigmoid(x), "b": layers.Conv2D(2, 1)(ops.tanh(x))})
    content = tflite.convert(model, (8, 8))
    types = {tensor.name.decode() for tensor in schema.ModelT.InitFromPackedBuf(content).subgraphs[0].tensors}
    (only,) = graph.tail(content)
    assert only in types  # the sigmoid; the tanh feeds a convolution


@pytest.mark.slow
def test_decoding_lies_between_raw_predictions_and_the_next_weights():
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(4, 1, activation="relu", name="shared")(image)
    raw = layers.Conv2D(4, 1, name="raw")(shared)
    boxes = ops.sigmoid(raw)
    masks = layers.Conv2D(2, 1, name="masks")(shared * ops.tanh(boxes))
    model = keras.Model(image, {"boxes": boxes, "masks": ops.exp(masks)})
    content = tflite.convert(model, (8, 8))
    described = schema.ModelT.InitFromPackedBuf(content)
    made = {
        described.subgraphs[0].tensors[op.outputs[0]].name.decode(): graph._name(
            described.operatorCodes[op.opcodeIndex]
        )
        for op in described.subgraphs[0].operators
    }
    assert sorted(made.values()) == ["CONV_2D"] * 3 + ["EXP", "LOGISTIC", "MUL", "TANH"]
    found = graph.decoding(content, "boxes")
    assert sorted(made[name] for name in found) == ["CONV_2D", "LOGISTIC", "MUL", "TANH"]
    assert not set(found) & set(graph.tail(content)), "what follows the masks' weights"


def test_one_hot_decoding_survives_int8(drawn):
    """Quantised itself, LiteRT's ONE_HOT gives 0.5 for 0, and what it chooses among is mixed with the rest."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="image")
    raw = layers.Conv2D(10, 8, 8)(layers.Rescaling(1 / 255)(image))
    raw = ops.reshape(raw, (-1, 16, 2, 5))
    best = ops.one_hot(ops.top_k(raw[..., 0], 1)[1][..., 0], 2)
    boxes = ops.sum(ops.expand_dims(best, -1) * (raw[..., 1:] + 10), axis=-2)
    model = keras.Model(image, {"boxes": boxes, "scores": raw[..., 0]})
    file = Interpreter(model_content=tflite.convert(model, (32, 32), "int8", drawn)).get_signature_runner()
    got = file(image=np.ascontiguousarray(drawn[0][None, :32, :32]))
    expected = outputs(model, drawn[0][:32, :32])
    apart = np.abs(expected["scores"][:, 0] - expected["scores"][:, 1]) > 0.05  # no close call
    assert apart.sum() > 4
    np.testing.assert_allclose(got["boxes"][0][apart], expected["boxes"][apart], atol=0.05)


def test_mixed_precision_is_exported_in_float32(image):
    entry = keras.Input((*SIZE, 3), name="image")
    x = layers.Conv2D(8, 3, dtype="mixed_bfloat16")(layers.Rescaling(1 / 255)(entry))
    model = keras.Model(entry, {"segmentation": layers.Softmax(dtype="float32")(x)})
    content = tflite.convert(model, SIZE)
    assert set(graph.operators(content)) <= BUILTIN
    got = Interpreter(model_content=content).get_signature_runner()(image=image[None].astype(np.float32))
    np.testing.assert_allclose(got["segmentation"][0], outputs(model, image)["segmentation"], atol=0.02)


def test_foreign_operators_are_named(capfd):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, {"output": ops.erfinv(image / 300)}, name="odd")
    with pytest.raises(UserError, match=r"'odd'.* Erfinv;") as error:
        tflite.convert(model, (8, 8))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_bad_calls(networks):
    with pytest.raises(UserError, match="int8 needs calibration images"):
        tflite.convert(networks["detection"], SIZE, "int8")
    with pytest.raises(ValueError, match="int4"):
        tflite.convert(networks["detection"], SIZE, "int4")


@pytest.mark.slow
def test_the_converter_is_silent(networks, drawn, capfd):
    tflite.convert(networks["detection"], SIZE, "int8", drawn[:1])
    assert capfd.readouterr() == ("", "")
