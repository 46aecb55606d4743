"""A Keras model as a flat list of steps, for counting its multiply-adds and for building the same net elsewhere."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """A call of a layer. Tensors are identified by numbers; the image is 0.

    layer: the name of its class. config, weights: as returned by Keras. shapes, output_shapes: those of its inputs and
    outputs, batch first.
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
    """steps: in the order in which they run. outputs: {name: tensor}."""

    steps: list[Step]
    outputs: dict[str, int]


def flatten(model, image_shape: Shape) -> Graph:
    """The layers of a functional model, including those of its parts, for images of `image_shape` (B, H, W, 3)."""
    import keras

    tree = keras.tree
    steps, numbers = [], {}
    image = keras.KerasTensor(image_shape, name="image")
    numbers[id(image)] = 0
    # Tensors are kept alive, because an id is unique only while its object exists.
    alive = [image]

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
    """The number of products of a weight and a value, in convolutions (plain, transposed and locally connected) and
    dense layers.

    Other operations (batch normalization, activations, decoding) are not counted, as is usual; products with zeros of a
    padding are. Raises ValueError for other layers with weights.
    """
    total = 0
    for step in steps:
        if step.layer == "BatchNorm" or not step.weights:
            continue
        kernel, (batch, *read), (_, *made) = step.weights[0], step.shapes[0], step.output_shapes[0]
        if step.layer == "Conv2D":
            # The kernel is applied once at each position of the output.
            places = made[:2]
        elif step.layer == "Conv2DTranspose":
            # The kernel is applied once at each position of the input.
            places = read[:2]
        elif step.layer == "Dense":
            places = made[:-1]
        elif step.layer == "LocallyConnected":
            # The weights include a kernel for each position.
            places = ()
        else:
            raise ValueError(f"there is no rule for the multiply-adds of a layer {step.layer}; add it here")
        total += batch * int(np.prod(places, dtype=int)) * kernel.size
    return total
