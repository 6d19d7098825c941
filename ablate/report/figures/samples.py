"""Sample grids of all rows below real images, and each row's whole grid in a file of its own."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.analysis.lines import distinct, lowest
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import font_file
from ablate.runs.store import REAL

ROWS = 24  # of the combined figure
LARGEST = 500_000  # bytes of a PNG
MARGIN, GAP, TALL = 250, 12, 24  # pixels: the labels' width, between grids, of a row without samples
ACROSS, PADDING = 8, 2  # images of a strip, pixels between images of a grid
PALETTES = (3, 0), (3, 64), (2, 64), (1, 64), (1, 16)  # rows of images, colours (0: all); the first that fits


class Samples(Figure):
    """`samples.png` and `samples/<row>.png`; nothing where no cell has samples."""

    ORDER, FILE, TITLE, MOST = 70, "samples.png", "Samples", ROWS
    CAPTION = (
        "Every row starts from the same sampling noise; its first finished seed is shown. Above them are images of the "
        "data set."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """The top of every grid, and the whole grids beside it."""
        grids = _grids(results)
        if len(grids) > ROWS:
            shown = {(line.row.named, line.row.keys) for line in lowest(distinct(results.lines), ROWS)}
            grids = [grid for grid in grids if (grid.label, grid.keys) in shown]
        showing = [g for g in grids if g.files][:ROWS]
        self.shown = len({grid.keys for grid in showing})  # a row may stand under two labels
        if not showing:
            return False
        last = grids.index(showing[-1])
        for rows, colours in PALETTES:
            if _save(_combined([*_real(grids), *grids[: last + 1]], rows), path, colours) <= LARGEST:
                break
        path.with_suffix("").mkdir()
        for grid, name in zip(showing, _names(showing), strict=True):
            _whole(grid, path.with_suffix("") / f"{name}.png")
        return True


@dataclass(frozen=True)
class Grids:
    """A row's sample grids, one per number of evaluations, of its first seed that has some; else its state."""

    label: str
    keys: tuple[str, ...]
    files: tuple[Path, ...]
    columns: int
    state: str


def _grids(results: Results) -> list[Grids]:
    """The sample grids of every row."""
    evaluation = results.experiment.profile.evaluation
    columns = max(1, round(min(evaluation.grid, evaluation.samples) ** 0.5))
    # the last row of a ladder can be the first of a leave-one-out
    distinct = {(row.named, row.keys): row for row in results.experiment.rows}
    grids = []
    for row in distinct.values():
        files = next((found for key in row.keys if (found := _files(results, key))), ())
        states = [(results.records.get(key) or {}).get("state", "not run") for key in row.keys]
        state = next((s for s in states if s != "finished"), "no samples")
        grids.append(Grids(row.named, row.keys, files, columns, state))
    return grids


def _real(grids: Sequence[Grids]) -> list[Grids]:
    """The real images that a cell's worker kept beside its samples; none of a cell of an older version."""
    files = (grid.files[0].with_name(REAL) for grid in grids if grid.files)
    found = next((file for file in files if file.is_file()), None)
    return [Grids("real images", (), (found,), grids[0].columns, "")] if found else []


def _files(results: Results, key: str) -> tuple[Path, ...]:
    record = results.records.get(key)
    if not record or record.get("state") != "finished":
        return ()
    samples = results.store.folder(key).samples
    return tuple(sorted(samples.glob(f"images_{record.get('images', 0):09d}_*step.png"), key=_steps))


def _names(showing: Sequence[Grids]) -> Iterator[str]:
    """A file name for each row; rows with the same label and the same cells share it."""
    taken: dict[str, tuple[str, ...]] = {}
    for grid in showing:
        slug = re.sub(r"[^a-z0-9]+", "-", grid.label.lower()).strip("-")[:60] or "row"
        name, i = slug, 1
        while taken.setdefault(name, grid.keys) != grid.keys:
            name, i = f"{slug}-{i + 1}", i + 1
        yield name


def _whole(grid: Grids, path: Path) -> None:
    strip = _beside([_open(file) for file in grid.files])
    if _save(strip, path, 0) > LARGEST:
        _save(strip, path, 64)


def _combined(grids: Sequence[Grids], rows: int) -> Any:
    """Labels on the left, the top of every grid on the right."""
    from PIL import Image, ImageDraw

    strips = [_beside([_top(_open(p), g.columns, rows) for p in g.files]) if g.files else None for g in grids]
    heights = [(s.height if s else TALL) + GAP for s in strips]
    size = MARGIN + max(s.width for s in strips if s), TALL + sum(heights)
    page = Image.new("RGB", size, "white")
    pen, y = ImageDraw.Draw(page), TALL
    _head(pen, max(grids, key=lambda grid: len(grid.files)), rows)
    for grid, strip, height in zip(grids, strips, heights, strict=True):
        _write(pen, grid.label, y, height - GAP)
        if strip:
            page.paste(strip, (MARGIN, y))
        else:
            pen.text((MARGIN, y + 4), grid.state, fill="gray", font=_font())
        y += height
    return page


def _head(pen: Any, grid: Grids, rows: int) -> None:
    """The number of steps above each strip."""
    x = MARGIN
    for file in grid.files:
        steps = _steps(file)
        pen.text((x, 4), f"{steps} step{'s' if steps > 1 else ''}", fill="black", font=_font())
        x += _top(_open(file), grid.columns, rows).width + GAP


def _steps(file: Path) -> int:
    return int(re.sub(r".*_(\d+)step", r"\1", file.stem))


def _write(pen: Any, label: str, y: int, height: int) -> None:
    text = textwrap.fill(label, 34, max_lines=max(1, height // 18), placeholder=" ...")
    pen.multiline_text((4, y + 4), text, fill="black", font=_font(text))


def _font(text: str = "") -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(13) if text.isascii() else ImageFont.truetype(font_file(text), 13)


def _open(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _top(image: Any, columns: int, rows: int) -> Any:
    """The first images of a grid: at most `rows` rows of at most `ACROSS`."""
    step = (image.width - PADDING) // columns
    if step <= PADDING:
        return image
    width = min(columns, ACROSS) * step + PADDING
    return image.crop((0, 0, width, min(image.height, rows * step + PADDING)))


def _beside(images: Sequence[Any]) -> Any:
    from PIL import Image

    width = sum(i.width for i in images) + GAP * (len(images) - 1)
    strip, x = Image.new("RGB", (width, max(i.height for i in images)), "white"), 0
    for image in images:
        strip.paste(image, (x, 0))
        x += image.width + GAP
    return strip


def _save(image: Any, path: Path, colours: int) -> int:
    """Write a PNG; its size in bytes."""
    from ablate.core.files import atomic_write

    with atomic_write(path) as temporary:
        (image.quantize(colours) if colours else image).save(temporary, format="PNG")
    return path.stat().st_size
