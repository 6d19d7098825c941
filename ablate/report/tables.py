"""`table.csv`: one line per row of the experiment, with full precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ablate.analysis.frame import Column, columns
from ablate.analysis.lines import Line, varied
from ablate.analysis.results import Results
from ablate.evaluation.metrics import METRICS


def csv(results: Results) -> str:
    """`row, n`, mean and std of FID, the fields that differ, then how the cells ended, other metrics and keys."""
    import pandas as pd

    shown, flats = columns(results.frame), [row.recipe.flat() for row in results.experiment.rows]
    fields = varied(flats)
    content = [
        {"row": line.row.label, "n": line.n, **_fid(line, shown)}
        | {name: _plain(flat.get(name)) for name in fields}
        | _rest(line, shown)
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


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
