"""The colours of SimCLR's views (Chen et al. 2020, appendix A): jitter, grey images and blur."""

import tensorflow as tf

from kerastransfer.data.views import Recolour

# Probabilities of a change of colours, of a grey image, and of blur.
JITTER, GREY_IMAGE, BLUR = 0.8, 0.2, 0.5
# Smallest and largest standard deviation of the blur, in pixels.
SIGMAS = 0.1, 2.0


def simclr_colours(strength: float = 1.0) -> Recolour:
    """Images (B, H, W, 3) in 0..255 in other colours, blurred, or as they are.

    strength: 1 multiplies brightness, contrast and saturation by 0.2 to 1.8 and turns the hue by up to a fifth of the
        colour wheel either way. The four follow each other in a random order, which is the same for a whole batch,
        and values are clipped after each; all else is drawn for each image. The blur reaches over a tenth of the image.
    """

    def recolour(images, seed, share=(0, 1)):
        u = _draw(images, (7,), seed, share)
        images = images / 255.0
        change = 1 + 0.8 * strength * (2 * u[:, :3] - 1)
        turn = 0.2 * strength * (2 * u[:, 3] - 1)
        # Without the jitter, all factors are neutral.
        jittered = u[:, 4] < JITTER
        change = tf.maximum(tf.where(jittered[:, None], change, 1.0), 0.0)
        turn = tf.where(jittered, turn, 0.0)
        steps = (
            lambda x: x * _wide(change[:, 0]),
            lambda x: _contrast(x, _wide(change[:, 1])),
            lambda x: _saturated(x, change[:, 2], tf.zeros_like(turn)),
            lambda x: _saturated(x, tf.ones_like(turn), turn),
        )
        order = tf.argsort(tf.random.stateless_uniform((4,), seed + 1))
        for place in range(4):
            chosen = [lambda step=step, x=images: tf.clip_by_value(step(x), 0.0, 1.0) for step in steps]
            images = tf.switch_case(order[place], chosen)
        images = tf.where(_wide(u[:, 5] < GREY_IMAGE), tf.image.rgb_to_grayscale(images), images)
        return 255.0 * tf.clip_by_value(_blurred(images, u[:, 6] < BLUR, seed + 2, share), 0.0, 1.0)

    return recolour


def _draw(images, shape, seed, share):
    """(B, *shape) uniform numbers: the part of a share of what all shares together draw."""
    part, parts = share
    count = images.shape[0]
    return tf.random.stateless_uniform((count * parts, *shape), seed)[part * count : (part + 1) * count]


def _wide(values):
    return values[:, None, None, None]


def _contrast(images, factor):
    mean = tf.reduce_mean(images, (1, 2), keepdims=True)
    return mean + factor * (images - mean)


def _saturated(images, factor, turn):
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(images), axis=-1)
    hue = tf.math.floormod(hue + turn[:, None, None], 1.0)
    saturation = tf.clip_by_value(saturation * factor[:, None, None], 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], -1))


def _blurred(images, chosen, seed, share):
    """Blurred along both axes by products with a band of weights for each image; an image that is not chosen has the
    band of the identity."""
    low, high = SIGMAS
    sigma = low + (high - low) * _draw(images, (), seed, share)

    def band(size, reach):
        apart = tf.cast(tf.abs(tf.range(size)[:, None] - tf.range(size)[None]), "float32")
        weights = tf.exp(-tf.square(apart) / (2 * tf.square(sigma)[:, None, None]))
        weights = tf.where(apart <= tf.cast(reach, "float32"), weights, 0.0)
        weights = weights / tf.reduce_sum(weights, -1, keepdims=True)
        return tf.where(chosen[:, None, None], weights, tf.eye(size))

    height, width = tf.shape(images)[1], tf.shape(images)[2]
    reach = height // 10 // 2
    images = tf.einsum("bij,bjwc->biwc", band(height, reach), images)
    return tf.einsum("bij,bhjc->bhic", band(width, reach), images)
