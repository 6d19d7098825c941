"""Measures finished cells again from their kept weights: by another extractor, with more samples, at other levels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import SpecError
from ablate.core.files import write_json
from ablate.core.hardware import cores, devices, use
from ablate.data import datasets
from ablate.data.datasets import Images
from ablate.evaluation.metrics import FACTS, METRICS
from ablate.inference.model import Model, finite_pixels, load, require_own
from ablate.planning.cells import Cell
from ablate.runs import failures
from ablate.runs.assess import Ruled, schedules
from ablate.runs.store import Folder, Store
from ablate.training.sampling import generate

HOW = "nfe", *FACTS  # entries that agree in these say the same


@dataclass(frozen=True)
class Wanted:
    """What to measure; an empty value means as the cell's profile says.

    sigmas: descending levels of one sampling schedule; those of the profile if empty.
    """

    extractor: str = ""
    samples: int | None = None
    sigmas: tuple[float, ...] = ()

    def schedules(self, cell: Cell) -> list[list[float]]:
        """The sampling schedules for a cell, each from its sigma_max.

        Raises:
            SpecError: a level above the cell's sigma_max, or one at which the model is another network.
        """
        top = cell.recipe.levels.sigma_max
        if not self.sigmas:
            return schedules(cell)
        if self.sigmas[0] > top:
            raise SpecError(
                f"--sigmas {self.sigmas[0]:g}: above {top:g}, the highest level that cell {cell.key} was trained on"
            )
        require_own(cell, self.sigmas)
        return [[top, *(s for s in self.sigmas if s < top)]]


@dataclass(frozen=True)
class Again:
    """A cell that was measured again: the entries that its record got, by metric; empty if it had them all.

    failed: why it could not be measured; other cells can be.
    """

    key: str
    entries: dict[str, list[dict[str, Any]]]
    failed: Exception | None = None


def split(store: Store, keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """The finished cells with weights on this machine, and those without."""
    finished = [key for key in keys if (store.record(key) or {}).get("state") == "finished"]
    here = [key for key in finished if store.folder(key).model.exists()]
    return here, [key for key in finished if key not in here]


def measure(store: Store, keys: Iterable[str], wanted: Wanted, data: Any = None) -> Iterator[Again]:
    """Measure cells one after another; each record gets its further entries before the next cell begins.

    Args:
        data: where the images are; as the cells have it by default.
    Raises:
        SpecError: the images are missing, or not those that a cell was trained on.
    """
    device, known = devices()[0], dict[str, Images]()
    for key in keys:
        try:
            model = load(store, key, device)
        except Exception as error:
            yield Again(key, {}, failures.of_one_cell(error, store.path))
            continue
        if (mark := model.cell.fingerprint) not in known:
            known = {mark: datasets.load(data or model.cell.profile.data, device, store.cache, mark)}
        use(model.cell.profile.threads or cores())
        try:
            again = Again(key, _measure(store, model, wanted, known[mark], device))
        except Exception as error:
            again = Again(key, {}, failures.of_one_cell(error, store.path))
        yield again


def _measure(
    store: Store, model: Model, wanted: Wanted, images: Images, device: str
) -> dict[str, list[dict[str, Any]]]:
    cell, folder = model.cell, store.folder(model.cell.key)
    by = Ruled.of(cell, images, store.cache, device, wanted.extractor, wanted.samples)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in METRICS}
    for sigmas in wanted.schedules(cell):
        facts = {"nfe": len(sigmas), "n": by.n, "extractor": by.extractor.label, "weights": "ema"}
        facts |= {"reference": by.reference.label, "sigmas": sigmas}
        had = store.record(cell.key) or {}
        if all(_has(had.get(name), facts) for name in METRICS):
            continue
        e, low = cell.profile.evaluation, cell.recipe.levels.sigma_min
        x = generate(model.f, model.shape, by.n, sigmas, low, cell.seed, e.batch, device)
        for name, entry in by.entries(finite_pixels(cell, x), sigmas).items():
            if not _has(had.get(name), entry):
                found[name].append({**entry, "again": True})
    if any(found.values()):
        _add(folder, store, found, by.floor())
    return {name: entries for name, entries in found.items() if entries}


def _has(entries: list[dict[str, Any]] | None, wanted: dict[str, Any]) -> bool:
    return any(all(entry.get(fact) == wanted[fact] for fact in HOW) for entry in entries or [])


def _add(folder: Folder, store: Store, found: dict[str, list[dict[str, Any]]], floor: dict[str, Any]) -> None:
    """Add entries to a record; what it has stays as it is."""
    with folder.lock():
        record = store.record(folder.key)
        if record is None:
            raise SpecError(f"cell {folder.key}: its record was removed meanwhile")
        for name, entries in found.items():
            record[name] = [*(record.get(name) or []), *(e for e in entries if not _has(record.get(name), e))]
        floors = record.get("floors") or []
        if floor != record.get("floor") and floor not in floors:
            record["floors"] = [*floors, floor]
        write_json(folder.record, record)
