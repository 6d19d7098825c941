"""The table as CSV: one line per row of the experiment, full precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.analysis.frame import Column, columns
from ablate.analysis.lines import Line, lines, varied

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

EXTRA = (
    ("kid", (1, 2)),
    ("precision", (1,)),
    ("recall", (1,)),
)  # metrics that follow the settings, of these nfe


def csv(experiment: Experiment, table: pd.DataFrame) -> str:
    """`row, n`, mean and std of FID at one and two steps, the fields that differ, then how it went."""
    import pandas as pd

    shown, flats = columns(table), [row.recipe.flat() for row in experiment.rows]
    fields = varied(flats)
    content = [
        {"row": line.row.label, "n": line.n, **_fid(line, shown)}
        | {name: _plain(flat.get(name)) for name in fields}
        | _rest(line, shown)
        for line, flat in zip(lines(experiment, table), flats, strict=True)
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
        column.named(metric): stat.mean if (stat := line.stat(metric, column)) else None
        for metric, steps in EXTRA
        for column in shown
        if column.nfe in steps
    }
    seconds = {"wall_s": round(line.wall_s, 3) if line.wall_s else None}
    return {"section": line.row.section, **states, **further, **seconds, "keys": " ".join(line.row.keys)}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
