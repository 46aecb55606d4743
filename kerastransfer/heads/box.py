"""The head that classifies and refines boxes (Faster R-CNN with a feature pyramid, Lin et al. 2017, section 4.2)."""

import keras


def two_layers(
    channels: int, num_classes: int, *, pool: int = 7, hidden: int = 1024, name: str = "box_head"
) -> keras.Model:
    """From {"rois": (B, N, P, P, D)} to {"classes": (B, N, 1 + K), "boxes": (B, N, 4 * K)}: logits, background first,
    and differences for each class; two dense layers of `hidden` units before."""
    rois = keras.Input((None, pool, pool, channels), name="rois")
    x = keras.layers.Reshape((-1, pool * pool * channels), name="flat")(rois)
    for number in (1, 2):
        x = keras.layers.Dense(hidden, activation="relu", name=f"dense{number}")(x)
    found = {}
    # Raw predictions are float32.
    for output, count, deviation in (("classes", 1 + num_classes, 0.01), ("boxes", 4 * num_classes, 0.001)):
        start = keras.initializers.RandomNormal(stddev=deviation)
        found[output] = keras.layers.Dense(count, kernel_initializer=start, dtype="float32", name=f"box_{output}")(x)
    return keras.Model({"rois": rois}, found, name=name)
