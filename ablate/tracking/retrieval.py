"""Fetches cells back from MLflow, as the files that were logged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ablate.core.errors import SpecError
from ablate.evaluation import ruler
from ablate.runs.record import ENDED
from ablate.runs.records_file import KEY, Offer
from ablate.tracking import unsent
from ablate.tracking.backend import Backend
from ablate.tracking.mirror import GRID
from ablate.tracking.tracker import load_mlflow, reported

FILES = (*unsent.FILES, unsent.MODEL)  # the model only if it was logged
PAGE = 1000  # results per request


def offers(uri: str) -> Iterator[Offer]:
    """The ended cells of a store, newest first; their files are downloaded one cell at a time.

    Raises:
        SpecError: the store does not exist, or does not answer.
    """
    backend = Backend(Path(), uri)
    if backend.file and not backend.file.is_file():
        raise SpecError(f"{uri}: no such file")  # sqlite would create it
    with reported(f"MLflow at {backend}"):
        runs = list(_runs(load_mlflow().MlflowClient(backend.uri)))
    for key, place in runs:
        yield key, partial(_write, backend.uri, key, place)


def cell(runs: Path, uri: str | None, run: str) -> tuple[str, Callable[[Path], None]]:
    """The key of the cell that a run shows, and a function that downloads the cell's files into a folder.

    Raises:
        SpecError: the store does not exist or answer, or has no such run of a cell.
    """
    backend = Backend(runs, uri)
    if backend.file and not backend.file.is_file():
        raise SpecError(f"run {run}: {backend}: no such file")  # sqlite would create it
    with reported(f"run {run}"):
        found = load_mlflow().MlflowClient(backend.uri).get_run(run)
    if not re.fullmatch(KEY, key := found.data.tags.get("ablate.key", "")):
        raise SpecError(f"run {run} is not of a cell; name the run of a row and a seed")
    return key, partial(_write, backend.uri, key, found.info.artifact_uri)


def rulers(uri: str, folder: Path) -> None:
    """Download the extractors in the reports that experiments' own runs have."""
    backend, mlflow = Backend(Path(), uri), load_mlflow()
    listed = partial(mlflow.artifacts.list_artifacts, tracking_uri=backend.uri)
    with reported(f"MLflow at {backend}"):
        client = mlflow.MlflowClient(backend.uri)
        for experiment in _pages(client.search_experiments):
            request = partial(client.search_runs, [experiment.experiment_id], "tags.`ablate.parent` = 'true'")
            for place in (run.info.artifact_uri for run in _pages(request)):
                reports = [Path(file.path).name for file in listed(artifact_uri=place) if file.is_dir]
                for there in (f"{place}/{report}" for report in reports):
                    names = [Path(file.path).name for file in listed(artifact_uri=there)]
                    for name in filter(re.compile(f"{ruler.LABEL.pattern}{ruler.SUFFIX}").fullmatch, names):
                        found = {"artifact_uri": f"{there}/{name}", "dst_path": str(folder)}
                        mlflow.artifacts.download_artifacts(**found, tracking_uri=backend.uri)


def _runs(client: Any) -> Iterator[tuple[str, str]]:
    """Key and artifact URI of every cell that ended."""
    places = [e.experiment_id for e in _pages(client.search_experiments)]
    for at in range(0, len(places), PAGE):
        request = partial(client.search_runs, places[at : at + PAGE], "tags.`ablate.key` LIKE '%'")
        for run in _pages(partial(request, order_by=["attributes.start_time DESC"])):
            key = run.data.tags["ablate.key"]
            if run.data.tags.get("ablate.state") in ENDED and re.fullmatch(KEY, key):
                yield key, run.info.artifact_uri


def _pages(search: Any) -> Iterator[Any]:
    """All results of a search, page by page."""
    token: str | None = ""
    while token is not None:
        page = search(max_results=PAGE, page_token=token or None)
        yield from page
        token = page.token or None


def _write(uri: str, key: str, place: str, folder: Path) -> None:
    """Download the files of a cell into `folder`; other artifacts of the run are left out."""
    artifacts = load_mlflow().artifacts

    def download(under: str, wanted: Callable[[str], object]) -> set[str]:
        names = {
            Path(f.path).name for f in artifacts.list_artifacts(artifact_uri=place + under, tracking_uri=uri)
        }
        for name in filter(wanted, sorted(names)):
            there, here = f"{place}{under}/{name}", str(folder) + under
            artifacts.download_artifacts(artifact_uri=there, dst_path=here, tracking_uri=uri)
        return names

    with reported(f"cell {key}"):
        if "samples" in download("", FILES.__contains__):
            download("/samples", GRID.fullmatch)
        for picture in folder.glob("samples/*"):
            with Image.open(picture, formats=["PNG"]) as opened:
                opened.verify()
