"""Examples as a tf.data.Dataset, for scripts that have a pipeline of their own."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

# Of each field the arrays that every example with it has: their shape and type.
ARRAYS: Mapping[str, dict[str, tuple[tuple[int | None, ...], str]]] = {
    "boxes": {"boxes": ((None, 4), "float32"), "labels": ((None,), "int32")}
    | dict.fromkeys(("crowd", "difficult"), ((None,), "bool")),
    "masks": {"masks": ((None, None, None), "bool")},
    "segmentation": {"segmentation": ((None, None), "uint8")},
    "label": {"label": ((), "int32")},
}


def examples(samples: Iterable[Any]) -> "tf.data.Dataset":
    """The examples of samples, in order, each read when its turn comes: dicts of `image` (H, W, 3) uint8 and the arrays
    of the fields that all samples have. Shapes differ from example to example."""
    import tensorflow as tf

    samples = tuple(samples)
    fields = [field for field in ARRAYS if samples and all(field in sample.fields for sample in samples)]
    arrays: dict[str, tuple[tuple[int | None, ...], str]] = {"image": ((None, None, 3), "uint8")}
    for field in fields:
        arrays |= ARRAYS[field]
    signature = {name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in arrays.items()}

    def read() -> Iterator[dict[str, Any]]:
        for sample in samples:
            example = sample.read()
            yield {name: example[name] for name in arrays}

    found = tf.data.Dataset.from_generator(read, output_signature=signature)
    return found.apply(tf.data.experimental.assert_cardinality(len(samples)))
