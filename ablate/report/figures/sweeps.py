"""FID over a number that several rows vary, the base recipe's own value marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.analysis.aggregate import bootstrapped, mean
from ablate.report.figures.style import blank, house, logarithmic, save

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

FEWEST, MOST = 4, 6  # values of a sweep; sweeps that are shown


def sweeps(experiment: Experiment, table: pd.DataFrame, path: Path) -> bool:
    """One- and two-step FID, the mean over seeds with its 95 % interval, a panel per field; False without any."""
    found = dict(list(_found(experiment).items())[:MOST])
    panels = [(field, _points(table, rows)) for field, rows in found.items()]
    panels = [panel for panel in panels if panel[1]["value"].nunique() >= FEWEST]
    if not panels:
        return False
    with house():
        figure, axes = blank(1, 4.6 * len(panels), [3.4], len(panels))
        for ax, (field, points) in zip(axes[0], panels, strict=True):
            _panel(ax, field, points, _default(experiment, field))
        save(figure, path)
    return True


def _found(experiment: Experiment) -> dict[str, dict[int, float]]:
    """Field -> row -> value, of rows that differ in that number alone."""
    flats = [row.recipe.flat() for row in experiment.rows]
    groups: dict[tuple[str, str], dict[int, float]] = {}
    numbers = {k for f in flats for k, v in f.items() if type(v) in (int, float)}
    for field in sorted(k for k in numbers if len({repr(f.get(k)) for f in flats}) >= FEWEST):
        for i, flat in enumerate(flats):
            if type(flat.get(field)) in (int, float):
                rest = repr({k: v for k, v in flat.items() if k != field})
                groups.setdefault((field, rest), {})[i] = float(flat[field])
    best: dict[str, dict[int, float]] = {}
    for (field, _), rows in groups.items():
        if len(set(rows.values())) >= max(FEWEST, len(best.get(field, ())) + 1):
            best[field] = rows
    return best


def _points(table: pd.DataFrame, rows: dict[int, float]) -> pd.DataFrame:
    measured = table[table["index"].isin(rows)].dropna(subset=["nfe", "fid"])
    values = measured["index"].map(rows)
    return measured.assign(value=values).drop_duplicates(["value", "seed", "nfe", "unlike"])


def _curve(points: pd.DataFrame) -> tuple[list[float], list[float], list[float], list[float]]:
    """Values, means over seeds and both ends of their intervals, which are NaN from a single seed."""
    groups: dict[float, list[float]] = {}
    for value, fid in points.sort_values("value")[["value", "fid"]].itertuples(index=False, name=None):
        groups.setdefault(value, []).append(fid)
    found = [bootstrapped([fids], mean) for fids in groups.values()]
    return list(groups), *([estimate[i] for estimate in found] for i in range(3))  # type: ignore[return-value]


def _default(experiment: Experiment, field: str) -> float | None:
    value = experiment.base.get(field)
    return float(value) if isinstance(value, (int, float)) else None


def _panel(ax: Any, field: str, points: pd.DataFrame, default: float | None) -> None:
    import seaborn as sns

    steps: Sequence[int] = sorted(points["nfe"].unique())
    for colour, nfe in zip(sns.color_palette("colorblind", len(steps)), steps, strict=True):
        part = points[points["nfe"] == nfe].astype({"fid": float, "value": float})
        at, means, low, high = _curve(part)
        label = f"{nfe} step{'s' if nfe > 1 else ''}"
        ax.plot(at, means, color=colour, marker="o", label=label)
        ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    values = points["value"].astype(float)
    if values.min() > 0 and values.max() > 20 * values.min():
        logarithmic(ax, "x")
    if points["fid"].max() > 10 * points["fid"].min() > 0:
        logarithmic(ax, "y")
    if default is not None:
        ax.axvline(default, color="0.3", linestyle="--", linewidth=1, label="the base's own")
    ax.set(xlabel=field, ylabel="FID")
    ax.grid(color="0.92")
    ax.legend(frameon=False, fontsize="small")
