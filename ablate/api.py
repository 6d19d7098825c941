"""For notebooks: results as a tidy frame, a finished cell as a sampler. Heavy libraries are imported on first use."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ablate.inference.model import Model
    from ablate.runs.store import Store


def results(experiment: str | Path, runs: str | Path = "runs", **options: Any) -> pd.DataFrame:
    """The recorded results of an experiment: one line per row, seed and number of evaluations.

    Args:
        experiment: a file, with or without `.yaml`, or the name of one in `experiments/`: `results("table1")`.
        runs: the runs directory.
        options: `profile`, `overrides` (dotted) and `seeds`, as for `run`.
    Returns:
        A table with `row`, `section`, `seed`, `key`, `state`, `nfe`, `fid`, `kid`, `precision`, `recall`, how they
        were measured, and a column for every field in which the rows differ.
    Raises:
        SpecError: no such file, or mistakes in it.
    """
    from ablate.analysis import frame, sequential
    from ablate.analysis.lines import varied
    from ablate.planning import planner
    from ablate.runs.store import Store

    planned = sequential.recorded(planner.load(_file(experiment), runs=Path(runs), **options), Path(runs))
    table = frame.frame(planned, frame.records(planned, Store(Path(runs))))
    flats = [row.recipe.flat() for row in planned.rows]
    for name in varied(flats):
        table[name] = table["index"].map(lambda i, n=name: flats[i].get(n))
    if planned.budgets:
        table["budget"] = table["index"].map(lambda i: planned.rows[i].budget)
    return table


def _file(experiment: str | Path) -> Path:
    from ablate.core import yaml_files
    from ablate.core.errors import SpecError, nearest

    given, known = Path(experiment), yaml_files.named("")
    places = [given, *(Path(f"{given}{ending}") for ending in (".yaml", ".yml"))]
    if found := [place for place in [*places, known.get(str(experiment), given)] if place.is_file()]:
        return found[0]
    raise SpecError(f"{experiment}: no such file or experiment; {nearest(given.stem, known)}")


def load(
    key: str | Path, runs: str | Path = "runs", device: str = "cpu", tracking_uri: str | None = None
) -> Model:
    """Load the network of a finished cell: `load("33dd").sample(16)` gives images (16, C, H, W).

    Args:
        key: the key of a cell in `runs` or its first digits, the folder of an export, or the id of a run in MLflow.
        runs: the runs directory.
        tracking_uri: of MLflow; by default MLFLOW_TRACKING_URI, else the database in `runs`.
    Raises:
        SpecError: there is no such cell, folder or run, or it has no weights.
    """
    from ablate.core.errors import SpecError, nearest
    from ablate.inference import model
    from ablate.runs.store import Store, beginning

    store, text = Store(Path(runs)), str(key)
    if re.fullmatch("[0-9a-f]{32}", text) and not Path(key).exists():
        return _of_run(store, text, device, tracking_uri)
    keys = [] if isinstance(key, Path) or os.sep in text else store.keys()
    if not text or beginning(keys, text):
        return model.load(store, text, device)
    if Path(key).is_dir():
        return model.load_export(key, device)
    names = [*keys, *(str(file.parent) for file in Path(key).parent.glob("*/config.json"))]
    hint = nearest(text, names) if names else "there are none"
    raise SpecError(f"{text!r}: no cell in {store.path} and no folder of an export; {hint}")


def _of_run(store: Store, run: str, device: str, tracking_uri: str | None) -> Model:
    """The network of the cell that a run of MLflow shows: from the store or, if it is not there, from MLflow."""
    from ablate.core import hint
    from ablate.core.errors import SpecError
    from ablate.inference import model
    from ablate.runs.store import Folder
    from ablate.tracking import retrieval

    key, download = retrieval.cell(store.path, tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"), run)
    if store.folder(key).model.is_file():
        return model.load(store, key, device)
    with tempfile.TemporaryDirectory() as place:
        download(Path(place))
        if not Folder(Path(place)).model.is_file():
            raise SpecError(
                f"run {run}: cell {key} is not in {store.path}, and MLflow does not have its weights: "
                f"{hint.command('sync', 'FILE', '--models', keep=(hint.RUNS, hint.TRACKING))} sends them"
            )
        return model.load_export(place, device)
