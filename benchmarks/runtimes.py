"""The contestants of inference.py: nets in several runtimes, and the machine's fastest matrix products."""

import importlib.util
import json
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rounds import MissingError, cpu_seconds

from kerastransfer.errors import UserError

# Number of rows and columns of the matrices whose product gives the machine's rate.
MATRIX = 2048
# {type: libraries that compute the product}
PRODUCTS = {
    "float32": ("numpy", "TensorFlow", "PyTorch"),
    "bfloat16": ("TensorFlow", "PyTorch"),
    "int8": ("LiteRT", "PyTorch"),
}
# {runtime: the type that it computes in}
TYPES = {
    "LiteRT float32": "float32",
    "LiteRT float16": "float32",
    "LiteRT int8": "int8",
    "Keras tf.function": "float32",
    "Keras XLA": "float32",
    "PyTorch": "float32",
    "PyTorch compiled": "float32",
    "PyTorch bfloat16": "bfloat16",
    "ONNX Runtime": "float32",
}


def prepare(contestant: str, folder: Path, threads: int) -> tuple[dict, Callable[[int], dict]]:
    """The first report of a contestant, and a function that runs it. contestant: a runtime, or a type and the library
    that multiplies matrices of this type."""
    # NumPy and PyTorch read these when they are imported.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if contestant not in TYPES:
        kind, name = contestant.split()
        operations, call = PRODUCT[name](kind, folder, threads)
        return {"operations": operations}, timed(call)

    import numpy as np

    expected = dict(np.load(folder / "expected.npz"))
    try:
        outputs, call = RUN[contestant](folder, expected.pop("image"), threads)
    except UserError as error:
        raise MissingError(str(error)) from error
    shapes = [{name: values[name].shape for name in sorted(values)} for values in (outputs, expected)]
    if shapes[0] != shapes[1]:
        raise MissingError(f"it returns {shapes[0]} where the .keras file returns {shapes[1]}")
    difference = max(float(np.abs(outputs[name] - expected[name]).max()) for name in expected)
    return {"difference": difference}, timed(call)


def timed(call: Callable[[], object]) -> Callable[[int], dict]:
    """A function that times several runs of `call`, after one that brings its data back into the caches."""

    def run(steps):
        call()
        cpu, taken = cpu_seconds(), []
        for _ in range(steps):
            started = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - started))
        return {
            "milliseconds": statistics.median(taken),
            "cpu_milliseconds": 1000 * (cpu_seconds() - cpu) / steps,
        }

    return run


def matrices():
    import numpy as np

    rng = np.random.default_rng(0)
    return [rng.normal(size=(MATRIX, MATRIX)).astype("float32") for _ in range(2)]


def numpy_product(kind, folder, threads):
    import numpy as np

    a, b = matrices()
    out = np.empty_like(a)
    return 2 * MATRIX**3, lambda: np.matmul(a, b, out=out)


def tensorflow_product(kind, folder, threads):
    tf = tensorflow(threads)
    a, b = (tf.cast(matrix, kind) for matrix in matrices())
    return 2 * MATRIX**3, lambda: tf.linalg.matmul(a, b).numpy()


def torch_product(kind, folder, threads):
    import torch

    torch.set_num_threads(threads)
    if kind == "int8":
        a, b = (torch.randint(-128, 128, (MATRIX, MATRIX), dtype=torch.int8) for _ in range(2))
        return 2 * MATRIX**3, lambda: torch._int_mm(a, b)
    a, b = (torch.from_numpy(matrix).to(getattr(torch, kind)) for matrix in matrices())
    out = torch.empty_like(a)
    return 2 * MATRIX**3, lambda: torch.mm(a, b, out=out)


def litert_product(kind, folder, threads):
    import numpy as np

    interpreter, detail = litert(folder / "int8.tflite", threads)
    interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    count = json.loads((folder / "int8.json").read_text())["multiply_adds"]
    return 2 * count, interpreter.invoke


