"""The way back from MLflow: the cells that a store shows, as the files they were made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ablate.core.errors import SpecError
from ablate.runs.records_file import KEY, Offer
from ablate.tracking import notes
from ablate.tracking.backend import Backend
from ablate.tracking.mirror import GRID
from ablate.tracking.tracker import _mlflow, told

FILES = (*notes.FILES, notes.MODEL)  # a model where somebody logged it
ENDED = ("finished", "diverged", "failed")
PAGE = 1000  # runs of one answer


def offers(uri: str) -> Iterator[Offer]:
    """The cells of a store that ended, the newest first; their files are asked for one cell at a time.

    Raises:
        SpecError: the store is not there, or does not answer.
    """
    backend = Backend(Path(), uri)
    if backend.file and not backend.file.is_file():
        raise SpecError(f"{uri}: no such file")  # sqlite would make it
    with told(f"MLflow at {backend}"):
        runs = list(_runs(_mlflow().MlflowClient(backend.uri)))
    for key, place in runs:
        yield key, partial(_write, backend.uri, key, place)


def _runs(client: Any) -> Iterator[tuple[str, str]]:
    """Key of every cell that ended, and where its run keeps files."""
    places = [e.experiment_id for e in _pages(client.search_experiments)]
    for at in range(0, len(places), PAGE):
        asked = partial(client.search_runs, places[at : at + PAGE], "tags.`ablate.key` LIKE '%'")
        for run in _pages(partial(asked, order_by=["attributes.start_time DESC"])):
            key = run.data.tags["ablate.key"]
            if run.data.tags.get("ablate.state") in ENDED and re.fullmatch(KEY, key):
                yield key, run.info.artifact_uri


def _pages(search: Any) -> Iterator[Any]:
    """All that a search finds."""
    token: str | None = ""
    while token is not None:
        found = search(max_results=PAGE, page_token=token or None)
        yield from found
        token = found.token or None


def _write(uri: str, key: str, place: str, folder: Path) -> None:
    """Copy a run's files into `folder`; for what else the run has, nobody asks."""
    kept = _mlflow().artifacts

    def copied(under: str, wanted: Callable[[str], object]) -> set[str]:
        found = {Path(f.path).name for f in kept.list_artifacts(artifact_uri=place + under, tracking_uri=uri)}
        for name in filter(wanted, sorted(found)):
            there, here = f"{place}{under}/{name}", str(folder) + under
            kept.download_artifacts(artifact_uri=there, dst_path=here, tracking_uri=uri)
        return found

    with told(f"cell {key}"):
        if "samples" in copied("", FILES.__contains__):
            copied("/samples", GRID.fullmatch)
        for picture in folder.glob("samples/*"):
            with Image.open(picture, formats=["PNG"]) as opened:
                opened.verify()
