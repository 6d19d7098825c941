"""reports/<experiment>/: tables, figures and a page, made from records alone."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablate.analysis.results import Results
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

PACKAGE = Path(__file__).parents[1]
SHOWN_BY = "analysis", "statistics", "report"  # folders of code that a report depends on
MARK = ".written.json"  # a hash of what the report shows, and its figures
PAGE = "table.md", "index.html"


def write(experiment: Experiment, store: Store, reports_dir: Path, extractor: str = "") -> Path:
    """Write an experiment's report, unless it is up to date, or shows rows that this one would not.

    Seeds that only the report's records file has are shown too. The tables come first, then the figures, then the page
    that shows both. A figure that cannot be drawn costs one line of warning and is tried again next time. One whose
    files are not here (samples, losses) is kept as it is, if the table has the same cells as before.

    Args:
        extractor: show what cells were measured by it later; by default what they were measured by after training.
    Returns:
        The report's folder.
    Raises:
        SpecError: the folder cannot be made, or is another file's.
    """
    from ablate.analysis import tuned
    from ablate.core.files import read_json, write_json
    from ablate.report import figure, place, rulers
    from ablate.report.merged import merged

    folder = place.claim(experiment, reports_dir)
    results = merged(experiment, store, folder, extractor)
    rulers.keep(results, folder)
    tuned.keep(results, folder)
    mark, before = _mark(results), read_json(folder / MARK) or {}
    old, names, kept = before.get("figures", []), before.get("figures", []), before.get("kept", [])
    rows = before.get("rows", {})
    same = before.get("mark") == mark and all((folder / name).is_file() for name in old)
    if same and all((folder / name).is_file() for name in (*tables(results), *PAGE)):
        return folder
    texts = {name: render(results, folder) for name, render in tables(results).items()}
    if why := _fewer(results, folder, texts[place.TABLE]):
        print(f"{folder} is kept: {why}", file=sys.stderr)
        return folder
    had = _cells(_old(folder / place.TABLE)) == _cells(texts[place.TABLE])
    for name, text in texts.items():
        _text(folder / name, text)
    if not same:
        names, whole, drawn = figure.draw(results, folder)
        mark = mark if whole else ""
        there = [f.FILE for f in figure.figures() if (folder / f.FILE).is_file()] if had else []
        kept = sorted({*old, *there} - {*names}) if had else []
        names, rows = [*names, *kept], {**{name: rows[name] for name in kept if name in rows}, **drawn}
        for name in set(old) - set(names):
            (folder / name).unlink(missing_ok=True)
    _write_page(results, names, kept, rows, folder)
    write_json(folder / MARK, {"mark": mark, "figures": names, "kept": kept, "rows": rows})
    return folder


def tables(results: Results) -> dict[str, Callable[[Results, Path], str]]:
    """File name -> its text, from the results and the report's folder."""
    from ablate.report import factorial
    from ablate.report import tables as render
    from ablate.report.latex import latex
    from ablate.runs import records_file
    from ablate.runs.store import Store

    return {
        "table.csv": lambda results, _: render.csv(results),
        "table.tex": lambda results, _: latex(results),
        records_file.FILE: lambda results, folder: records_file.text(
            results.experiment, Store(results.store.path), folder / records_file.FILE
        ),
        **({factorial.FILE: lambda results, _: factorial.csv(results)} if results.factorials else {}),
    }


def _write_page(
    results: Results, figures: list[str], kept: list[str], rows: dict[str, int], folder: Path
) -> None:
    from ablate.report.html import html
    from ablate.report.page import page

    markdown, whole = PAGE
    text = page(results, figures, kept, rows)
    _text(folder / markdown, text)
    _text(folder / whole, html(results, text, folder, bool(kept)))


def _text(path: Path, text: str) -> None:
    from ablate.core.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _fewer(results: Results, folder: Path, table: str) -> str:
    """Which results the report in `folder` has that a new one would lose, and what to do; empty if none.

    A result is lost if it belongs to a row of the file that is left out now. Results of rows that the file no longer
    has may go, but only for a table without gaps.
    """
    from ablate.core.formats import count
    from ablate.report.place import TABLE
    from ablate.runs import records_file
    from ablate.runs.record import RESULTS

    experiment, records = results.experiment, results.records
    here = {key for key, record in records.items() if record and record["state"] in RESULTS}
    before = {k: v["record"]["seed"] for k, v in records_file.read(folder / records_file.FILE).items()}
    elsewhere = "; --reports-dir DIR writes this report to another place"
    if lost := _lost(experiment, {key: seed for key, seed in before.items() if key not in here}):
        return f"it has {count(len(lost), 'result')} that this report would lose{elsewhere}"
    there, now = _count(_old(folder / TABLE)), _count(table)
    if now < there and (not before or len(here) < len(experiment.cells)):
        return f"it has {count(there, 'result')}, this report {now}{elsewhere}"
    return ""


def _lost(experiment: Experiment, gone: dict[str, int]) -> dict[str, int]:
    """Key -> seed of those results that belong to rows of the file."""
    if not gone or not experiment.cells:
        return {}
    known = {
        experiment.cell(row, seed).key
        for row in (*experiment.rows, *experiment.left_out)
        for seed in {*gone.values()}
    }
    return {key: seed for key, seed in gone.items() if key in known}


def _old(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _cells(table: str) -> list[tuple[str | None, ...]]:
    """What `table.csv` is of: label, keys and results of each row."""
    lines = csv.DictReader(io.StringIO(table))
    return [tuple(line.get(name) for name in ("row", "keys", "n", "diverged", "extractor")) for line in lines]


def _count(table: str) -> int:
    """The number of results in `table.csv`, by rows."""
    lines = csv.DictReader(io.StringIO(table))
    return sum(int(float(line.get(name) or 0)) for line in lines for name in ("n", "diverged"))


def _mark(results: Results) -> str:
    """A hash of everything that a report shows, and of the code that makes it."""
    from ablate.analysis import reference
    from ablate.report.figure import figures

    e, records = results.experiment, results.records
    rows = [[r.named, r.section, dict(r.changed), list(r.keys), r.base, [*r.levels]] for r in e.rows]
    claims = [c.model_dump() for c in e.claims]
    plan = [e.name, e.summary, e.profile.model_dump(mode="json"), list(e.seeds), rows, e.notes, claims]
    # not all records have some
    curves = [key for key in records if results.store.folder(key).metrics.exists()]
    if e.tuning:
        plan += [e.tuning.tune.model_dump(), [found.plain() for found in e.tuning.found.values()]]
    predicted = [seen.line for seen in results.predictions]
    shown = [plan, records, curves, predicted]
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode())
    code = [
        file for name in SHOWN_BY for file in (PACKAGE / name).rglob("*") if file.suffix in (".py", ".j2")
    ]
    published = reference.location()
    for file in sorted({*code, *(f.source() for f in figures())}) + ([published] if published else []):
        digest.update(file.read_bytes())
    return digest.hexdigest()
