"""Writes the segmented photos of the 17 Category Flower Dataset (Nilsback and Zisserman 2007) in a layout that --data
reads: images/ and masks/, with flower 1, background 0, and unlabelled pixels and seams void.

    python benchmarks/flowers17.py FROM TO

FROM holds images_256/ and labels_256/, photos of 256 x 256 pixels and the indices of their trimaps.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import PIL.Image

FLOWER, BACKGROUND, VOID = 1, 3, 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FROM")
    parser.add_argument("target", type=Path, metavar="TO")
    given = parser.parse_args()
    for name in ("images", "masks"):
        (given.target / name).mkdir(parents=True)
    (given.target / "classes.txt").write_text("background\nflower\n", encoding="utf-8")
    for path in sorted((given.source / "labels_256").glob("*.png")):
        labels = np.asarray(PIL.Image.open(path))
        mask = np.full(labels.shape, VOID, np.uint8)
        mask[labels == FLOWER], mask[labels == BACKGROUND] = 1, 0
        PIL.Image.fromarray(mask).save(given.target / "masks" / path.name)
        shutil.copy(given.source / "images_256" / f"{path.stem}.jpg", given.target / "images")


if __name__ == "__main__":
    main()
