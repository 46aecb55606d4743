"""What replicas know of each other within a training step."""

import keras
import tensorflow as tf


def everyone(rows):
    """From rows (B, D) of each replica to those of all of them (N, D), in the order of the replicas, and the number of
    the first of its own. The gradient of a row is the sum over all replicas that use it (`losses.contrastive.nt_xent`).

    On JAX a batch is already that of all devices.
    """
    context = None if keras.backend.backend() == "jax" else tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return rows, 0
    count = tf.shape(rows)[0]
    first = context.replica_id_in_sync_group * count

    @tf.custom_gradient
    def gathered(own):
        def gradient(slope):
            return context.all_reduce(tf.distribute.ReduceOp.SUM, slope)[first : first + count]

        return context.all_gather(own, axis=0), gradient

    return gathered(rows), first
