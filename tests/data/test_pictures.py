"""What a picture file says besides its pixels, and what its header tells before anything is decoded."""

from __future__ import annotations

import io
import itertools
import zlib

import numpy as np
import pytest
from helpers.pictures import classes, colours, encoded, spread, zipped
from PIL import Image, PngImagePlugin

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import datasets, pictures, survey

FLIPS = {  # EXIF orientation -> the upright image from the stored one, as the standard has it
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: np.swapaxes(x, 0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(np.swapaxes(x, 0, 1), 2),
    8: np.rot90,
}


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[pictures.ORIENTATION] = orientation
    return found


def wide(kind="PNG", orientation=1, **more) -> tuple[np.ndarray, bytes]:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 12, 3), np.uint8)
    if kind == "JPEG":  # survives compression
        pixels = np.kron(pixels[::8, ::4], np.ones((8, 4, 1), np.uint8))
    return pixels, encoded(pixels, kind, exif=exif(orientation), **more)


@pytest.mark.parametrize(("kind", "orientation"), itertools.product(["PNG", "JPEG", "WEBP"], FLIPS))
def test_every_orientation_is_turned_upright(kind, orientation):
    pixels, content = wide(kind, orientation, lossless=True, quality=100)
    upright = np.ascontiguousarray(FLIPS[orientation](pixels))
    found, header = np.asarray(pictures.opened(content)), pictures.header(content)
    assert np.abs(found.astype(int) - upright).mean() < (0.01 if kind != "JPEG" else 20)
    assert (header.height, header.width) == upright.shape[:2] == found.shape[:2]
    assert header.turned == (orientation != 1)


def test_an_orientation_behind_the_pixels_counts():
    _, content = wide("PNG", 6)
    at = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[at : at + 4])
    chunk, rest = content[at : at + length], content[:at] + content[at + length :]
    end = rest.index(b"IEND") - 4
    late = rest[:end] + chunk + rest[end:]
    assert pictures.header(late).turned
    assert pictures.opened(late).size == (8, 12)


def test_only_sets_with_an_orientation_or_transparency_have_another_fingerprint(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 3] = 128
    clear = encoded(pixels)
    hollow = encoded(Image.new("P", (8, 8)), transparency=0)
    variants = [encoded(colours(1)[0]), wide("PNG", 1)[1], wide("PNG", 6)[1], clear, hollow]
    flags = []
    for i, content in enumerate(variants):
        spec = Data(name="folder", path=str(spread(tmp_path / str(i), {"a.png": content})))
        lines, hashed = [], survey.encoded
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "ablate.data.survey.encoded",
                lambda text, to=lines, plain=hashed: to.append(text) or plain(text),
            )
            datasets.fingerprint(spec)
        flags.append(lines[0].splitlines()[1:])
    assert flags == [[], [], ["upright"], ["over white"], ["over white"]]


def over_white(rgb, alpha):
    return round(rgb * alpha / 255 + 255 * (1 - alpha / 255))


@pytest.mark.parametrize("alpha", [0, 1, 77, 128, 254, 255])
def test_transparency_is_laid_over_white(alpha):
    for mode, fill in (("RGBA", (200, 10, 90, alpha)), ("LA", (40, alpha))):
        found = pictures.opened(encoded(Image.new(mode, (4, 4), fill)))
        pixel = found.getpixel((0, 0))
        right = [over_white(v, alpha) for v in fill[:-1]]
        assert np.abs(np.array(pixel) - right).max() <= 1
        assert found.mode == ("RGB" if mode == "RGBA" else "L")
        if alpha == 255:
            assert np.array(pixel).ravel().tolist() == right


