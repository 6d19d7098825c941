"""Opens pictures, for training and for editing alike: upright, 8 bits, gray or RGB, transparency laid over white."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ablate.config.profile import MAX_PIXELS
from ablate.core.errors import SpecError
from ablate.data.archives import FORMATS, KEY, File, Item, Source, encoded, shown

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

BACKGROUND = (255, 255, 255, 255)  # what shows through transparent pixels
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names of gray pixels with 16 bits
AT_ONCE = 2**24  # bytes of decoded pixels in one task of a thread
ORIENTATION = 0x0112  # the EXIF tag
SMALL = 2**14  # bytes of a file; decoding smaller ones in threads is slower, because Python's share dominates
A = TypeVar("A")
B = TypeVar("B")
READ = tuple(dict.fromkeys(FORMATS.values()))


class Fit(NamedTuple):
    """How images are brought to one size; without a resolution they are not resized."""

    resolution: int | None = None
    interpolation: str = "bicubic"  # one of Pillow's filters
    crop: str = "center"  # or random: any square of the largest side
    max_pixels: int = MAX_PIXELS


class Header(NamedTuple):
    """What a picture is, known without decoding it. `problem` says why it cannot be read."""

    width: int = 0
    height: int = 0
    gray: bool = True
    turned: bool = False  # it is stored lying on its side or mirrored
    transparent: bool = False
    problem: str = ""


def headers(files: Sequence[File]) -> Iterator[tuple[Header, str]]:
    """Header, size and checksum of each file. Files that look damaged are decoded, to know whether they are."""

    def examined(file: File) -> tuple[Header, str]:
        checked = ""
        try:
            content = file.read()
            checked = f"{len(content)} {zlib.crc32(content)}"
            return header(content), checked
        except (
            Exception
        ) as error:  # Pillow raises nearly anything on a damaged file, zipfile on a damaged archive
            return Header(problem=reason(error)), checked

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's on large images, which `max_pixels` limits
        yield from _spread(examined, files, sum(f.size for f in files[:64]) > SMALL * min(len(files), 64))


def header(content: bytes) -> Header:
    """The header of a picture.

    Raises:
        Exception: of any kind, if it is damaged or of a kind that is not read.
    """
    image = _identified(content)
    _check_depth(image)
    # Pillow decodes a PNG to look for EXIF behind the pixels, so only one that has some is asked
    named = image.format != "PNG" or any(
        word in content for word in (b"eXIf", b"Raw profile", b"com.adobe.xmp")
    )
    orientation = image.getexif().get(ORIENTATION, 1) if named else 1
    across = orientation in (5, 6, 7, 8)
    width, height = image.size[::-1] if across else image.size
    if not _looks_whole(content, image):
        _identified(content).load()
    return Header(width, height, _gray(image), orientation in range(2, 9), image.has_transparency_data)


def _looks_whole(content: bytes, image: Image) -> bool:
    """Whether a JPEG has an end, and whether the checksums of a PNG hold."""
    if image.format == "PNG":
        try:
            _identified(content).verify()
        except Exception:
            return False
    start, end = b"\xff\xda", b"\xff\xd9"  # of the last scan, of the image
    return image.format != "JPEG" or content.find(end, content.rfind(start)) >= 0


def _identified(content: bytes, formats: tuple[str, ...] | None = READ) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(content), formats=formats)


def _check_depth(image: Image) -> None:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(f"mode {image.mode}: needs eight or sixteen bits per channel")


def _gray(image: Image) -> bool:
    return image.mode in ("1", "L", "LA", "La", *DEEP)


def _upper_bits(image: Image) -> Image:
    """Gray pixels with 16 bits as their upper eight, as Pillow reads 16-bit colour; a transparent value is white."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image)
    upper = (pixels >> 8).astype(np.uint8)
    if (clear := image.info.get("transparency")) is not None:
        upper[pixels == clear] = 255
    return Image.fromarray(upper)


def too_large(width: int, height: int, most: int) -> str:
    """Why a picture of this size is refused; empty if it is not."""
    if width * height <= most:
        return ""
    return (
        f"{width}x{height} is {width * height:,} pixels; {KEY}.max_pixels allows {most:,}; "
        "raise it to read this image"
    )


def opened(content: bytes, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = READ) -> Image:
    """A picture as a viewer shows it, gray or RGB. Its size is checked before anything is decoded.

    Gray, gray with alpha and black-and-white files stay gray. Palettes, CMYK (by Pillow's formula, without a colour
    profile) and all others become RGB. Of 16 bits the upper eight are kept.

    Args:
        formats: Pillow's names of what may be read; None for all.
    Raises:
        Exception: of any kind, if it is damaged, too large, or of a kind that is not read.
    """
    from PIL import Image, ImageOps

    image: Image.Image = _identified(content, formats)
    if excess := too_large(*image.size, max_pixels):
        raise ValueError(excess)
    _check_depth(image)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in DEEP:
        return _upper_bits(image)
    mode = "L" if _gray(image) else "RGB"
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer)
    return image if image.mode == mode else image.convert(mode)  # converting to the same mode copies


