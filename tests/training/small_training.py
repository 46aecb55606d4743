"""20 steps of a small net with all that a recipe trains with: batch norm, AdamW, averaged weights, augmented batches.

    python small_training.py OUTPUT.npz STRATEGY [CHECKPOINT [DIE_AT_STEP]]

A program for tests of strategies, which need a process for each worker. The first worker writes the weights and the
losses. DIE_AT_STEP: the last worker kills itself after so many steps.
"""

import os
import signal
import sys

import numpy as np

from kerastransfer.runs import command_line


def main(output, name, checkpoint=None, die_at="0"):
    from kerastransfer.training import strategy

    strategy.join(name)
    import keras
    from keras import ops

    from kerastransfer.data.decoded import Decoded
    from kerastransfer.data.pipeline import evaluation_batches, training_batches
    from kerastransfer.data.transforms import Augmentation
    from kerastransfer.data.views import augmented
    from kerastransfer.layers.blocks import conv_bn
    from kerastransfer.training import callbacks, transfer

    class Die(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == int(die_at):
                os.kill(os.getpid(), signal.SIGKILL)

    def terms(targets, out):
        marked = ops.mean(ops.cast(targets["segmentation"], "float32"), (1, 2))
        square = ops.square(out[:, 0] - marked)
        return {"square": square, "pair": (square * marked, marked)}  # the workers' shares are marked unequally

    def batches(share):
        view = augmented(Augmentation())
        return training_batches(images, size=(8, 8), batch_size=4, view=view, seed=2, first_epoch=first, share=share)

    def to_validate(share):
        few = Decoded(images.names[:6], {name: values[:6] for name, values in images.arrays.items()})
        return evaluation_batches(few, size=(8, 8), batch_size=4, share=share)

    strategy.prepare(seed=5)
    random = np.random.default_rng(0)
    arrays = {
        "image": random.integers(0, 256, (20, 12, 12, 3), "uint8"),
        "segmentation": random.integers(0, 2, (20, 12, 12), "uint8"),
    }
    images = Decoded(tuple(map(str, range(20))), arrays)
    index, workers = strategy.worker(name)
    best = callbacks.Validation()
    first, around = 0, [callbacks.StopOnNonFinite(checkpoint or ""), best]
    with strategy.scope(name):
        image = keras.Input((8, 8, 3), name="image")
        x = conv_bn(keras.layers.Rescaling(1 / 255)(image), 4, 3, 2, name="a")
        x = conv_bn(x, 4, 3, name="b")
        out = keras.layers.Dense(1, name="out")(keras.layers.GlobalAveragePooling2D()(x))
        network = keras.Model(image, out, name="n")
        values = np.random.default_rng(1)
        network.set_weights([values.uniform(0.1, 0.5, w.shape) for w in network.weights])
        model = strategy.model(
            name, network, terms, {"square": 1.0, "pair": lambda step: ops.where(step < 7, 0.0, 1.0)}
        )
        optimizer = keras.optimizers.AdamW(1e-2, use_ema=True, ema_momentum=0.9)
        model.compile(optimizer, jit_compile=strategy.compiled(False))
        if checkpoint:
            resume = callbacks.Resume(checkpoint, model, others=[best], writes=index == 0)
            first = resume.first_epoch
            around.append(resume)
        if index == workers - 1:
            around.append(Die())
        fitted = model.fit(
            strategy.distributed(name, batches),
            epochs=4,
            initial_epoch=first,
            steps_per_epoch=5,
            shuffle=False,
            verbose=0,
            validation_data=strategy.distributed(name, to_validate),
            callbacks=around,
        )
    best.put_back(network)
    strategy.barrier(name)
    if index == 0:
        keys = ("loss", "val_loss", "val_pair")
        history = {key: [row[key] for row in resume.rows] if checkpoint else fitted.history[key] for key in keys}
        np.savez(output, **history, best=best.best_epoch, parts=strategy.parts(name), **transfer.weights(network))


if __name__ == "__main__":
    with command_line.one_line_errors():
        main(*sys.argv[1:])
