"""The FID of every row beside that of another report, and why the two may differ."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from ablate.analysis import frame
from ablate.analysis.results import Results
from ablate.core.errors import SpecError
from ablate.core.formats import count, number
from ablate.report.markdown import table
from ablate.runs import records_file

Records = dict[str, dict[str, Any]]
ABOUT = {
    "extractor": "the extractor: FIDs of two extractors do not compare exactly",
    "versions": "versions of packages",
    "device": "the processor: sums are rounded in another order",
    "threads": "the number of threads: sums are rounded in another order",
}


def beside(results: Results, folder: Path) -> str:
    """A table of one-step FIDs, means over the seeds that both have, and what differs between the two.

    Args:
        folder: a report with a records file.
    Raises:
        SpecError: it has none, or none of these cells.
    """
    lines = records_file.read(folder / records_file.FILE)
    chosen = frame.chosen({key: line["record"] for key, line in lines.items()}, results.extractor)
    there = {key: record for key, record in chosen.items() if record}
    here = {key: record for key, record in results.records.items() if record and key in there}
    if not here:
        raise SpecError(f"--beside {folder}: {records_file.FILE} has no cells with a result here")
    rows = []
    for label, keys in {row.named: row.keys for row in results.experiment.rows}.items():
        both = [key for key in keys if key in here]
        rows.append([label, str(len(both)), _mean(here, both), _mean(there, both)])
    shown = table(["row", "seeds", "FID 1 step, yours", f"FID 1 step, {folder}"], rows)
    return f"{shown}\n\n{_why(here, {key: there[key] for key in here})}"


def _mean(records: Records, keys: list[str]) -> str:
    values = [x["value"] for key in keys for x in records[key].get("fid", []) if x["nfe"] == 1]
    return number(fmean(values)) if values else "-"


def _why(here: Records, there: Records) -> str:
    if all(here[key].get("fid") == there[key].get("fid") for key in here):
        return f"All numbers of {count(len(here), 'cell')} are the same."
    facts = {about: (_facts(here, name), _facts(there, name)) for name, about in ABOUT.items()}
    found = [
        f"- {about}: {', '.join(sorted(a - b))} here, {', '.join(sorted(b - a))} there"
        for about, (a, b) in facts.items()
        if a != b
    ]
    return (
        "\n".join(["What differs:", *found]) if found else "Extractor, versions and processor are the same."
    )


def _facts(records: Records, name: str) -> set[str]:
    """The values of a fact over all records."""
    found = set[str]()
    for record in records.values():
        if name == "extractor":
            found |= {str(x.get(name)) for x in record.get("fid", [])}
        else:
            value = (record.get("provenance") or {}).get(name)
            found |= {f"{k} {v}" for k, v in value.items()} if isinstance(value, dict) else {str(value)}
    return found
