"""Progress of an experiment: a row per cell, read from the runs directory alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from ablate.core.files import read_json
from ablate.core.formats import duration
from ablate.evaluation.metrics import of_training
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs import heartbeat
from ablate.runs.record import ENDED
from ablate.runs.store import Folder

COLOURS = {"finished": "green", "running": "cyan", "diverged": "yellow", "open": "dim", "stopped": "dim"}
MOST_ROWS = 40  # of a terminal's table: ended and open cells are left out first
WIDE = 110  # columns of a terminal that has room for the device and the speed
STARTING, DATA, TRAINING, MEASURING = "starting", "data", "training", "measuring"  # phases of a running cell


def cells(experiment: Experiment, runs: Path) -> list[dict[str, Any]]:
    """State and progress of every cell.

    Returns:
        `row`, `seed`, `key`; `state`: of the record (finished, diverged, failed), else open, running, stopped or
        crashed; `phase` of a running cell: starting, data, training, measuring; `device`, `host`; `step` of `steps`;
        `images_per_s`; `loss`; `fid`: nfe -> value; `eta_s`: seconds until the last step, of a running cell;
        `reason` of an end without results. Unknown values are None.
    """
    named = experiment.labels()
    return [_cell(named[key], cell, Folder(runs / key)) for key, cell in experiment.all_cells.items()]


def phase(folder: Folder, steps: int) -> tuple[str, int, dict[str, float]]:
    """What a running cell does, its last step, and its last line of metrics."""
    beat, line = heartbeat.last(folder), folder.last() or {}
    if not heartbeat.beating(beat):
        return STARTING, line.get("step", 0), {}
    step = max(line.get("step", 0), beat.get("step", 0))
    # a worker that resumes has an old line of metrics, and its first heartbeat is of step 0
    does = MEASURING if step >= steps else TRAINING if beat.get("step") or line else DATA
    return does, min(step, steps), line.get("metrics", {})


def _cell(row: str, cell: Cell, folder: Folder) -> dict[str, Any]:
    profile, record = cell.profile, read_json(folder.record)
    status = dict.fromkeys(("phase", "device", "host", "step", "images_per_s", "loss", "eta_s", "reason"))
    status |= {"row": row, "seed": cell.seed, "key": cell.key, "steps": profile.steps, "fid": {}}
    if isinstance(record, dict):
        status |= {"state": record["state"], "step": record["images"] // profile.batch}
        status |= {"device": record["provenance"]["device"], "reason": record.get("reason")}
        status["fid"] = {str(f["nfe"]): f["value"] for f in of_training(record, "fid")}
        return status
    beat = heartbeat.last(folder)
    status |= {"state": heartbeat.state(folder), "reason": beat.get("reason")}
    status |= {k: beat.get(k) for k in ("device", "host", "step")}
    does, step, m = phase(folder, profile.steps)
    if m:
        status |= {"loss": m["loss"], "images_per_s": m.get("images_per_s"), "step": step}
    if status["state"] == "running":
        status["phase"] = does
        if m.get("images_per_s"):
            status["eta_s"] = round((profile.steps - step) * profile.batch / m["images_per_s"], 1)
    return status


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Cells by state, and seconds until all are trained at the current speed; None while none runs."""
    counted = Counter(c["state"] for c in rows)
    left = sum(c["steps"] - (c["step"] or 0) for c in rows if c["state"] not in ENDED)
    running = [c for c in rows if c["eta_s"]]
    rate = sum((c["steps"] - c["step"]) / c["eta_s"] for c in running)  # steps a second
    eta = round(left / rate, 1) if rate else None
    return {"states": dict(counted), "eta_s": eta}


def table(name: str, rows: list[dict[str, Any]], width: int = 80, more: Sequence[str] = ()) -> Table:
    """A table for a terminal of so many columns, running and failed cells first, and `more` lines below."""
    shown = sorted(rows, key=lambda c: (c["state"] == "open", c["state"] in ENDED))[:MOST_ROWS]
    total = totals(rows)
    counted = ", ".join(f"{n} {state}" for state, n in total["states"].items())
    left = f"; about {duration(total['eta_s'])} left" if total["eta_s"] is not None else ""
    hidden = f"; {len(rows) - len(shown)} cells are not shown" if len(shown) < len(rows) else ""
    caption = Text("\n".join([f"{counted}{left}{hidden}", *more]))
    made = Table(title=Text(name), caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    made.title_justify = made.caption_justify = "left"
    made.add_column("row", overflow="fold", min_width=8)
    wide = ("images/s", "device") if width >= WIDE else ()
    for column in ("seed", "key", "state", "done", "loss or FID", "left", *wide):
        words = column in ("key", "state", "device")
        made.add_column(column, justify="left" if words else "right", no_wrap=True, overflow="ellipsis")
    for c in shown:
        eta = duration(c["eta_s"]) if c["eta_s"] is not None else ""
        value = ", ".join(f"{v:.4g}" for v in list(c["fid"].values())[:2]) or _number(c["loss"])
        speed = f"{c['images_per_s']:.0f}" if c["images_per_s"] else ""
        done = f"{(c['step'] or 0) / c['steps']:.0%}"
        state = Text(c["phase"] or c["state"], COLOURS.get(c["state"], "red"))
        cells: list[str | Text] = [Text(c["row"]), str(c["seed"]), c["key"], state, done, value, eta]
        if wide:
            cells += [speed, Text(_device(c))]
        made.add_row(*cells)
    return made


def _device(cell: dict[str, Any]) -> str:
    return " on ".join(str(cell[k]) for k in ("device", "host") if cell[k])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
