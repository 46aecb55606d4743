"""Graphs for prediction, around a trained model: pixels in, annotations out."""

import keras

from kerastransfer.ops.nms import non_max_suppression


@keras.saving.register_keras_serializable(package="kerastransfer")
class Decode(keras.layers.Layer):
    """Raw predictions to {"boxes": (B, A, 4), "scores": (B, A, K)} by a codec."""

    def __init__(self, codec, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.codec = codec

    def call(self, predictions):
        boxes, scores = self.codec.decode(predictions)
        return {"boxes": boxes, "scores": scores}

    def get_config(self):
        return {**super().get_config(), "codec": keras.saving.serialize_keras_object(self.codec)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "codec": keras.saving.deserialize_keras_object(config["codec"])})


@keras.saving.register_keras_serializable(package="kerastransfer")
class Suppress(keras.layers.Layer):
    """{"boxes", "scores"} of all candidates to the detections that greedy NMS leaves (`ops.nms`)."""

    def __init__(self, iou_threshold: float, score_threshold: float, max_detections: int, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.options = {
            "iou_threshold": iou_threshold,
            "score_threshold": score_threshold,
            "max_detections": max_detections,
        }

    def call(self, candidates):
        return non_max_suppression(candidates["boxes"], candidates["scores"], **self.options)

    def get_config(self):
        return {**super().get_config(), **self.options}


def candidates(detector: keras.Model, codec, image_size: tuple[int, int] | None = None) -> keras.Model:
    """Image (B, H, W, 3) to {"boxes": (B, A, 4), "scores": (B, A, K)} before suppression: what is exported."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    return keras.Model(image, Decode(codec, name="decode")(detector(image)), name=detector.name)


def predictor(
    detector: keras.Model,
    codec,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.001,
    max_detections: int = 100,
) -> keras.Model:
    """Image (B, H, W, 3) to {"boxes": (B, M, 4), "scores": (B, M), "labels": (B, M), "count": (B,)}, M rows padded
    with zeros and label -1."""
    image = keras.Input(detector.input.shape[1:], name="image")
    suppress = Suppress(iou_threshold, score_threshold, max_detections, name="nms")
    found = suppress(Decode(codec, name="decode")(detector(image)))
    return keras.Model(image, found, name=f"{detector.name}_predictor")


def probabilities(segmenter: keras.Model, image_size: tuple[int, int] | None = None) -> keras.Model:
    """Image (B, H, W, 3) to {"segmentation": (B, H, W, K)} softmax: the graph that is exported."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    softmax = keras.layers.Softmax(dtype="float32", name="segmentation")
    return keras.Model(image, {"segmentation": softmax(segmenter(image))}, name=segmenter.name)


def class_probabilities(classifier: keras.Model, image_size: tuple[int, int] | None = None) -> keras.Model:
    """Image (B, H, W, 3) to {"probabilities": (B, K)} softmax: the graph that is exported."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(image, {"probabilities": softmax(classifier(image))}, name=classifier.name)
