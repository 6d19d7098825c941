"""Small pictures as files: in archives and in folders."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **more: object) -> bytes:
    """An image file's content."""
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **more)
    return out.getvalue()


def colours(n: int, size: int = 8, channels: int = 3) -> list[np.ndarray]:
    """n random images (size, size, channels), without the last axis if they are gray."""
    rng = np.random.RandomState(1)
    found = rng.randint(0, 256, (n, size, size, channels), np.uint8)
    return list(found if channels == 3 else found[..., 0])


def packed(path: Path, images: list[np.ndarray], labels: list[int] | None = None, prefix: str = "") -> Path:
    """An archive in EDM's layout."""
    names = [f"00000/img{i:08d}.png" for i in range(len(images))]
    with zipfile.ZipFile(path, "w") as out:
        for name, pixels in zip(names, images, strict=True):
            out.writestr(prefix + name, encoded(pixels))
        if labels is not None:
            pairs = [list(pair) for pair in zip(names, labels, strict=True)]
            out.writestr(f"{prefix}dataset.json", json.dumps({"labels": pairs}))
    return path


def spread(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """An archive with these files."""
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def classes(*names: str, n: int = 10, channels: int = 3) -> dict[str, bytes]:
    """n pictures for every class, each class in a folder."""
    images = colours(n * len(names), channels=channels)
    return {f"{names[i % len(names)]}/{i:03d}.png": encoded(x) for i, x in enumerate(images)}
