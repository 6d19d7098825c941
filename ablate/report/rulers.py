"""The extractors of a report's numbers, as files beside it, so that another machine measures alike."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablate.analysis.results import Results


def keep(results: Results, folder: Path) -> None:
    """Put the extractors of people's own data into a report's folder; shipped ones are on every machine."""
    from ablate.core.files import atomic_write
    from ablate.evaluation import ruler

    wanted = ruler.labels(results.records.values()) - {*ruler.files(ruler.SHIPPED)}
    wanted = {label for label in wanted if not (folder / f"{label}{ruler.SUFFIX}").exists()}
    here = ruler.files(results.store.path / "cache") if wanted else {}
    for label in wanted & {*here}:
        with atomic_write(folder / f"{label}{ruler.SUFFIX}") as temporary:
            shutil.copyfile(here[label], temporary)
