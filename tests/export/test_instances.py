"""Pixels to boxes, scores, labels, masks and count in one file."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from kerastransfer.export import graph, parity, tflite
from kerastransfer.export.keras_predictor import KerasPredictor
from kerastransfer.export.predictor import Predictor
from kerastransfer.tasks import instances, pairing

# The network is exported in three precisions.
pytestmark = pytest.mark.slow

SIZE = (64, 96)
BUILTIN = set(vars(schema.BuiltinOperator)) - {"CUSTOM"}
BLACK = np.zeros((*SIZE, 3), np.uint8)
STRONG = 0.3


@pytest.fixture(scope="module")
def reference(instance_network, instance_files):
    return KerasPredictor(instance_network, Predictor(instance_files["float32"]).about)


@pytest.fixture(scope="module")
def expected(reference, drawn):
    found = [reference.outputs(picture) for picture in drawn]
    assert min(int(one["count"]) for one in found) >= 3, "otherwise there is little to compare"
    assert len({label for one in found for label in one["labels"][: int(one["count"])]}) > 1
    return found


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_builtin_operators_and_outputs_by_name(instance_files, kind):
    operators = graph.operators(instance_files[kind])
    assert set(operators) <= BUILTIN
    assert "NON_MAX_SUPPRESSION_V4" in operators and "WHILE" not in operators
    interpreter = Interpreter(model_path=str(instance_files[kind]))
    (signature,) = interpreter.get_signature_list().values()
    assert signature == {"inputs": ["image"], "outputs": ["boxes", "count", "labels", "masks", "scores"]}
    runner = interpreter.get_signature_runner()
    whole, real = np.int32, np.float32
    kinds = {"boxes": real, "scores": real, "labels": whole, "masks": real, "count": whole}
    assert {name: detail["dtype"] for name, detail in runner.get_output_details().items()} == kinds
    found = runner(image=BLACK[None].astype(runner.get_input_details()["image"]["dtype"]))
    shapes = {"boxes": (1, 30, 4), "scores": (1, 30), "labels": (1, 30), "masks": (1, 30, 28, 28), "count": (1,)}
    assert {name: value.shape for name, value in found.items()} == shapes


def test_float32_says_what_keras_says(instance_files, expected, drawn):
    predictor = Predictor(instance_files["float32"])
    for picture, wanted in zip(drawn, expected, strict=True):
        got = predictor.outputs(picture)
        assert got["count"] == wanted["count"]
        rows = list(pairing.pairs(wanted, got, STRONG))
        assert len(rows) == wanted["count"]
        mine, theirs = np.array(rows).T
        for name in ("boxes", "scores", "masks"):
            np.testing.assert_allclose(got[name][theirs], wanted[name][mine], atol=1e-4)
        assert wanted["masks"][mine].std() > 0.1, "masks that are flat prove nothing"


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_files_are_within_the_tolerances(instance_files, expected, drawn, kind):
    path = instance_files[kind]
    about = Predictor(path).about
    record = parity.compared(path, kind, about, drawn, expected, None, None, instances.TOLERANCES[kind])
    assert record.passed, record.reason
    assert set(record.differences) == {"boxes", "scores", "masks"}
    strong = sum(int((one["scores"] >= STRONG).sum()) for one in expected)
    assert record.unpaired["detections"] == strong > 12
    if kind == "float32":
        assert record.unpaired["missing"] == record.unpaired["extra"] == 0


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_a_picture_of_nothing(instance_files, reference, kind):
    assert reference.outputs(BLACK)["count"] == 0
    predictor = Predictor(instance_files[kind])
    got = predictor.outputs(BLACK)
    assert got["count"] == 0
    assert (got["labels"] == -1).all()
    assert not any(got[name].any() for name in ("boxes", "scores", "masks"))  # and no NaN, which is something
    prediction = predictor.predict(BLACK, score=0.0)
    assert prediction.masks.shape == (0, *SIZE)
    assert prediction.summary() == []
    np.testing.assert_array_equal(predictor.draw(BLACK, prediction), BLACK)


def test_what_int8_holds_in_float32(instance_files):
    """Raw predictions, their decoding and the weights of RoIAlign; not the trunk, nor what draws the masks."""
    content = instance_files["int8"].read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content)
    tensors = model.subgraphs[0].tensors
    float32, int8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
    names = [graph._name(code) for code in model.operatorCodes]
    convolutions = {}
    for operator in model.subgraphs[0].operators:
        kind = names[operator.opcodeIndex]
        if kind == "CONV_2D":
            out = tensors[operator.outputs[0]]
            convolutions[out.name.decode()] = tensors[operator.inputs[0]].type
        if kind in ("NON_MAX_SUPPRESSION_V4", "EXP", "BATCH_MATMUL", "LOGISTIC", "TOPK_V2"):
            assert tensors[operator.inputs[0]].type == float32
    in_float = {name for name, kind in convolutions.items() if kind == float32}
    assert len(in_float) == 2 and all("head" in name for name in in_float)
    assert {kind for name, kind in convolutions.items() if name not in in_float} == {int8}
    assert len(convolutions) == 4 + 2 + 2 + 3 + 3, "trunk, before the raw predictions, these, laterals, masks"


def test_the_file_draws_what_keras_draws(instance_files, reference, photos):
    predictor = Predictor(instance_files["float32"])
    for photo in photos[2:5]:
        got, wanted = predictor.predict(photo), reference.predict(photo)
        assert got.names == wanted.names and len(got.names) > 0
        assert got.masks.shape == (len(got.names), *photo.shape[:2])
        np.testing.assert_allclose(got.boxes, wanted.boxes, atol=1e-4)
        assert np.mean(got.masks == wanted.masks) > 0.999
        drawn = np.asarray(predictor.draw(photo, got))
        painted = (drawn != photo).any(axis=-1)
        assert painted[got.masks.any(axis=0)].mean() > 0.9
