"""Non-maximum suppression inside a graph."""

import keras

from kerastransfer.ops import nms


@keras.saving.register_keras_serializable(package="kerastransfer")
class Suppress(keras.layers.Layer):
    """From all candidates, {"boxes": (B, A, 4), "scores": (B, A, K)}, to the detections that remain after greedy
    suppression, {"boxes": (B, M, 4), "scores": (B, M), "labels": (B, M), "count": (B,)}; with `numbered` also
    "candidates" (B, M) (`ops.nms.non_max_suppression`).

    All suppression in graphs uses this layer, so that `export.portable` can replace it with a device's own operator.
    """

    choose = staticmethod(nms.greedy)

    def __init__(
        self, iou_threshold: float, score_threshold: float, max_detections: int, *, numbered: bool = False, **kwargs
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.options = {
            "iou_threshold": iou_threshold,
            "score_threshold": score_threshold,
            "max_detections": max_detections,
            "numbered": numbered,
        }

    def call(self, found):
        return nms.non_max_suppression(found["boxes"], found["scores"], choose=self.choose, **self.options)

    def compute_output_spec(self, found):
        batch = found["boxes"].shape[0]
        rows = (batch, self.options["max_detections"])
        spec = {
            "boxes": keras.KerasTensor((*rows, 4), "float32"),
            "scores": keras.KerasTensor(rows, "float32"),
            "labels": keras.KerasTensor(rows, "int32"),
            "count": keras.KerasTensor((batch,), "int32"),
        }
        return {**spec, "candidates": keras.KerasTensor(rows, "int32")} if self.options["numbered"] else spec

    def get_config(self):
        return {**super().get_config(), **self.options}