def litert(path, threads):
    """An interpreter that is ready to run, and the details of its input."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (detail,) = interpreter.get_input_details()
    return interpreter, detail


def tensorflow(threads):
    """TensorFlow with this number of threads."""
    import tensorflow as tf

    from kerastransfer.runs.command_line import import_keras

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    import_keras()
    return tf


def run_litert(kind):
    def run(folder, image, threads):
        from kerastransfer.export.predictor import Predictor, quantised

        outputs = Predictor(folder / f"{kind}.tflite", threads).outputs(image)
        interpreter, detail = litert(folder / f"{kind}.tflite", threads)
        interpreter.set_tensor(detail["index"], quantised(image, detail)[None])
        return outputs, interpreter.invoke

    return run


def run_keras(jit):
    def run(folder, image, threads):
        tf = tensorflow(threads)
        from kerastransfer.export.portable import in_float32
        from kerastransfer.runs import trained

        model, _ = trained.exported(json.loads((folder / "model.json").read_text())["model"])
        model = in_float32(model)
        compiled = tf.function(lambda pixels: model(pixels, training=False), jit_compile=jit)
        pixels = tf.constant(image[None], tf.float32)

        def call():
            return {name: value.numpy()[0] for name, value in compiled(pixels).items()}

        return call(), call

    return run


def run_torch(kind="float32", compiled=False):
    def run(folder, image, threads):
        import torch

        torch.set_num_threads(threads)
        network = torch_network(folder).to(getattr(torch, kind), memory_format=torch.channels_last)
        # Channels stay last in memory.
        pixels = torch.from_numpy(image[None]).to(getattr(torch, kind)).permute(0, 3, 1, 2)
        forward = compiled_torch(network, pixels) if compiled else network

        def call():
            with torch.inference_mode():
                return forward(pixels)

        return by_name(network, (value.numpy() for value in call())), call

    return run


def torch_network(folder):
    from torch_graph import Network

    return Network(pickle.loads((folder / "graph.pickle").read_bytes()))


def by_name(network, outputs):
    """{name: value} of the outputs for an image, with channels last, as in Keras."""
    return {
        name: value[0].transpose(1, 2, 0) if value.ndim == 4 else value[0]
        for name, value in zip(network.names, outputs, strict=True)
    }


def compiled_torch(network, pixels):
    """torch.compile with the weights as constants. Raises MissingError if it cannot compile."""
    import torch
    import torch._inductor.config

    # With frozen weights it can choose the memory layout that suits the convolutions.
    torch._inductor.config.freezing = True
    forward = torch.compile(network)
    try:
        with torch.inference_mode():
            forward(pixels)
    # A missing compiler, missing headers of Python and so on raise different types of errors.
    except Exception as error:
        raise MissingError(f"torch.compile: {first_line(error)}") from error
    return forward


def run_onnx(folder, image, threads):
    import numpy as np
    import onnx  # noqa: F401  the export needs it
    import onnxruntime
    import torch

    network = torch_network(folder)
    pixels = torch.from_numpy(image[None]).float().permute(0, 3, 1, 2).contiguous()
    with tempfile.TemporaryDirectory() as temporary:
        path = str(Path(temporary) / "net.onnx")
        names = {"input_names": ["image"], "output_names": network.names}
        # PyTorch's newer exporter needs onnxscript.
        by_export = importlib.util.find_spec("onnxscript") is not None
        try:
            with torch.no_grad():
                torch.onnx.export(network, (pixels,), path, dynamo=by_export, **names)
        except Exception as error:
            raise MissingError(f"torch.onnx.export: {first_line(error)}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    pixels = np.ascontiguousarray(pixels.numpy())

    def call():
        return session.run(network.names, {"image": pixels})

    return by_name(network, call()), call


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]


PRODUCT = {
    "numpy": numpy_product,
    "TensorFlow": tensorflow_product,
    "PyTorch": torch_product,
    "LiteRT": litert_product,
}
RUN = {
    "LiteRT float32": run_litert("float32"),
    "LiteRT float16": run_litert("float16"),
    "LiteRT int8": run_litert("int8"),
    "Keras tf.function": run_keras(jit=False),
    "Keras XLA": run_keras(jit=True),
    "PyTorch": run_torch(),
    "PyTorch compiled": run_torch(compiled=True),
    "PyTorch bfloat16": run_torch("bfloat16"),
    "ONNX Runtime": run_onnx,
}
