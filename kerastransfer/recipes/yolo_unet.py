"""Only the U-Net decoder on a detector's encoder: `yolo_segnet` with --decoders unet.

python -m kerastransfer.recipes.yolo_unet --data DIR/PennFudanPed
"""

import dataclasses

from kerastransfer.recipes import yolo_segnet
from kerastransfer.runs import command_line, grid


@dataclasses.dataclass
class Config(yolo_segnet.Config):
    """Train a detector on boxes, freeze its encoder, and train a U-Net decoder on it with masks."""

    decoders: tuple[str, ...] = ("unet",)
    """Decoders to train: without skip connections (`segnet`), with them (`unet`), without them but with as many
    weights as the U-Net (`segnet_matched`), and with two convolutions at each size (`unet_plain`); DeepLab's two
    convolutions on the last tap (`deeplab`), and its pyramid of dilated ones (`deeplab_aspp`)."""


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return grid.over_seeds("yolo_unet", config, yolo_segnet.once)


if __name__ == "__main__":
    command_line.run(main, Config)
