"""For notebooks: results as a tidy frame, a finished cell as a sampler. Nothing is imported before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ablate.inference.model import Model


def results(experiment: str | Path, runs: str | Path = "runs", **options: Any) -> pd.DataFrame:
    """What is recorded of an experiment, a line per row, seed and number of evaluations.

    Args:
        experiment: a file, or the name of one in `experiments/`: `results("table1")`.
        options: `profile`, `overrides` (dotted) and `seeds`, as `run` takes them.
    Returns:
        `row`, `section`, `seed`, `key`, `state`, `nfe`, `fid`, `kid`, `precision`, `recall`, what they were measured
        by, and a column for every field in which the rows differ.
    Raises:
        SpecError: mistakes of the file.
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
    planned = sequential.recorded(planner.load(file, **options), Path(runs))
    found = frame.frame(planned, frame.records(planned, Store(Path(runs))))
    flats = [row.recipe.flat() for row in planned.rows]
    for name in varied(flats):
        found[name] = found["index"].map(lambda i, n=name: flats[i].get(n))
    return found


def load(key: str, runs: str | Path = "runs", device: str = "cpu") -> Model:
    """A finished cell by its key or the beginning of it: `load("33dd").sample(16)` are images (16, C, H, W).

    Raises:
        SpecError: no such cell, or one without weights.
    """
    from ablate.inference import model
    from ablate.runs.store import Store

    return model.load(Store(Path(runs)), key, device)
