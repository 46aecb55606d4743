"""Batch normalization that is trained with TensorFlow's fused kernel, and that can be frozen in two ways."""

import keras


@keras.saving.register_keras_serializable(package="kerastransfer")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization over the last axis of (B, H, W, D) or, for volumes, (B, D, H, W, C), by default with the
    momentum and epsilon of Darknet.

    Keras computes the statistics with separate operations; TensorFlow's fused kernel does the same in one operation,
    and keeps bfloat16 inputs in bfloat16. On other backends this is the Keras layer.

    A frozen layer (`trainable=False`) normalizes with its moving statistics and does not change them. With `drift=True`
    only scale and offset are frozen: in training the layer normalizes with the statistics of the batch and updates its
    moving statistics (which is what happens if gradients are switched off in training mode).

    With several replicas the statistics are those of the whole batch, so that training is the same as with one.

    The moving variance is unbiased (n / (n - 1)) on TensorFlow, as in PyTorch and Darknet, and biased elsewhere.
    """

    def __init__(self, *, momentum: float = 0.99, epsilon: float = 1e-5, drift: bool = False, **kwargs):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)
        self.drift = drift

    def call(self, inputs, training=None, mask=None):
        if keras.backend.backend() != "tensorflow" or len(inputs.shape) not in (4, 5):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        if len(inputs.shape) == 5:
            # The fused kernel takes four axes; which voxels are neighbours does not matter to it.
            shape = tf.shape(inputs)
            planes = tf.reshape(inputs, (shape[0], shape[1], shape[2] * shape[3], inputs.shape[-1]))
            return tf.ensure_shape(tf.reshape(self.call(planes, training=training), shape), inputs.shape)
        batch_statistics = bool(training) and (self.trainable or self.drift)
        replica = tf.distribute.get_replica_context()
        if batch_statistics and replica is not None and replica.num_replicas_in_sync > 1:
            return self._over_replicas(inputs, replica)
        normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, "float32"),
            offset=tf.cast(self.beta, "float32"),
            mean=tf.cast(self.moving_mean, "float32"),
            variance=tf.cast(self.moving_variance, "float32"),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum,
            is_training=batch_statistics,
        )
        if batch_statistics:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return normalised

    def _over_replicas(self, inputs, replica):
        """Normalize with the statistics of the whole batch, of which each replica has an equal part; the fused kernel
        only sees its own part."""
        import tensorflow as tf

        x = tf.cast(inputs, "float32")
        own = tf.stack([tf.reduce_mean(x, (0, 1, 2)), tf.reduce_mean(tf.square(x), (0, 1, 2))])
        mean, square = tf.unstack(replica.all_reduce(tf.distribute.ReduceOp.MEAN, own))
        variance = tf.maximum(square - tf.square(mean), 0.0)
        count = tf.cast(tf.size(x) / tf.size(mean) * replica.num_replicas_in_sync, "float32")
        unbiased = variance * count / tf.maximum(count - 1, 1.0)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            moving.assign(tf.cast(moving, "float32") * self.momentum + value * (1.0 - self.momentum))
        out = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(out, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "drift": self.drift}
