"""Optuna's samplers, pruners and storages by the names that Optuna gives them."""

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
# Optuna's versions differ in these defaults, so that they are always said
SAID = {"TPESampler": {"multivariate": False, "constant_liar": True}}
NESTED = {"base_sampler": SAMPLERS, "wrapped_pruner": PRUNERS}
SCHEMES = ("sqlite", "postgresql", "mysql")


def name_of(spec: str | Mapping[str, Any]) -> str:
    """The class that a file's `sampler` or `pruner` names."""
    return str(spec if isinstance(spec, str) else spec.get("name"))


def sampler(
    spec: str | Mapping[str, Any], space: Mapping[str, BaseDistribution], seed: int
) -> optuna.samplers.BaseSampler:
    """The sampler that a file describes: a name, or {name, arguments}.

    Args:
        space: what is searched; a GridSampler's points unless the file names them.
        seed: unless the file names one.
    Raises:
        SpecError: unknown name or argument, a value that Optuna refuses, a package that it needs.
    """
    more: dict[str, Any] = {"seed": seed}
    if name_of(spec) == "GridSampler" and not (isinstance(spec, Mapping) and "search_space" in spec):
        more["search_space"] = _grid(space)
    made: optuna.samplers.BaseSampler = _made("sampler", spec, SAMPLERS, more)
    return made


def pruner(spec: str | Mapping[str, Any], rungs: int) -> optuna.pruners.BasePruner:
    """The pruner that a file describes; its steps are the rungs, from 1."""
    more = {"max_resource": rungs} if name_of(spec) == "HyperbandPruner" else {}
    made: optuna.pruners.BasePruner = _made("pruner", spec, PRUNERS, more)
    return made


def _made(path: str, spec: Any, known: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
    """An object of `known`; `more` are arguments that it takes if it has them and the file does not name them."""
    given = {k: v for k, v in spec.items() if k != "name"} if isinstance(spec, Mapping) else {}
    name = name_of(spec)
    if name not in known:
        raise SpecError(f"{path}: {name!r}; {nearest(name, known)}")
    taken = set(inspect.signature(known[name].__init__).parameters) - {"self"}
    if unknown := [k for k in given if k not in taken]:
        raise SpecError(f"{path}.{unknown[0]}: {name} has no such argument; {nearest(unknown[0], taken)}")
    arguments = {k: v for k, v in {**more, **SAID.get(name, {})}.items() if k in taken} | given
    for key in NESTED.keys() & given.keys():
        arguments[key] = _made(f"{path}.{key}", given[key], NESTED[key], more)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made = known[name](**arguments)
            if name == "CmaEsSampler":  # imported at its first use, which is too late for a clear word
                import cmaes  # noqa: F401
            return made
    except ImportError as error:
        raise SpecError(f"{path}: {name} needs a package more: {str(error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:
        raise SpecError(f"{path}: {name}: {str(error).splitlines()[0]}") from None


def _grid(space: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """All values of every distribution."""
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
    """The file of a study's trials, unless they are in a database."""
    return runs / "studies" / f"{name}.journal"


def storage(runs: Path, name: str, url: str | None) -> BaseStorage:
    """Where trials are kept: a journal in the runs directory, or the URL of a database.

    A new database is made under a lock: several processes that make it at once would all fail.

    Raises:
        SpecError: an address that is none, a database that does not answer or whose driver is absent.
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
    except Exception as error:  # of SQLAlchemy, of the driver, of Optuna: no common base
        line = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        raise SpecError(f"--storage {masked(url)}: {line[:200]}") from None


def masked(url: str) -> str:
    """The URL without what stands between // and @."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else url


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna's own log lines would tear the progress bars."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
