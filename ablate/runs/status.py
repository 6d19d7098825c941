"""Progress of an experiment: a row per cell, read from the runs directory alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ablate.core.files import read_json
from ablate.core.formats import duration
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs import heartbeat
from ablate.runs.store import Folder

COLOURS = {"finished": "green", "running": "cyan", "diverged": "yellow", "waiting": "dim"}  # others: red
ENDED = ("finished", "diverged", "failed")
MOST_ROWS = 40  # of a terminal's table: ended and waiting cells are left out first


def cells(experiment: Experiment, runs: Path) -> list[dict[str, Any]]:
    """State and progress of every cell.

    Returns:
        `row`, `seed`, `key`; `state`: of the record (finished, diverged, failed), else waiting, running, interrupted,
        crashed or stale; `device`, `host`; `step` of `steps`; `images_per_s`; `loss`; `fid`: nfe -> value; `eta_s`:
        seconds until the last step, of a running cell; `reason` of an end without results. Unknown values are None.
    """
    named: dict[str, str] = {}
    for row in experiment.rows:
        for key in row.keys:
            named.setdefault(key, row.label)
    return [_cell(named[key], cell, Folder(runs / key)) for key, cell in experiment.cells.items()]


def _cell(row: str, cell: Cell, folder: Folder) -> dict[str, Any]:
    profile, record = cell.profile, read_json(folder.record)
    status = dict.fromkeys(("device", "host", "step", "images_per_s", "loss", "eta_s", "reason"))
    status |= {"row": row, "seed": cell.seed, "key": cell.key, "steps": profile.steps, "fid": {}}
    if isinstance(record, dict):
        status |= {"state": record["state"], "step": record["images"] // profile.batch}
        status |= {"device": record["provenance"]["device"], "reason": record.get("reason")}
        status["fid"] = {str(f["nfe"]): f["value"] for f in record["fid"]}
        return status
    beat = heartbeat.last(folder)
    status |= {"state": heartbeat.state(folder) if beat else "waiting", "reason": beat.get("reason")}
    status |= {k: beat.get(k) for k in ("device", "host", "step")}
    if line := folder.last():
        m, step = line["metrics"], max(line["step"], beat.get("step", 0))
        status |= {"loss": m["loss"], "images_per_s": m.get("images_per_s"), "step": step}
        if status["state"] == "running" and m.get("images_per_s"):
            status["eta_s"] = round((profile.steps - step) * profile.batch / m["images_per_s"], 1)
    return status


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Cells by state, and seconds until all are trained at the current speed; None while none runs."""
    counted = Counter(c["state"] for c in rows)
    left = sum(1 - (c["step"] or 0) / c["steps"] for c in rows if c["state"] not in ENDED)  # in cells
    running = [c for c in rows if c["eta_s"]]
    rate = sum((1 - c["step"] / c["steps"]) / c["eta_s"] for c in running)  # cells a second
    eta = round(left / rate, 1) if rate else None
    return {"states": dict(counted), "eta_s": eta}


def table(name: str, rows: list[dict[str, Any]]) -> Table:
    """A table for the terminal, running and failed cells first."""
    shown = sorted(rows, key=lambda c: (c["state"] == "waiting", c["state"] in ENDED))[:MOST_ROWS]
    total = totals(rows)
    counted = ", ".join(f"{n} {state}" for state, n in total["states"].items())
    left = f"; about {duration(total['eta_s'])} left" if total["eta_s"] is not None else ""
    more = f"; {len(rows) - len(shown)} cells are not shown" if len(shown) < len(rows) else ""
    made = Table(title=name, caption=f"{counted}{left}{more}", title_justify="left", caption_justify="left")
    for column in ("row", "seed", "key", "state", "device", "step", "images/s", "loss or FID", "left"):
        made.add_column(column, justify="left" if column in ("row", "key", "state", "device") else "right")
    for c in shown:
        colour = COLOURS.get(c["state"], "red")
        speed = f"{c['images_per_s']:.0f}" if c["images_per_s"] else ""
        value = ", ".join(f"{v:.4g}" for v in c["fid"].values()) or _number(c["loss"])
        step, eta = (
            f"{c['step'] or 0} of {c['steps']}",
            duration(c["eta_s"]) if c["eta_s"] is not None else "",
        )
        state = f"[{colour}]{c['state']}[/]"
        made.add_row(escape(c["row"]), str(c["seed"]), c["key"], state, _device(c), step, speed, value, eta)
    return made


def _device(cell: dict[str, Any]) -> str:
    return " on ".join(str(cell[k]) for k in ("device", "host") if cell[k])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
