"""reports/<experiment>/: tables, figures and a page, made from records alone."""

from __future__ import annotations

import hashlib
import json
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


def write(experiment: Experiment, store: Store, reports_dir: Path) -> Path:
    """Write an experiment's report, unless it is up to date.

    The tables come first, then the figures, then the page that shows both. A figure that cannot be drawn costs one line
    of warning and is tried again next time.

    Returns:
        The report's folder.
    Raises:
        SpecError: the folder cannot be made.
    """
    from ablate.analysis.results import Results
    from ablate.core.files import read_json, write_json
    from ablate.report import figure

    folder, results = _folder(Path(reports_dir) / experiment.name), Results(experiment, store)
    mark, before = _mark(results), read_json(folder / MARK) or {}
    old, names = before.get("figures", []), before.get("figures", [])
    same = before.get("mark") == mark and all((folder / name).is_file() for name in old)
    if same and all((folder / name).is_file() for name in (*tables(), *PAGE)):
        return folder
    for name, render in tables().items():
        _text(folder / name, render(results, folder))
    if not same:
        names, whole = figure.draw(results, folder)
        mark = mark if whole else ""
        for name in set(old) - set(names):
            (folder / name).unlink(missing_ok=True)
    _write_page(results, names, folder)
    write_json(folder / MARK, {"mark": mark, "figures": names})
    return folder


def tables() -> dict[str, Callable[[Results, Path], str]]:
    """File name -> its text, from the results and the report's folder."""
    from ablate.report.latex import latex
    from ablate.report.tables import csv
    from ablate.runs import records_file

    return {
        "table.csv": lambda results, _: csv(results),
        "table.tex": lambda results, _: latex(results),
        records_file.FILE: lambda results, folder: records_file.text(
            results.experiment, results.store, folder / records_file.FILE
        ),
    }


def _write_page(results: Results, figures: list[str], folder: Path) -> None:
    from ablate.report.html import html
    from ablate.report.page import page

    markdown, whole = PAGE
    text = page(results, figures)
    _text(folder / markdown, text)
    _text(folder / whole, html(results, text, folder))


def _text(path: Path, text: str) -> None:
    from ablate.core.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _folder(path: Path) -> Path:
    from ablate.core.errors import SpecError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return path


def _mark(results: Results) -> str:
    """A hash of everything that a report shows, and of the code that makes it."""
    from ablate.analysis import reference
    from ablate.report.figure import figures

    e, records = results.experiment, results.records
    rows = [[r.label, r.section, dict(r.changed), list(r.keys), r.base] for r in e.rows]
    claims = [c.model_dump() for c in e.claims]
    plan = [e.name, e.summary, e.profile.model_dump(mode="json"), list(e.seeds), rows, e.notes, claims]
    curves = [
        key for key in records if results.store.folder(key).metrics.exists()
    ]  # not all records have some
    digest = hashlib.sha256(json.dumps([plan, records, curves], sort_keys=True, default=str).encode())
    code = [
        file for name in SHOWN_BY for file in (PACKAGE / name).rglob("*") if file.suffix in (".py", ".j2")
    ]
    published = reference.location()
    for file in sorted({*code, *(f.source() for f in figures())}) + ([published] if published else []):
        digest.update(file.read_bytes())
    return digest.hexdigest()
