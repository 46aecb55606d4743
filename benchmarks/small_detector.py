"""The detector that the benchmarks train: YOLOv1's head on the small encoder, two boxes per cell, Darknet's loss."""

import numpy as np

NUM_CLASSES = 4
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-2


def kernel(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A convolution kernel (height, width, in, out) with He initialization."""
    return rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype("float32")


def detector_parts():
    """The detector, its loss and the weights of the terms."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import ACTIVATIONS, small_encoder
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.yolov1 import yolov1

    codec = YoloV1Codec(NUM_CLASSES, sizes="root", score="product")
    network = yolov1(small_encoder(), codec, activation=ACTIVATIONS["small"])
    return network, yolov1_loss(codec, "darknet"), WEIGHTS


def compiled(precision: str, *, plain: bool = False, jit: bool = False):
    """The detector, ready to train; its kernels are always the same. plain: use Keras's own layers and
    optimizer in place of ours."""
    import keras

    from kerastransfer.training import optimizers, strategy
    from kerastransfer.training.terms import TermModel

    strategy.prepare(precision=precision)
    network, loss, weights = detector_parts()
    if plain:
        network = keras.models.clone_model(network, clone_function=plain_layer, recursive=True)
    rng = np.random.default_rng(1)
    for layer in network.get_layer("encoder").layers + network.get_layer("head").layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(kernel(rng, layer.kernel.shape))

    model = TermModel(network, loss, weights)
    if plain:
        optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = optimizers.AdamW(WEIGHT_DECAY).build(LEARNING_RATE)
    model.compile(optimizer, jit_compile=jit)
    return model


def plain_layer(layer):
    """A copy of a layer, or the Keras layer that ours replaces."""
    import keras

    from kerastransfer.layers.batch_norm import BatchNorm

    if isinstance(layer, BatchNorm):
        return keras.layers.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon, name=layer.name)
    if isinstance(layer, keras.layers.LeakyReLU):
        return keras.layers.LeakyReLU(negative_slope=layer.negative_slope, name=layer.name)
    return layer.__class__.from_config(layer.get_config())