def test_transparent_colours_of_palettes_gray_and_rgb_are_white():
    for mode, colour, mark in (("P", 0, 0), ("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3)), ("1", 0, 0)):
        content = encoded(Image.new(mode, (4, 4), colour), transparency=mark)
        assert pictures.header(content).transparent
        assert np.asarray(pictures.opened(content)).min() == 255


def test_every_opaque_value_stays():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    opaque = np.stack([every, every.T, every[::-1], np.full_like(every, 255)], -1)
    assert np.array_equal(np.asarray(pictures.opened(encoded(opaque))), opaque[..., :3])
    gray = Image.merge("LA", [Image.fromarray(every), Image.new("L", (16, 16), 255)])
    assert np.array_equal(np.asarray(pictures.opened(encoded(gray))), every)


GOOD = encoded(colours(1, size=64)[0])
PHOTO = encoded(colours(1, size=64)[0], "JPEG")
WEBP = encoded(colours(1, size=64)[0], "WEBP")
DAMAGED = {
    "half.png": GOOD[: len(GOOD) // 2],
    "half.jpg": PHOTO[: len(PHOTO) // 2],
    "half.webp": WEBP[: len(WEBP) // 2],
    "thumbnail.jpg": encoded(colours(1, size=64)[0], "JPEG", exif=b"Exif\0\0" + PHOTO[:600] + b"\xff\xd9")[
        :2500
    ],
    "empty.png": b"",
    "text.jpg": b"<html>not found</html>",
    "bmp.png": encoded(colours(1)[0], "BMP"),
    "float.jpg": encoded(Image.new("F", (8, 8)), "TIFF"),
    "flipped.png": GOOD[:500] + bytes(b ^ 255 for b in GOOD[500:600]) + GOOD[600:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found_before_training(tmp_path, name):
    files = classes("a", "b") | {f"a/{name}": DAMAGED[name]}
    folder = Data(name="folder", path=str(spread(tmp_path / "set", files)), resolution=8)
    for spec in (folder, Data(name="zip", path=str(zipped(tmp_path / "set.zip", files)), resolution=8)):
        with pytest.raises(SpecError) as caught:
            datasets.shape(spec)
        assert f"a/{name}: not a readable image: " in str(caught.value)
        assert "BytesIO" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_image_that_only_looks_damaged_is_read(tmp_path):
    no_end = PHOTO + b"\xff\xda trailer of a phone"
    wrong_sum = GOOD[:-16] + bytes([GOOD[-16] ^ 1]) + GOOD[-15:]  # the checksum of the pixels' chunk
    for content in (no_end, wrong_sum):
        assert pictures.header(content).width == 64
        assert pictures.opened(content).size == (64, 64)


def test_a_damaged_member_of_an_archive_is_named(tmp_path):
    path = zipped(tmp_path / "a.zip", {f"{i}.png": encoded(x) for i, x in enumerate(colours(4))})
    content = bytearray(path.read_bytes())
    content[content.index(b"2.png") + 100] ^= 255
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"2\.png: not a readable image: Bad CRC-32"):
        datasets.shape(Data(name="zip", path=str(path)))


def test_all_problems_are_one_line_for_each_kind(tmp_path):
    files = classes("a", "b") | {f"a/z{i}.png": b"x" for i in range(5)}
    files |= {f"b/y{i}.png": encoded(np.zeros((64, 64, 3), np.uint8)) for i in range(2)}
    spec = Data(name="folder", path=str(spread(tmp_path, files)), max_pixels=4000)
    with pytest.raises(SpecError) as caught:
        datasets.shape(spec)
    bad, large, mixed = sorted(caught.value.problems, key=lambda p: ("resolution" in p, "max_pixels" in p))
    assert "and 2 more" in bad
    assert "b/y0.png: 64x64 is 4,096 pixels; profile.data.max_pixels allows 4,000" in large
    assert "b/y1.png" in large
    assert "is 8x8, b/y" in mixed


@pytest.mark.parametrize(("gray", "coloured"), [(119, 1), (1, 119), (0, 4), (4, 0)], ids=lambda n: f"{n}")
def test_one_coloured_image_makes_the_planned_shape_coloured(tmp_path, gray, coloured):
    modes = ["L"] * gray + ["RGB"] * coloured
    files = {f"{'ab'[i % 2]}/{i}.png": encoded(Image.new(m, (4, 4))) for i, m in enumerate(modes)}
    spec = Data(name="folder", path=str(spread(tmp_path, files)))
    assert datasets.shape(spec) == datasets.load(spec).shape == (3 if coloured else 1, 4, 4)


DEEP = np.random.RandomState(0).randint(0, 2**16, (8, 8), np.uint16)


def test_of_sixteen_bits_the_upper_eight_are_kept_in_gray_as_in_colour():
    gray = encoded(Image.fromarray(DEEP))
    assert np.array_equal(np.asarray(pictures.opened(gray)), DEEP >> 8)
    assert np.array_equal(np.asarray(pictures.opened(deep_colour())), np.dstack([DEEP >> 8] * 3))
    turned = encoded(Image.fromarray(DEEP), exif=exif(6))
    assert np.array_equal(np.asarray(pictures.opened(turned)), np.rot90(DEEP >> 8, -1))


def test_a_transparent_value_of_sixteen_bits_is_white():
    clear = int(DEEP[3, 4])
    found = np.asarray(pictures.opened(transparent(encoded(Image.fromarray(DEEP)), clear)))
    assert np.array_equal(found, np.where(clear == DEEP, 255, DEEP >> 8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def deep_colour() -> bytes:
    """A PNG with 16 bits per channel, which Pillow cannot write."""
    rows = b"".join(b"\0" + np.repeat(row.astype(">u2"), 3).tobytes() for row in DEEP)
    head = (8).to_bytes(4) * 2 + bytes([16, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def transparent(content: bytes, value: int) -> bytes:
    """The PNG with one transparent gray value."""
    at = content.index(b"IDAT") - 4
    return content[:at] + chunk(b"tRNS", value.to_bytes(2)) + content[at:]


def test_cmyk_is_converted_by_one_formula():
    for cyan, key in ((0, 0), (255, 0), (30, 100), (0, 255)):
        image = Image.new("CMYK", (8, 8), (cyan, 0, 0, key))
        found = np.asarray(pictures.opened(encoded(image, "JPEG", quality=100)))
        right = [(255 - v) * (255 - key) / 255 for v in (cyan, 0, 0)]
        assert np.abs(found[0, 0] - right).max() <= 3


def test_palettes_are_coloured_even_if_their_colours_are_gray():
    image = Image.fromarray((DEEP >> 8).astype(np.uint8)).convert("P")
    found = pictures.opened(encoded(image))
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found)[..., 0], DEEP >> 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_headers_tell_what_decoding_gives(mode):
    content = encoded(Image.new(mode, (6, 5)), "JPEG" if mode == "CMYK" else "PNG")
    header, image = pictures.header(content), pictures.opened(content)
    assert (header.width, header.height) == image.size
    assert header.gray == (image.mode == "L")


def test_the_shape_is_of_the_images_that_are_used(tmp_path):
    files = classes("a", "b", channels=1)
    files |= {"b/zzz.png": encoded(np.zeros((16, 16, 3), np.uint8)), "a/zzz.png": b"damaged"}
    folder = spread(tmp_path, files)
    shapes = {}
    for images in (None, 15):
        spec = Data(name="folder", path=str(folder), images=images, holdout=2)
        try:
            shapes[images] = datasets.shape(spec)
            assert datasets.load(spec).shape == shapes[images]
        except SpecError:
            with pytest.raises(SpecError):
                datasets.load(spec)


def test_a_larger_limit_reads_larger_images(tmp_path):
    files = classes("a", "b") | {"a/photo.jpg": encoded(Image.new("RGB", (600, 400)), "JPEG")}
    folder = str(spread(tmp_path, files))
    with pytest.raises(
        SpecError, match=r"600x400 is 240,000 pixels.*max_pixels allows 200,000; raise it to read this image"
    ):
        datasets.shape(Data(name="folder", path=folder, resolution=8, max_pixels=200_000))
    a, b = (Data(name="folder", path=folder, resolution=8, max_pixels=n) for n in (240_000, 10**6))
    assert datasets.load(a).fingerprint == datasets.load(b).fingerprint


def test_text_in_a_png_is_no_orientation():
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "eXIf XML:com.adobe.xmp Raw profile")
    out = io.BytesIO()
    Image.new("RGB", (4, 6)).save(out, "PNG", pnginfo=text)
    assert not pictures.header(out.getvalue()).turned
