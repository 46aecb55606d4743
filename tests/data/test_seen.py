"""Images that the check has decoded are not decoded again."""

import numpy as np
import PIL.Image
import pytest

from kerastransfer.data import datasets, derive, reading
from kerastransfer.data.decoded import decode
from kerastransfer.data.seen import Seen

SIZE = (24, 24)
COUNT = 6


@pytest.fixture
def folder(tmp_path):
    """Photos of two sizes, one of them turned by its EXIF orientation, each with a mask of two classes."""
    random = np.random.default_rng(0)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for number in range(COUNT):
        height, width = (40, 60) if number % 2 else (50, 30)
        photo = PIL.Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        mask = np.zeros((height, width), np.uint8)
        mask[5:20, 5:25] = 1
        mask[22:, 3:12] = 2
        if number == 3:
            mask = np.rot90(mask, -1)
        for part, image in (("images", photo), ("masks", PIL.Image.fromarray(mask))):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            where = tmp_path / "data" / part / f"{number}.png"
            image.save(where, **({"exif": exif} if number == 3 and part == "images" else {}))
    return tmp_path / "data"


@pytest.fixture
def decodes(monkeypatch):
    """The images that are decoded."""
    names = []
    read_photo = reading.read_photo

    def counted(source):
        names.append(source.name)
        return read_photo(source)

    monkeypatch.setattr(reading, "read_photo", counted)
    return names


def loaded(folder, seen):
    return derive.require(datasets.load(folder, seen=seen), "boxes", "masks", "segmentation")


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("fields", [("segmentation",), ("boxes", "masks"), ("boxes",)])
def test_an_image_is_decoded_once_and_what_is_kept_is_the_same(fields, resize, folder, decodes):
    found = decode(loaded(folder, Seen(SIZE, resize, 10**6)), fields, SIZE, resize=resize)
    assert sorted(decodes) == [f"{number}.png" for number in range(COUNT)]
    expected = decode(loaded(folder, None), fields, SIZE, resize=resize)
    assert found.names == expected.names and found.arrays.keys() == expected.arrays.keys()
    for name, array in found.arrays.items():
        rows = np.arange(COUNT)
        np.testing.assert_array_equal(array[rows], expected.arrays[name][rows])


def test_images_without_room_or_of_another_size_are_decoded_again(folder, decodes):
    decode(loaded(folder, Seen(SIZE, "stretch", 4 * 24 * 24 * 3)), ("segmentation",), SIZE)
    assert len(decodes) == COUNT + 2
    decodes.clear()
    (folder / "masks/0.png").touch()
    dataset = loaded(folder, Seen((12, 12), "stretch", 10**6))
    decode(dataset, ("segmentation",), SIZE)
    assert len(decodes) == 2 * COUNT
    assert dataset.seen.take("0", (12, 12), "stretch") is None
