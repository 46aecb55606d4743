import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from kerastransfer.data.dataset import BadSampleError, remarks
from kerastransfer.data.images import orientation, read_image, read_mask, read_photo, rgb, upright

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
GREY = RGB[..., 0]


def saved(path, array, mode=None, form="PNG", **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, format=form, **options)
    return path


def test_the_suffix_does_not_matter(tmp_path):
    np.testing.assert_array_equal(read_image(saved(tmp_path / "png.jpg", RGB)), RGB)
    gif = read_image(saved(tmp_path / "gif.jpg", GREY, form="GIF"))
    np.testing.assert_array_equal(gif, np.repeat(GREY[..., None], 3, -1))
    np.testing.assert_array_equal(read_image(saved(tmp_path / "bytes.png", RGB).read_bytes()), RGB)


def test_modes_become_rgb(tmp_path):
    alpha = np.dstack([RGB, GREY])
    np.testing.assert_array_equal(read_image(saved(tmp_path / "rgba.png", alpha)), RGB)
    grey = np.repeat(GREY[..., None], 3, -1)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "grey.png", GREY)), grey)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "la.png", GREY, "LA")), grey)
    deep = (GREY.astype(np.uint16) << 8) + 17
    np.testing.assert_array_equal(read_image(saved(tmp_path / "deep.png", deep)), grey)
    bits = GREY > 99
    np.testing.assert_array_equal(read_image(saved(tmp_path / "bits.png", bits))[..., 1], bits * np.uint8(255))


@pytest.mark.parametrize(
    ("largest", "remarked"), [(4095, True), (255, True), (4096, False), (65535, False), (0, False)]
)
def test_twelve_bits_in_sixteen_are_remarked(tmp_path, largest, remarked):
    path = saved(tmp_path / "deep.png", np.linspace(0, largest, 54).reshape(6, 9).astype(np.uint16))
    with remarks() as heard:
        assert read_image(path).max() == largest >> 8
    assert len(heard) == remarked
    assert not heard or heard[0].startswith("16 bits a pixel, but no value above 4095")


def test_a_palette_with_transparent_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "p.png", transparency=bytes([0, 128, 255]))
    expected = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]])
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), [[0, 1], [2, 1]])


def test_cmyk_jpeg(tmp_path):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # full magenta and yellow is red
    image.save(tmp_path / "cmyk.jpg", quality=100)
    pixels = read_image(tmp_path / "cmyk.jpg")
    assert pixels.shape == (8, 8, 3)
    np.testing.assert_allclose(pixels[4, 4], [255, 0, 0], atol=6)


def test_read_image_gives_the_pixels_as_they_are_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), RGB)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_upright_is_what_viewers_show(tmp_path, number, suffix):
    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert orientation(image) == number
        expected = rgb(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright(*read_photo(tmp_path / f"a.{suffix}")), expected)


@pytest.mark.parametrize("number", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_none(tmp_path, number):
    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert orientation(image) == 1


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50), (50, 10_000)])
def test_odd_sizes(tmp_path, size):
    assert read_image(saved(tmp_path / "a.png", np.zeros(size, np.uint8))).shape == (*size, 3)


def test_damage_is_named(tmp_path):
    whole = saved(tmp_path / "a.jpg", RNG.integers(0, 256, (99, 99, 3), np.uint8), form="JPEG").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadSampleError, match=r"^image a.jpg cannot be decoded: .*truncated"):
        read_image(tmp_path / "a.jpg")
    for content in (b"", b"no image at all", whole[:20]):
        (tmp_path / "b.jpg").write_bytes(content)
        with pytest.raises(BadSampleError, match=r"^image b.jpg cannot be decoded: [^/]+$"):
            read_image(tmp_path / "b.jpg")
    with pytest.raises(BadSampleError, match=r"^image c.jpg is missing$"):
        read_image(tmp_path / "c.jpg")


@pytest.mark.parametrize("damage", range(40))
def test_random_damage_gives_an_image_or_a_reason(tmp_path, damage):
    rng = np.random.default_rng(damage)
    form = ("PNG", "JPEG", "GIF", "BMP")[damage % 4]
    content = bytearray(saved(tmp_path / "x", RGB if form != "GIF" else GREY, form=form).read_bytes())
    for place in rng.integers(0, len(content), 8):
        content[place] = rng.integers(0, 256)
    try:
        assert read_image(bytes(content)).dtype == np.uint8
    except BadSampleError as error:
        assert "\n" not in str(error)


def test_an_image_that_unpacks_to_gigabytes(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(BadSampleError, match=r"bomb.png has more than 89478485 pixels"):
        read_image(tmp_path / "bomb.png")


def test_masks_keep_their_values(tmp_path):
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "l.png", GREY)), GREY)
    deep = GREY.astype(np.uint16) * 200
    mask = read_mask(saved(tmp_path / "d.png", deep))
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, deep)
    bits = read_mask(saved(tmp_path / "b.png", GREY > 99))
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(bits, GREY > 99)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "rgb.png", np.dstack([GREY] * 3))), GREY)


def test_masks_that_do_not_fit(tmp_path):
    with pytest.raises(BadSampleError, match="colours where one index per pixel"):
        read_mask(saved(tmp_path / "c.png", RGB))
    with pytest.raises(BadSampleError, match="mask of 6 x 9 pixels, but its image has 9 x 6 pixels"):
        read_mask(saved(tmp_path / "g.png", GREY), (9, 6))
