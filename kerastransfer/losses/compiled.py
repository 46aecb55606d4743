"""Losses for `model.compile`."""

import keras

from kerastransfer.losses.pixels import cross_entropy, soft_dice


@keras.saving.register_keras_serializable(package="kerastransfer")
class PixelLoss(keras.losses.Loss):
    """Cross-entropy plus Dice loss for segmenters, from classes (B, H, W), 255 being void, and logits (B, H, W, K).

    dice: weight of the Dice loss; 0 leaves it out.
    """

    def __init__(self, dice: float = 1.0, name: str = "pixel_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.dice = dice

    def call(self, y_true, y_pred):
        values = cross_entropy(y_true, y_pred)
        return values + self.dice * soft_dice(y_true, y_pred) if self.dice else values

    def get_config(self):
        return {**super().get_config(), "dice": self.dice}
