"""The style that all figures share. pyplot is not used, so no display is needed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DPI = 110
ROWS = 40  # rows of a figure with a line per row
# for letters that DejaVu lacks, as far as they are installed
FONTS = (
    *(f"Noto Sans CJK {region}" for region in ("SC", "TC", "JP", "KR")),
    *("Noto Sans", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAGothic", "NanumGothic"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Segoe UI Symbol"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
)


@contextmanager
def defaults(**changes: Any) -> Iterator[None]:
    """Apply matplotlib's own defaults with some changes, whatever a matplotlibrc says; yours come back afterwards."""
    import matplotlib

    own: dict[Any, Any] = {**matplotlib.rcParamsDefault, **changes}
    del own["backend"]
    with matplotlib.rc_context(own):
        yield


@contextmanager
def theme() -> Iterator[None]:
    """Apply the style of all figures; your own settings come back afterwards."""
    import seaborn as sns

    with (
        defaults(**{"text.parse_math": False}),
        sns.axes_style("whitegrid", {"font.family": _fonts()}),
        sns.plotting_context("notebook", font_scale=0.8),
    ):
        yield


def _fonts() -> list[str]:
    """The fonts of figures that are installed; matplotlib brings the first."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FONTS if name in installed)]


def font_file(text: str) -> str:
    """The file of the font that has the most letters of a text."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    def missing(file: str) -> int:
        font = FT2Font(file)
        return sum(not font.get_char_index(ord(letter)) for letter in text if letter.isprintable())

    return min(map(findfont, _fonts()), key=missing)


def blank(
    rows: int,
    width: float,
    heights: Sequence[float],
    across: int = 1,
    below: float = 0.0,
    share: bool = True,
) -> tuple[Any, Any]:
    """An empty figure and its axes, an array (rows, across).

    Args:
        width, heights: of the figure and of each row of axes, in inches.
        below: room for a legend under the axes, in inches.
        share: whether all axes have the same x axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, sum(heights) + below), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, across, squeeze=False, height_ratios=heights, sharex=share)


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG of 256 colours, a third of the bytes.

    They are chosen so that no pixel is far from its own colour. Pillow's default goes by the number of pixels: it gives
    a few dots the colour of another row's line. The figure is drawn once, on its canvas: `savefig` draws everything
    twice, the first time only for the layout.
    """
    import numpy as np
    from PIL import Image

    from ablate.core.files import atomic_write

    figure.set_dpi(DPI)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    with atomic_write(path) as temporary:
        few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        few.save(temporary, format="PNG")


def logarithmic(ax: Any, *names: str) -> None:
    """Make the axes `names`, "x" or "y", logarithmic with plain numbers: powers of ten, their double and half.

    Where the axis shows fewer than three of these, it has evenly spaced numbers instead.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    class Locator(LogLocator):
        def tick_values(self, low: float, high: float) -> Any:
            ticks = super().tick_values(low, high)
            shown = sum(low <= tick <= high for tick in ticks)
            return ticks if shown > 2 else MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)

    for name in names:
        axis = {"x": ax.xaxis, "y": ax.yaxis}[name]
        ax.set(**{f"{name}scale": "log"})
        axis.set_major_locator(Locator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def short(label: str, width: int) -> str:
    """A label cut to `width` characters, between words."""
    return textwrap.shorten(label, width, placeholder=" ...")
