"""Writes the segmented photos of the 17 Category Flower Dataset (Nilsback and Zisserman 2007) in a layout that --data
reads: images/ and masks/, with flower 1, background 0, and unlabelled pixels and seams void.

    python benchmarks/flowers17.py FROM TO
    python benchmarks/flowers17.py FROM TO --species

FROM holds images_256/ and labels_256/, photos of 256 x 256 pixels and the indices of their trimaps. With --species, TO
has a folder of photos for each species instead, by the numbers of the photos: 80 of each.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import PIL.Image

FLOWER, BACKGROUND, VOID = 1, 3, 255
PHOTOS_OF_A_SPECIES = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FROM")
    parser.add_argument("target", type=Path, metavar="TO")
    parser.add_argument("--species", action="store_true")
    given = parser.parse_args()
    if given.species:
        by_species(given.source, given.target)
    else:
        with_masks(given.source, given.target)


def by_species(source: Path, target: Path) -> None:
    for path in sorted((source / "images_256").glob("image_*.jpg")):
        species = (int(path.stem.removeprefix("image_")) - 1) // PHOTOS_OF_A_SPECIES + 1
        folder = target / f"species_{species:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)


def with_masks(source: Path, target: Path) -> None:
    for name in ("images", "masks"):
        (target / name).mkdir(parents=True)
    (target / "classes.txt").write_text("background\nflower\n", encoding="utf-8")
    for path in sorted((source / "labels_256").glob("*.png")):
        labels = np.asarray(PIL.Image.open(path))
        mask = np.full(labels.shape, VOID, np.uint8)
        mask[labels == FLOWER], mask[labels == BACKGROUND] = 1, 0
        PIL.Image.fromarray(mask).save(target / "masks" / path.name)
        shutil.copy(source / "images_256" / f"{path.stem}.jpg", target / "images")


if __name__ == "__main__":
    main()
