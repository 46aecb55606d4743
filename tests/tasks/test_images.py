import numpy as np
import PIL.Image
import pytest

from kerastransfer.data.images import ORIENTATION
from kerastransfer.errors import UserError
from kerastransfer.tasks import images


def test_a_photo_is_turned_the_right_way_up(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 6  # "turn a quarter clockwise to show"
    PIL.Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(images.read(tmp_path / "photo.png"), np.rot90(pixels, -1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    PIL.Image.new(mode, (5, 3)).save(tmp_path / "photo.tif" if mode == "CMYK" else tmp_path / "photo.png")
    image = images.read(next(tmp_path.iterdir()))
    assert image.shape == (3, 5, 3)
    assert image.dtype == np.uint8


def test_a_picture_reads_as_its_file_does(odd_pictures):
    for path in odd_pictures:
        with PIL.Image.open(path) as picture:
            np.testing.assert_array_equal(images.converted(picture), images.read(path), err_msg=path.name)
    deep = images.read(odd_pictures[0].with_name("deep.png"))
    assert deep[0, :3, 0].tolist() == [0, 3, 7] and deep.max() < 255  # the upper byte


def test_a_picture_of_32_bits_is_refused():
    for mode in ("I", "F"):
        with pytest.raises(UserError, match="32 bits"):
            images.converted(PIL.Image.new(mode, (3, 2)))


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_text("not a picture")
    for name in ("photo.jpg", "missing.jpg"):
        with pytest.raises(UserError, match=name) as error:
            images.read(tmp_path / name)
        assert "\n" not in str(error.value)
