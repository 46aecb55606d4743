"""Graphs for prediction around a trained model, from pixels to annotations."""

import keras

from kerastransfer.codecs.layers import Decode
from kerastransfer.layers.suppress import Suppress


def candidates(detector: keras.Model, codec, image_size: tuple[int, int] | None = None) -> keras.Model:
    """From image (B, H, W, 3) to {"boxes": (B, A, 4), "scores": (B, A, K)}, before non-maximum suppression: the graph
    that is exported."""
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
    """From image (B, H, W, 3) to {"boxes": (B, M, 4), "scores": (B, M), "labels": (B, M), "count": (B,)}, M rows padded
    with zeros and label -1."""
    image = keras.Input(detector.input.shape[1:], name="image")
    suppress = Suppress(iou_threshold, score_threshold, max_detections, name="nms")
    found = suppress(Decode(codec, name="decode")(detector(image)))
    return keras.Model(image, found, name=f"{detector.name}_predictor")


def probabilities(segmenter: keras.Model, image_size: tuple[int, int] | None = None) -> keras.Model:
    """From image (B, H, W, 3) to {"segmentation": (B, H, W, K)}, probabilities: the graph that is exported."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    softmax = keras.layers.Softmax(dtype="float32", name="segmentation")
    return keras.Model(image, {"segmentation": softmax(segmenter(image))}, name=segmenter.name)


def class_probabilities(classifier: keras.Model, image_size: tuple[int, int] | None = None) -> keras.Model:
    """From image (B, H, W, 3) to {"probabilities": (B, K)}: the graph that is exported."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(image, {"probabilities": softmax(classifier(image))}, name=classifier.name)
