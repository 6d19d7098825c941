"""Images that are not here any more, as the cells that were trained on them recorded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablate.config.profile import Data
from ablate.core.files import read_json

PATHS = "path", "test_path"


def images(data: Data, runs: Path) -> tuple[str, tuple[int, int, int]] | None:
    """Fingerprint and shape (C, H, W) of the images that the newest cell in `runs` with the same settings had.

    The folders that the images were in may differ, but not the names of their files.
    """
    wanted, found = _portable(data.model_dump(mode="json")), list[tuple[float, str, list[int]]]()
    for file in runs.glob("*/config.json"):
        config = read_json(file)
        if isinstance(config, dict) and "image_shape" in config:  # older versions did not write it
            had = _portable(config["profile"]["data"])
            if all(
                had.get(name) == value for name, value in wanted.items() if name in had or value is not None
            ):
                found.append((file.stat().st_mtime, config["fingerprint"], config["image_shape"]))
    if not found:
        return None
    _, fingerprint, (channels, height, width) = max(found)
    return fingerprint, (channels, height, width)


def _portable(data: dict[str, Any]) -> dict[str, Any]:
    return {name: Path(value).name if name in PATHS and value else value for name, value in data.items()}
