"""Optuna's samplers, pruners and storages, by Optuna's own names."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from ablate.core.errors import SpecError, nearest

SAMPLERS = {n: getattr(optuna.samplers, n) for n in optuna.samplers.__all__ if n.endswith("Sampler")}
PRUNERS = {n: getattr(optuna.pruners, n) for n in optuna.pruners.__all__ if n.endswith("Pruner")}
for _abstract in ("BaseSampler", "BaseGASampler"):
    SAMPLERS.pop(_abstract, None)
PRUNERS.pop("BasePruner", None)
# always set, since versions of Optuna differ in these defaults
DEFAULTS = {"TPESampler": {"multivariate": False, "constant_liar": True}}
NESTED = {"base_sampler": SAMPLERS, "wrapped_pruner": PRUNERS}
SCHEMES = ("sqlite", "postgresql", "mysql")


def name_of(spec: str | Mapping[str, Any]) -> str:
    """The name of the class in a file's `sampler` or `pruner`."""
    return str(spec if isinstance(spec, str) else spec.get("name"))


def sampler(
    spec: str | Mapping[str, Any], space: Mapping[str, BaseDistribution], seed: int
) -> optuna.samplers.BaseSampler:
    """Build the sampler that a file describes: a name, or {name, arguments}.

    Args:
        space: the search space; the points of a GridSampler unless the file has them.
        seed: used unless the file has one.
    Raises:
        SpecError: unknown name or argument, a value that Optuna rejects, or a missing package.
    """
    more: dict[str, Any] = {"seed": seed}
    if name_of(spec) == "GridSampler" and not (isinstance(spec, Mapping) and "search_space" in spec):
        more["search_space"] = _grid(space)
    result: optuna.samplers.BaseSampler = _build("sampler", spec, SAMPLERS, more)
    return result


def pruner(spec: str | Mapping[str, Any], points: int) -> optuna.pruners.BasePruner:
    """Build the pruner that a file describes; its steps are the evaluation points, counted from 1."""
    more = {"max_resource": points} if name_of(spec) == "HyperbandPruner" else {}
    result: optuna.pruners.BasePruner = _build("pruner", spec, PRUNERS, more)
    return result


def _build(path: str, spec: Any, known: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
    """Build a class of `known` with the file's arguments, and those of `more` that it has and the file does not set."""
    given = {k: v for k, v in spec.items() if k != "name"} if isinstance(spec, Mapping) else {}
    name = name_of(spec)
    if name not in known:
        raise SpecError(f"{path}: {name!r}; {nearest(name, known)}")
    accepted = set(inspect.signature(known[name].__init__).parameters) - {"self"}
    if unknown := [k for k in given if k not in accepted]:
        raise SpecError(f"{path}.{unknown[0]}: {name} has no such argument; {nearest(unknown[0], accepted)}")
    arguments = {k: v for k, v in {**more, **DEFAULTS.get(name, {})}.items() if k in accepted} | given
    for key in NESTED.keys() & given.keys():
        arguments[key] = _build(f"{path}.{key}", given[key], NESTED[key], more)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if name == "CmaEsSampler":  # Optuna imports it at the first use, too late for a clear error
                import cmaes  # noqa: F401
            return known[name](**arguments)
    except ImportError as error:
        raise SpecError(f"{path}: {name} needs another package: {str(error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:
        raise SpecError(f"{path}: {name}: {str(error).splitlines()[0]}") from None


def _grid(space: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """All values of every distribution.

    Raises:
        SpecError: a distribution with infinitely many values.
    """
    points: dict[str, list[Any]] = {}
    for name, d in space.items():
        if isinstance(d, CategoricalDistribution):
            points[name] = list(d.choices)
            continue
        low, high, step = (getattr(d, k) for k in ("low", "high", "step"))
        if not step or getattr(d, "log", False):
            raise SpecError(f"search.{name}: a GridSampler needs a list of values, or a step")
        count = int((high - low) / step + 1e-9) + 1
        points[name] = [low + i * step for i in range(count)]
    return points


def journal(runs: Path, name: str) -> Path:
    """The file with a study's trials, if they are not in a database."""
    return runs / "studies" / f"{name}.journal"


def storage(runs: Path, name: str, url: str | None) -> BaseStorage:
    """The storage of trials: a journal in the runs directory, or the database at `url`.

    A lock protects the creation of a database, which would fail in all of several processes at the same time.

    Raises:
        SpecError: an invalid URL, a database that does not answer, or a missing driver.
    """
    file = journal(runs, name)
    folder = file.parent
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(file)))
    if url.split(":")[0].split("+")[0] not in SCHEMES or "://" not in url:
        raise SpecError(f"--storage {masked(url)}: a URL is needed, such as sqlite:////tmp/studies.db")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / ".storage.lock"):
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise SpecError(f"--storage {masked(url)}: {error}") from None
    except Exception as error:  # errors of SQLAlchemy, driver and Optuna have no common base
        line = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        raise SpecError(f"--storage {masked(url)}: {line[:200]}") from None


def masked(url: str) -> str:
    """The URL with user and password replaced by dots."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else url


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log lines, which would break the progress bars."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
