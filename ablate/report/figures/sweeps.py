"""FID over a number that several rows vary, with the base recipe's own value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.lines import SWEEP, sweeps
from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import blank, logarithmic, save, theme
from ablate.statistics.bootstrap import bootstrapped, mean

if TYPE_CHECKING:
    import pandas as pd

PANELS = 6  # sweeps that are shown


class Sweeps(Figure):
    """Mean over seeds with its 95 % interval, a panel per field; nothing where no field has four values."""

    ORDER, FILE, TITLE = 30, "sweeps.png", "Sweeps"
    CAPTION = (
        "Means over seeds with bootstrapped 95 % intervals. The dashed line is the base recipe's own value, as this "
        "profile scales it."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """One- and two-step FID over each field."""
        experiment = results.experiment
        found = [*sweeps(experiment.rows).items()][:PANELS]
        panels = [
            (field, points) for field, rows in found if (points := _points(results.frame, rows)) is not None
        ]
        if not panels:
            return False
        with theme():
            figure, axes = blank(1, 4.6 * len(panels), [3.4], len(panels))
            for ax, (field, points) in zip(axes[0], panels, strict=True):
                _panel(ax, field, points, experiment.base.get(field))
            save(figure, path)
        return True


def _points(frame: pd.DataFrame, rows: dict[int, float]) -> pd.DataFrame | None:
    """The measured FIDs of a sweep with their `value`; None of fewer than four values."""
    measured = frame[frame["index"].isin(rows)].dropna(subset=["nfe", "fid"])
    values = measured["index"].map(rows)
    points = measured.assign(value=values).drop_duplicates(["value", "seed", "nfe", "measured_differently"])
    return points if points["value"].nunique() >= SWEEP else None


def _curve(points: pd.DataFrame) -> tuple[list[float], list[tuple[float, float, float]]]:
    """Values, and for each the mean over seeds with both ends of its interval, NaN of a single seed."""
    groups: dict[float, list[float]] = {}
    for value, fid in points.sort_values("value")[["value", "fid"]].itertuples(index=False, name=None):
        groups.setdefault(value, []).append(fid)
    return list(groups), [bootstrapped([fids], mean) for fids in groups.values()]


def _panel(ax: Any, field: str, points: pd.DataFrame, own: Any) -> None:
    import seaborn as sns

    steps: Sequence[int] = sorted(points["nfe"].unique())
    for colour, nfe in zip(sns.color_palette("colorblind", len(steps)), steps, strict=True):
        part = points[points["nfe"] == nfe].astype({"fid": float, "value": float})
        at, estimates = _curve(part)
        means, low, high = zip(*estimates, strict=True)
        label = f"{nfe} step{'s' if nfe > 1 else ''}"
        ax.plot(at, means, color=colour, marker="o", label=label)
        ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    values = points["value"].astype(float)
    if values.min() > 0 and values.max() > 20 * values.min():
        logarithmic(ax, "x")
    if points["fid"].max() > 10 * points["fid"].min() > 0:
        logarithmic(ax, "y")
    if isinstance(own, (int, float)):
        ax.axvline(float(own), color="0.3", linestyle="--", linewidth=1, label="the base's own")
    ax.set(xlabel=field, ylabel="FID")
    ax.grid(color="0.92")
    ax.legend(frameon=False, fontsize="small")
