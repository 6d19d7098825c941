"""reports/<experiment>/: a table, a page and figures, made of records alone. pandas comes when needed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.analysis.frame import Records
    from ablate.analysis.verdicts import Verdict, Versus
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

MARK = ".written.json"  # what the report was made of
TABLES = ("table.csv", "table.md", "table.tex", "index.html", "records.jsonl")


def write(experiment: Experiment, store: Store, reports_dir: Path) -> Path:
    """Write the tables, the page and the figures of an experiment; what is up to date is left alone.

    Returns:
        The report's folder.
    Raises:
        SpecError: the folder can not be made.
    """
    from ablate.analysis import frame, verdicts
    from ablate.core.files import read_json, write_json

    folder = _folder(Path(reports_dir) / experiment.name)
    known = frame.records(experiment, store)
    mark, before = _mark(experiment, store, known), read_json(folder / MARK) or {}
    same = before.get("mark") == mark
    drawn = same and "means" in before and all((folder / name).is_file() for name in before["figures"])
    if drawn and all((folder / name).is_file() for name in TABLES):
        return folder
    table = frame.frame(experiment, known)
    versus = verdicts.versus(experiment, verdicts.scores(table))
    old = before.get("figures", [])
    figures = old if drawn else _draw(experiment, store, known, table, versus, folder, old)
    _write_tables(experiment, store, known, table, versus, figures, folder)
    write_json(folder / MARK, {"mark": mark, "figures": figures, "means": _means(experiment, table)})
    return folder


def means(folder: Path) -> dict[str, float]:
    """Mean and standard deviation of every row's FID in a report, by names that MLflow takes."""
    from ablate.core.files import read_json

    found: dict[str, float] = (read_json(folder / MARK) or {}).get("means") or {}
    return found


def _means(experiment: Experiment, table: Any) -> dict[str, float]:
    from ablate.analysis.frame import columns
    from ablate.analysis.lines import lines

    found, shown = dict[str, float](), columns(table, ())
    for line in lines(experiment, table):
        row = re.sub(r"[^\w.: /-]", "_", line.row.label)
        for column in shown:
            if stat := line.stat("fid", column):
                name = re.sub(r"[^\w.: /-]", "_", column.named("fid"))
                found |= {f"{name}_mean/{row}": stat.mean}
                found |= {f"{name}_std/{row}": stat.std} if stat.n > 1 else {}
    return found


def _folder(path: Path) -> Path:
    from ablate.core.errors import SpecError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return path


def _mark(experiment: Experiment, store: Store, known: Records) -> str:
    """A hash of all that a report shows, the code that shows it included."""
    from ablate.analysis import reference

    e, published = experiment, reference.location()
    rows = [[r.label, r.section, dict(r.changed), list(r.keys), r.base] for r in e.rows]
    plan = [
        e.name,
        e.summary,
        e.profile.model_dump(mode="json"),
        list(e.seeds),
        rows,
        e.notes,
        [c.model_dump() for c in e.claims],
    ]
    logged = [key for key in known if store.folder(key).metrics.exists()]  # records may come without curves
    digest = hashlib.sha256(json.dumps([plan, known, logged], sort_keys=True, default=str).encode())
    for file in [*sorted(Path(__file__).parent.rglob("*.[pj]*")), *([published] if published else [])]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _draw(
    experiment: Experiment,
    store: Store,
    known: Records,
    table: Any,
    versus: Sequence[Versus | None],
    folder: Path,
    old: list[str],
) -> list[str]:
    """Draw all figures anew, and remove those that have nothing to show any more; the names of the drawn."""
    from ablate.report.figures import curves, effects, levels, samples, style, sweeps, tradeoff

    drawn = ["fid.png"] if style.fid(experiment, table, known, folder / "fid.png") else []
    drawn += ["effects.png"] if effects.effects(experiment, versus, folder / "effects.png") else []
    drawn += ["sweeps.png"] if sweeps.sweeps(experiment, table, folder / "sweeps.png") else []
    drawn += ["tradeoff.png"] if tradeoff.tradeoff(experiment, table, folder / "tradeoff.png") else []
    drawn += ["curves.png"] if curves.curves(experiment, store, table, folder / "curves.png") else []
    drawn += ["levels.png"] if levels.levels(experiment, store, table, folder / "levels.png") else []
    drawn += samples.draw(samples.grids(experiment, store, known), folder)
    for name in set(old) - set(drawn):
        (folder / name).unlink(missing_ok=True)
    return drawn


def _write_tables(
    experiment: Experiment,
    store: Store,
    known: Records,
    table: Any,
    versus: Sequence[Versus | None],
    figures: list[str],
    folder: Path,
) -> None:
    from ablate.analysis.frame import columns
    from ablate.analysis.lines import lines
    from ablate.core.files import whole
    from ablate.report import html
    from ablate.report.latex import latex
    from ablate.report.page import page
    from ablate.report.tables import csv
    from ablate.runs import records_file

    text = page(experiment, table, known, figures, versus)
    contents = (
        csv(experiment, table),
        text,
        latex(experiment, lines(experiment, table), columns(table), versus),
        html.html(experiment, store, text, folder),
        records_file.text(experiment, store, folder / records_file.FILE),
    )
    for name, content in zip(TABLES, contents, strict=True):
        with whole(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def answers(experiment: Experiment, store: Store) -> list[Verdict]:
    """The experiment's claims, answered from what is recorded."""
    from ablate.analysis import frame, verdicts

    if not experiment.claims:  # reading a thousand records again takes a while
        return []
    return verdicts.answers(
        experiment, verdicts.scores(frame.frame(experiment, frame.records(experiment, store)))
    )


def row_means(experiment: Experiment, store: Store) -> dict[str, float]:
    """Mean one-step FID of every row that has one and lost no seed, by the row's label."""
    from ablate.analysis import frame
    from ablate.analysis.lines import lines

    table = frame.frame(experiment, frame.records(experiment, store))
    first = next((c for c in frame.columns(table, ()) if c.nfe == 1), None)
    found = lines(experiment, table) if first else []
    return {x.row.label: s.mean for x in found if first and x.whole and (s := x.stat("fid", first))}
