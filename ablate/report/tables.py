"""`table.csv`: one line per row of the experiment, with full precision."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from ablate.analysis.frame import Column, columns
from ablate.analysis.lines import Line, varied
from ablate.analysis.results import Results
from ablate.evaluation.metrics import METRICS


def csv(results: Results) -> str:
    """The text. New columns go to the end of a line, so that programs that read the old ones by place still work.

    `row, n`, mean and std of FID, the fields that differ; how the cells ended, other metrics, keys; then the change
    against the base as a ratio with its 95 % interval and p, the extractor, and FID seed by seed.
    """
    import pandas as pd

    shown, flats = columns(results.frame), [row.recipe.flat() for row in results.experiment.rows]
    fields = varied(flats)
    content = [
        {"row": line.row.label, "n": line.n, **_fid(line, shown)}
        | {name: _plain(flat.get(name)) for name in fields}
        | _rest(line, shown)
        | _compared(results, line)
        | _by_seed(results, line, shown)
        | ({"budget": line.row.budget} if results.experiment.budgets else {})
        for line, flat in zip(results.lines, flats, strict=True)
    ]
    return str(pd.DataFrame(content, dtype=object).to_csv(index=False, lineterminator="\n"))


def _fid(line: Line, shown: Sequence[Column]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for column in shown:
        stat = line.stat("fid", column)
        result[column.named("fid")] = stat.mean if stat else None
        result[column.named("fid", "_std")] = stat.std if stat else None
    return result


def _rest(line: Line, shown: Sequence[Column]) -> dict[str, Any]:
    states = {state: line.states[state] for state in ("diverged", "failed", "missing")}
    further = {
        column.named(name): stat.mean if (stat := line.stat(name, column)) else None
        for name, metric in METRICS.items()
        for column in shown
        if name != "fid" and column.nfe in metric.columns
    }
    seconds = {"wall_s": round(line.wall_s, 3) if line.wall_s else None}
    return {"section": line.row.section, **states, **further, **seconds, "keys": " ".join(line.row.keys)}


def _compared(results: Results, line: Line) -> dict[str, Any]:
    """The one-step FID's change against the row's base, as on the page."""
    versus = results.versus[line.index]
    pair = versus.effect if versus and not math.isnan(versus.effect.ratio) else None
    tested = versus and versus.effect.n > 1
    return {
        "base": results.experiment.rows[versus.base].label if versus else None,
        "change": pair.ratio if pair else None,
        "change_low": pair.low if pair else None,
        "change_high": pair.high if pair else None,
        "p": versus.corrected if versus and tested else None,
        "t": pair.t if pair and tested else None,
        "df": pair.df if pair and tested else None,
        "raised": pair.raised if pair and tested else None,
        "spread": versus.spread.ratio if versus and versus.spread else None,
        "spread_p": versus.spread_p if versus and versus.spread else None,
    }


def _by_seed(results: Results, line: Line, shown: Sequence[Column]) -> dict[str, Any]:
    """Seeds with a FID, and their values in the same order; `nan` where a seed was not measured so."""
    frame = results.frame
    named = frame.loc[frame["index"] == line.index, "extractor"].dropna().unique()
    stats = {column.named("fid", "_seeds"): line.stat("fid", column) for column in shown}
    seeds = [s for s in results.experiment.seeds if any(s in stat.by_seed for stat in stats.values() if stat)]
    values = {
        name: " ".join(repr(float(stat.by_seed.get(s, math.nan))) for s in seeds) if stat else None
        for name, stat in stats.items()
    }
    return {"extractor": " ".join(named), "seeds": " ".join(map(str, seeds)), **values}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
