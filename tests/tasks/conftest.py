"""Drawn scenes, and predictors that know the truth of each."""

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES, toy


@pytest.fixture(scope="session")
def scenes():
    return toy(seed=5, count=6, image_size=64)


@pytest.fixture(scope="session")
def truth_of(scenes):
    """From the image of a scene to its example."""
    examples = {example["image"].tobytes(): example for example in (sample.read() for sample in scenes.samples)}
    return lambda image: examples[image.tobytes()]


@pytest.fixture(scope="session")
def perfect_detector(truth_of):
    """From the names of a model's classes to a predictor that finds every object, with a score of 1."""
    from kerastransfer.tasks.detection import Detections

    def predictor(labels):
        def predict(image, *, score):
            truth = truth_of(image)
            numbers = np.array([labels.index(CLASSES[label]) for label in truth["labels"]], np.int32)
            names = tuple(labels[number] for number in numbers)
            return Detections(truth["boxes"], np.ones(len(numbers), np.float32), numbers, names, image.shape[:2])

        return predict

    return predictor


@pytest.fixture(scope="session")
def perfect_segmenter(truth_of):
    """From the names of a model's classes to a predictor that knows every pixel; what it cannot name is background."""
    from kerastransfer.tasks.segmentation import Segmentation

    def predictor(labels):
        number = np.array([labels.index(name) if name in labels else 0 for name in ("background", *CLASSES)], np.uint8)

        def predict(image):
            return Segmentation(number[truth_of(image)["segmentation"]], np.zeros(0), tuple(labels))

        return predict

    return predictor
