"""Inspects and edits the graph in a .tflite file."""

import os
from collections.abc import Set
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
LEARNT = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}


def operators(file: bytes | str | os.PathLike) -> list[str]:
    """Sorted names of the operators in a .tflite file (its path or its content): builtin ones as in the schema
    ("CONV_2D"), others as "CUSTOM:name"."""
    content = file if isinstance(file, bytes) else Path(file).read_bytes()
    return sorted({_name(code) for code in schema.ModelT.InitFromPackedBuf(content).operatorCodes})


def outputs(content: bytes, operator: str) -> list[str]:
    """Names of the tensors that operators of this kind produce."""
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    chosen = [op for op in graph.operators if _name(model.operatorCodes[op.opcodeIndex]) == operator]
    return [name for op in chosen for name in _made(graph, op)]


def tail(content: bytes, *, with_last: bool = False) -> list[str]:
    """Names of the tensors that are produced after the last operators with learnt weights, on every path: those that
    convert raw predictions to boxes and scores, or to probabilities.

    with_last: include the tensors that these last operators produce.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    feeds_learnt, found = set(), []
    # A file lists its operators in the order in which they run.
    for operator in reversed(graph.operators):
        feeds = not feeds_learnt.isdisjoint(operator.outputs)
        learnt = _is_learnt(model, operator)
        if learnt or feeds:
            feeds_learnt.update(operator.inputs)
        if not feeds and (with_last or not learnt):
            found += _made(graph, operator)
    return found


def decoding(content: bytes, output: str) -> list[str]:
    """Names of the tensors from the raw predictions that `output` is decoded from to the next learnt weights, or to the
    end: those that the last operators with learnt weights before `output` produce, and those that are computed from
    them without learnt weights."""
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    (signature,) = model.signatureDefs
    (wanted,) = (one.tensorIndex for one in signature.outputs if one.name.decode() == output)
    before, reached, found = {wanted}, set(), []
    for operator in reversed(graph.operators):
        if before.isdisjoint(operator.outputs):
            continue
        if _is_learnt(model, operator):
            reached.update(operator.outputs)
            found += _made(graph, operator)
        else:
            before.update(operator.inputs)
    for operator in graph.operators:
        if not reached.isdisjoint(operator.inputs) and not _is_learnt(model, operator):
            reached.update(operator.outputs)
            found += _made(graph, operator)
    return found


def without_ranges(content: bytes, kept: Set[str]) -> bytes:
    """A calibrated file without the ranges of those tensors in `kept` that nothing else reads.

    The quantiser identifies operators to keep in float32 by the name of the tensor that they produce, which does not
    work for operators that produce several tensors, such as TOPK_V2; but it skips operators without ranges.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    read = {index for op in graph.operators if not kept.issuperset(_made(graph, op)) for index in op.inputs}
    for index, tensor in enumerate(graph.tensors):
        if tensor.name.decode() in kept and index not in read:
            tensor.quantization = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _is_learnt(model: schema.ModelT, operator: schema.OperatorT) -> bool:
    return _name(model.operatorCodes[operator.opcodeIndex]) in LEARNT


def _made(graph: schema.SubGraphT, operator: schema.OperatorT) -> list[str]:
    return [graph.tensors[index].name.decode() for index in operator.outputs]


def _name(code: schema.OperatorCodeT) -> str:
    # The deprecated field only holds numbers below 127.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return f"CUSTOM:{code.customCode.decode()}" if number == schema.BuiltinOperator.CUSTOM else NAMES[number]
