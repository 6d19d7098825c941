"""Records as a tidy pandas frame: one line per row, seed and number of evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.evaluation.metrics import FACTS, METRICS, of_training

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

Records = Mapping[str, dict[str, Any] | None]
CELL = ("index", "row", "section", "seed", "key", "state", "reason", "images", "wall_s", "parameters")


@dataclass(frozen=True)
class Column:
    """Values that were measured in the same way.

    measured_differently: the facts that set it apart from other columns of as many evaluations, '' if there are none.
    by: extractor and number of samples, '' before anything is measured.
    """

    nfe: int
    measured_differently: str = ""
    by: str = ""

    def named(self, metric: str, tail: str = "") -> str:
        """The column's name in a CSV: `fid_1step_std`, `fid_1step (n=500)`."""
        more = f" ({self.measured_differently})" if self.measured_differently else ""
        return f"{metric}_{self.nfe}step{tail}{more}"

    @property
    def heading(self) -> str:
        """The column's name in a page: `FID 1 step (classifier-1a2b3c4d, n=1000)`."""
        more = [
            part
            for part in self.measured_differently.split("; ")
            if part and part not in self.by and "extractor=" not in part
        ]
        facts = ", ".join([*([self.by] if self.by else []), *more])
        return f"FID {self.nfe} step{'s' if self.nfe > 1 else ''}" + (f" ({facts})" if facts else "")


def records(experiment: Experiment, store: Store, extractor: str = "") -> dict[str, dict[str, Any] | None]:
    """The record of every cell by key, with the entries that `chosen` leaves; None where it has none yet."""
    return chosen({key: store.record(key) for row in experiment.rows for key in row.keys}, extractor)


def chosen(known: Records, extractor: str = "") -> dict[str, dict[str, Any] | None]:
    """Records with the entries that a table shows: those measured at the end of training or, if you name an extractor
    (`inception`, or its label), those by it, of each number of evaluations the ones with most samples.
    """
    return {key: record and {**record, **_entries(record, extractor)} for key, record in known.items()}


def _entries(record: dict[str, Any], extractor: str) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for metric in METRICS:
        entries = record.get(metric) or []
        if extractor:
            by = [e for e in entries if (e.get("extractor") or "").startswith(extractor)]
            most = {
                nfe: max(e.get("n") or 0 for e in by if e["nfe"] == nfe) for nfe in {e["nfe"] for e in by}
            }
            entries = [e for e in by if (e.get("n") or 0) == most[e["nfe"]]]
        else:
            entries = of_training(record, metric)
        found[metric] = entries
    return found


def real_fid(known: Records) -> dict[tuple[Any, ...], float]:
    """FID of real images against held-out ones, by (extractor, n, reference)."""
    measured = [f for r in known.values() if r for f in (r.get("floor"), *(r.get("floors") or [])) if f]
    found = [f for f in measured if f.get("fid") is not None]
    return {(f.get("extractor"), f.get("n"), f.get("reference")): f["fid"] for f in found}


def frame(experiment: Experiment, known: Records) -> pd.DataFrame:
    """The tidy frame; a cell without values has one line, with its state."""
    import pandas as pd

    lines = [
        line
        for index, row in enumerate(experiment.rows)
        for seed, key in zip(experiment.seeds, row.keys, strict=False)  # rows may have fewer seeds
        for line in _cell(
            {"index": index, "row": row.label, "section": row.section, "seed": seed}, key, known.get(key)
        )
    ]
    table = pd.DataFrame(lines, columns=[*CELL, "nfe", *FACTS, *METRICS])
    table = table.astype({"nfe": "Int64", "n": "Int64", **dict.fromkeys(METRICS, "float64")})
    return table.assign(measured_differently=_differing(table))


def _cell(start: dict[str, Any], key: str, record: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    state = (record or {}).get("state", "missing")
    start = {**start, "key": key, "state": state, **{k: (record or {}).get(k) for k in CELL[6:]}}
    entries = _measured(record or {}) if state == "finished" else []
    yield from ({**start, **entry} for entry in entries or [{}])


def _measured(record: dict[str, Any]) -> list[dict[str, Any]]:
    """All metrics of the same samples on one line."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for metric in METRICS:
        for entry in record.get(metric) or []:
            facts = {"nfe": entry["nfe"], **{f: _plain(entry.get(f)) for f in FACTS}}
            line = found.setdefault(tuple(facts.values()), facts)
            line[metric] = entry.get("value", entry.get(metric))
    return list(found.values())


def _plain(value: Any) -> Any:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value


def _differing(table: pd.DataFrame) -> list[str]:
    """For each line, the facts in which the lines of its nfe differ."""
    measured = table.dropna(subset="nfe")
    differing = {
        nfe: [f for f in FACTS if lines[f].nunique(dropna=False) > 1]
        for nfe, lines in measured.groupby("nfe")
    }
    plain = table[["nfe", *FACTS]].astype(object).where(table["nfe"].notna(), None).to_dict("records")
    return ["; ".join(f"{f}={line[f]}" for f in differing.get(line["nfe"], ())) for line in plain]


def columns(table: pd.DataFrame, planned: tuple[int, ...] = (1, 2)) -> list[Column]:
    """The columns of a frame; those of `planned` evaluations are included before anything is measured."""
    found = [_column(*facts) for facts in _distinct(table)]
    empty = [Column(nfe) for nfe in planned if nfe not in {c.nfe for c in found}]
    return sorted([*found, *empty], key=lambda c: (c.nfe, c.measured_differently))


def _distinct(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    key = ["nfe", "measured_differently"]
    facts = table.dropna(subset="nfe")[[*key, "extractor", "n"]].drop_duplicates(key)
    return list(facts.astype(object).where(facts.notna(), None).itertuples(index=False, name=None))


def _column(nfe: int, how: str, extractor: str | None, n: int | None) -> Column:
    by = ", ".join([*([extractor] if extractor else []), *([f"n={n}"] if n else [])])
    return Column(int(nfe), how, by)
