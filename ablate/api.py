"""For notebooks: results as a tidy frame, a finished cell as a sampler. Heavy libraries are imported on first use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ablate.inference.model import Model


def results(experiment: str | Path, runs: str | Path = "runs", **options: Any) -> pd.DataFrame:
    """The recorded results of an experiment: one line per row, seed and number of evaluations.

    Args:
        experiment: a file, or the name of one in `experiments/`: `results("table1")`.
        runs: the runs directory.
        options: `profile`, `overrides` (dotted) and `seeds`, as for `run`.
    Returns:
        A table with `row`, `section`, `seed`, `key`, `state`, `nfe`, `fid`, `kid`, `precision`, `recall`, how they
        were measured, and a column for every field in which the rows differ.
    Raises:
        SpecError: mistakes in the file.
    """
    from ablate.analysis import frame, sequential
    from ablate.analysis.lines import varied
    from ablate.core import yaml_files
    from ablate.planning import planner
    from ablate.runs.store import Store

    file = Path(experiment)
    if not file.suffix:
        places = [folder / f"{experiment}.yaml" for folder in yaml_files.folders("")]
        file = next((place for place in places if place.is_file()), places[0])
    planned = sequential.recorded(planner.load(file, runs=Path(runs), **options), Path(runs))
    table = frame.frame(planned, frame.records(planned, Store(Path(runs))))
    flats = [row.recipe.flat() for row in planned.rows]
    for name in varied(flats):
        table[name] = table["index"].map(lambda i, n=name: flats[i].get(n))
    return table


def load(key: str, runs: str | Path = "runs", device: str = "cpu") -> Model:
    """Load a finished cell by its key or the first digits of it: `load("33dd").sample(16)` gives images (16, C, H, W).

    Raises:
        SpecError: there is no such cell, or it has no weights.
    """
    from ablate.inference import model
    from ablate.runs.store import Store

    return model.load(Store(Path(runs)), key, device)
