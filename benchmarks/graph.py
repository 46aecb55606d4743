"""A Keras model as a flat list of steps: to count its multiply-adds, and to build the same net elsewhere."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """One layer, called once. Tensors have numbers; the image is 0.

    layer: the name of its class. config, weights: as Keras gives them. shapes, output_shapes: of what it reads and
    gives, the batch first.
    """

    layer: str
    config: dict[str, Any]
    weights: list[np.ndarray]
    inputs: list[int]
    outputs: list[int]
    shapes: list[Shape]
    output_shapes: list[Shape]


@dataclasses.dataclass(frozen=True)
class Graph:
    """Steps in the order in which they run; outputs: {name: tensor}."""

    steps: list[Step]
    outputs: dict[str, int]


def flatten(model, image_shape: Shape) -> Graph:
    """The layers of a functional model, those of its parts included, for images (B, H, W, 3) of `image_shape`."""
    import keras

    tree = keras.tree
    steps, numbers = [], {}
    image = keras.KerasTensor(image_shape, name="image")
    numbers[id(image)] = 0
    alive = [image]  # an id is a tensor's own only while it lives

    def recorded(operation):
        def call(*arguments, **keywords):
            if isinstance(operation, keras.Model):
                return operation._run_through_graph(arguments[0], operation_fn=recorded)
            given = operation.compute_output_spec(*arguments, **keywords)
            read, made = tree.flatten(arguments), tree.flatten(given)
            for tensor in made:
                numbers[id(tensor)] = len(alive)
                alive.append(tensor)
            steps.append(
                Step(
                    layer=type(operation).__name__,
                    config=operation.get_config(),
                    weights=operation.get_weights(),
                    inputs=[numbers[id(tensor)] for tensor in read],
                    outputs=[numbers[id(tensor)] for tensor in made],
                    shapes=[tuple(tensor.shape) for tensor in read],
                    output_shapes=[tuple(tensor.shape) for tensor in made],
                )
            )
            return given

        return call

    outputs = model._run_through_graph(image, operation_fn=recorded)
    outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
    return Graph(steps, {name: numbers[id(tensor)] for name, tensor in outputs.items()})


def multiply_adds(steps: Sequence[Step]) -> int:
    """Products of a weight and a value: of convolutions, plain, transposed and locally connected, and dense layers.

    All else (batch norm, activations, decoding) is not counted, as is usual; products with the zeros of a padding are.
    Raises ValueError for another layer with weights.
    """
    total = 0
    for step in steps:
        if step.layer == "BatchNorm" or not step.weights:
            continue
        kernel, (batch, *read), (_, *made) = step.weights[0], step.shapes[0], step.output_shapes[0]
        if step.layer == "Conv2D":  # the kernel stands once at each place of the output, and
            places = made[:2]
        elif step.layer == "Conv2DTranspose":  # at each place of the input
            places = read[:2]
        elif step.layer == "Dense":
            places = made[:-1]
        elif step.layer == "LocallyConnected":  # a kernel for each place
            places = ()
        else:
            raise ValueError(f"no rule counts the multiply-adds of a layer {step.layer}: add it here")
        total += batch * int(np.prod(places, dtype=int)) * kernel.size
    return total