def reason(error: Exception) -> str:
    """Why a picture cannot be opened, in one line."""
    if type(error).__name__ == "UnidentifiedImageError":  # its text is about the buffer in memory
        return "its content is of another kind, or damaged from the start"
    if type(error).__name__ == "DecompressionBombError":  # its text advises nothing
        return "it has more pixels than Pillow opens: make it smaller"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error) or repr(error)).splitlines()[0][:160]


def unreadable(name: str, why: str) -> str:
    """The message about a picture that cannot be read."""
    return f"{shown(name)}: not a readable image: {why}"


def fill(items: Sequence[Item], fit: Fit, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """All images in order as uint8 arrays (n, C, H, W), some at a time; a gray one has its values in all C channels.

    Raises:
        SpecError: an image cannot be read, is too large, or has another shape than (C, H, W).
    """
    import numpy as np

    channels, height, width = shape
    many = max(1, AT_ONCE // (channels * height * width))

    def decode(item: Item) -> np.ndarray:
        pixels = _decode(item[0], item[1], fit)
        if pixels.shape[:2] != (height, width) or pixels.shape[2] not in (1, channels):
            odd = "x".join(map(str, pixels.shape))
            raise SpecError(
                f"{KEY}: {shown(item[0])}: is {odd}, but planned were {height}x{width}x{channels}"
            )
        return np.broadcast_to(pixels.transpose(2, 0, 1), shape)

    for some in _pieces(decode, items, bool(items) and _large(items[0][1]), many):
        yield np.ascontiguousarray(np.stack(some))


def stack(items: Sequence[Item], fit: Fit, shape: tuple[int, int, int]) -> np.ndarray:
    """All images as one uint8 array (n, C, H, W) in memory; see `fill`."""
    import numpy as np

    out, n = np.empty((len(items), *shape), np.uint8), 0
    for some in fill(items, fit, shape):
        out[n : n + len(some)] = some
        n += len(some)
    return out


def _large(first: Source) -> bool:
    try:
        return callable(first) and len(content := first()) >= SMALL and isinstance(content, bytes)
    except Exception:  # decoding reports the error
        return False


def mixed_sizes(sizes: Sequence[tuple[str, int, int]]) -> str:
    """The message about images (name, width, height) of different sizes; empty if all are alike."""
    odd = next((s for s in sizes if s[1:] != sizes[0][1:]), None)
    if odd is None:
        return ""
    pair = ", ".join(f"{shown(name)} is {width}x{height}" for name, width, height in (sizes[0], odd))
    return f"{KEY}.resolution: needed for images of mixed sizes: {pair}"


def _spread(work: Callable[[A], B], items: Sequence[A], large: bool) -> Iterator[B]:
    """The results of `work` in order, from several threads if the items are large."""
    for results in _pieces(work, items, large, 1024):
        yield from results


def _pieces(work: Callable[[A], B], items: Sequence[A], large: bool, most: int) -> Iterator[list[B]]:
    """The same in lists of at most `most`; only a few lists are ahead of the one that is asked for."""
    size = max(1, min(len(items) // 64, most))  # one task per image would cost more than its decoding
    threads = min(8, os.cpu_count() or 1) if large else 1

    def piece(start: int) -> list[B]:
        return [work(item) for item in items[start : start + size]]

    with ThreadPoolExecutor(threads) as pool:
        ahead = deque[Future[list[B]]]()
        try:
            for start in range(0, len(items), size):
                ahead.append(pool.submit(piece, start))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(name: str, source: Source, fit: Fit) -> np.ndarray:
    """One image as uint8 (H, W, 1 or 3), cropped and resized if `fit` has a resolution."""
    import numpy as np
    from PIL import Image

    try:
        content = source() if callable(source) else source
        image = opened(content, fit.max_pixels) if isinstance(content, bytes) else Image.fromarray(content)
        pixels = np.asarray(_fit(image, name, fit))
    except Exception as error:
        raise SpecError(f"{KEY}: {unreadable(name, reason(error))}") from None
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _fit(image: Image, name: str, fit: Fit) -> Image:
    """A square of the image, resized to `fit.resolution` with an antialiased filter."""
    size = fit.resolution
    if size is None or image.size == (size, size):
        return image
    from PIL.Image import Resampling

    side = min(image.size)
    spare = image.width - side, image.height - side
    if fit.crop == "center":
        left, top = spare[0] // 2, spare[1] // 2
    else:  # the place depends on the name, so the same file is always cropped alike
        drawn = zlib.crc32(encoded(name)) / 2**32
        left, top = round(drawn * spare[0]), round(drawn * spare[1])
    square = image.crop((left, top, left + side, top + side))  # resize(box=...) reads beyond the box
    return square.resize((size, size), Resampling[fit.interpolation.upper()])
