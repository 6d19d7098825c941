"""Optuna's samplers, pruners and storages, by Optuna's own names."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ablate.core import hint
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.typed import shown
from ablate.planning.points import EXHAUSTIVE, name_of
from ablate.study import space as spaces
from ablate.study.exhaustive import Exhaustive
from ablate.study.journal import Journal, Snapshot

SAMPLERS = {n: getattr(optuna.samplers, n) for n in optuna.samplers.__all__ if n.endswith("Sampler")}
PRUNERS = {n: getattr(optuna.pruners, n) for n in optuna.pruners.__all__ if n.endswith("Pruner")}
for _abstract in ("BaseSampler", "BaseGASampler"):
    SAMPLERS.pop(_abstract, None)
PRUNERS.pop("BasePruner", None)
# always set, since versions of Optuna differ in these defaults
DEFAULTS = {"TPESampler": {"multivariate": False, "constant_liar": True}}
NESTED = {"base_sampler": SAMPLERS, "wrapped_pruner": PRUNERS}
MOST_REHEARSED = 128
PLAIN: dict[str, tuple[Any, str]] = {  # types of arguments that a file can have, and their names for messages
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "text"),
    "None": (type(None), "nothing"),
}
SCHEMES = ("sqlite", "postgresql", "mysql")


@contextlib.contextmanager
def refusals(where: str) -> Iterator[None]:
    """Turn what Optuna and the libraries below it raise, which has no common base, into one line.

    Raises:
        SpecError: `where`, and the first line of the error.
    """
    try:
        yield
    except (SpecError, ImportError, OSError):  # of the file, an extra, the disk
        raise
    except Exception as error:
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise SpecError(f"{where}: {lines[0][:200]}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence log lines and warnings of Optuna and below, which would break the progress bars."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)


def sampler(
    spec: str | Mapping[str, Any], space: Mapping[str, BaseDistribution], seed: int
) -> optuna.samplers.BaseSampler:
    """Build the sampler that a file describes: a name, or {name, arguments}.

    Args:
        space: the search space; the points of a GridSampler unless the file has them.
        seed: added to that of the file.
    Raises:
        SpecError: unknown name or argument, a value that Optuna rejects, or a missing package.
    """
    kind, arguments = _read("sampler", spec, SAMPLERS, {"seed": seed})
    if (values := _points(spec, space, "sampler")) is not None:
        return Exhaustive(values, space, arguments.get("seed", seed))
    return _built("sampler", kind, arguments)  # type: ignore[no-any-return]


def caught_up(
    sampler: optuna.samplers.BaseSampler,
    space: Mapping[str, BaseDistribution],
    trials: Sequence[FrozenTrial],
    objectives: int,
) -> bool:
    """Let a new sampler draw again, without keeping it, what was drawn for earlier trials; False: it cannot.

    Other samplers than these keep some of their state elsewhere.
    """
    if not isinstance(sampler, optuna.samplers.RandomSampler | optuna.samplers.TPESampler):
        return False
    memory = optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)
    for trial in trials:
        if trial.state == TrialState.WAITING:
            continue
        if "fixed_params" in trial.system_attrs:
            memory.enqueue_trial(trial.system_attrs["fixed_params"])
        memory.tell(memory.ask(fixed_distributions=dict(space)), state=TrialState.FAIL)
        if trial.state.is_finished():
            memory.add_trial(trial)  # later draws may depend on its value
    return True


def pruner(spec: str | Mapping[str, Any], points: int) -> optuna.pruners.BasePruner:
    """Build the pruner that a file describes; its steps are the evaluation points, counted from 1."""
    more = {"max_resource": points} if name_of(spec) == "HyperbandPruner" else {}
    return _built("pruner", *_read("pruner", spec, PRUNERS, more))  # type: ignore[no-any-return]


def _read(
    path: str, spec: Any, known: Mapping[str, Any], more: Mapping[str, Any]
) -> tuple[type, dict[str, Any]]:
    """A class of `known` and its arguments: the file's, and those of `more` that it has and the file does not set."""
    given = {k: v for k, v in spec.items() if k != "name"} if isinstance(spec, Mapping) else {}
    name = name_of(spec)
    if name not in known:
        raise SpecError(f"{path}: no class {name!r}; {nearest(name, known)}")
    parameters = inspect.signature(known[name].__init__).parameters
    accepted = set(parameters) - {"self"}
    if unknown := [k for k in given if k not in accepted]:
        raise SpecError(f"{path}.{unknown[0]}: {name} has no such argument; {nearest(unknown[0], accepted)}")
    for key, value in given.items():  # Optuna takes 'no' for true
        if key != "seed" and (needed := _needed(parameters[key].annotation, value)):
            raise SpecError(f"{path}.{key}: needs {needed}, not {shown(value)}")
    if given.get("seed") is None:
        given.pop("seed", None)
    else:
        given["seed"] = _seed(given["seed"], name, more.get("seed", 0), path)
    arguments = {k: v for k, v in {**more, **DEFAULTS.get(name, {})}.items() if k in accepted} | given
    for key in NESTED.keys() & given.keys():
        kind, inner = _read(f"{path}.{key}", given[key], NESTED[key], more)
        arguments[key] = inner if kind.__name__ in EXHAUSTIVE else _built(f"{path}.{key}", kind, inner)
    return known[name], arguments


def _needed(annotation: Any, value: Any) -> str:
    """What an argument of this type needs, such as `int | None`, if `value` is something else; else empty."""
    names = getattr(annotation, "__name__", str(annotation)).split(" | ")
    if not PLAIN.keys() >= {*names} or (isinstance(value, bool) and "bool" in names):
        return ""
    if not isinstance(value, bool) and any(isinstance(value, PLAIN[name][0]) for name in names):
        return ""
    return " or ".join(PLAIN[name][1] for name in names if name != "None")


def _seed(value: Any, name: str, offset: int, path: str) -> int:
    """The file's seed, moved on with the trials that exist; a quasi-random sequence continues under the same seed."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise SpecError(f"{path}.seed: needs a whole number from 0 to 2^32 - 1, not {value!r}")
    return value if name == "QMCSampler" else (value + offset) % 2**32


def _built(path: str, kind: type, arguments: Mapping[str, Any]) -> Any:
    try:
        with quiet(), refusals(f"{path}: {kind.__name__}"):
            if kind is optuna.samplers.CmaEsSampler:  # Optuna imports it at the first use
                import cmaes  # noqa: F401
            return kind(**arguments)
    except ImportError as error:
        line = str(error).splitlines()[0]
        raise SpecError(f"{path}: {kind.__name__} needs another package: {line}") from None


def _points(
    spec: str | Mapping[str, Any], space: Mapping[str, BaseDistribution], path: str
) -> dict[str, Sequence[Any]] | None:
    """The values of every parameter if the sampler tries all points of them, else None.

    Raises:
        SpecError: values listed or fixed for the sampler that the search does not have, or the reverse.
    """
    name, given = name_of(spec), spec if isinstance(spec, Mapping) else {}
    if name == "PartialFixedSampler":
        fixed = _listed(given.get("fixed_params"), space, f"{path}.fixed_params", "a value")
        free = {k: d for k, d in space.items() if k not in fixed}
        inner = _points(given.get("base_sampler", ""), free, f"{path}.base_sampler")
        return None if inner is None else {k: (inner | fixed)[k] for k in space}
    if name == "GridSampler" and "search_space" in given:
        path = f"{path}.search_space"
        listed = _listed(given["search_space"], space, path, "a list of values")
        if missing := [k for k in space if k not in listed]:
            raise SpecError(f"{path}: has no values for {', '.join(missing)}; `search` does")
        return listed
    if name in EXHAUSTIVE:
        return {k: spaces.values(d, f"search.{k}", name) for k, d in space.items()}
    return None


def _listed(
    given: Any, space: Mapping[str, BaseDistribution], path: str, kind: str
) -> dict[str, Sequence[Any]]:
    """A sampler's own values of searched names, each inside what the file searches; `kind` says what a name has."""
    if not isinstance(given, Mapping):
        raise SpecError(f"{path}: needs {kind} for each name, not {given!r}")
    problems, found = Problems(), dict[str, Sequence[Any]]()
    for name, value in given.items():
        listed = isinstance(value, list) and value if "list" in kind else [value]
        if name not in space:
            problems.add(f"{path}.{name}: `search` has no such name; {nearest(name, space)}")
        elif not listed:
            problems.add(f"{path}.{name}: needs {kind}, not {value!r}")
        else:
            outside = [v for v in listed if not spaces.contains(space[name], v)]
            searched = spaces.words(space[name])
            problems.add(*(f"{path}.{name}: {v!r} is not in search.{name}: {searched}" for v in outside))
            found[name] = list(dict.fromkeys(listed))
    problems.check()
    return found


@quiet()
def rehearse(
    spec: str | Mapping[str, Any],
    pruning: str | Mapping[str, Any] | None,
    space: Mapping[str, BaseDistribution],
    objectives: int,
    points: int,
) -> None:
    """Run made-up trials in memory, so that what sampler and pruner refuse is known before anything is computed.

    There are as many as the sampler needs to leave its random start.

    Args:
        pruning: the pruner; None: trials are not pruned.
        objectives: their number.
        points: evaluation points of a trial.
    """
    chosen = sampler(spec, space, 0)
    base = getattr(chosen, "_base_sampler", chosen)
    start = getattr(base, "_n_startup_trials", getattr(base, "_population_size", 0))
    study = optuna.create_study(
        sampler=chosen, pruner=pruner(pruning or "NopPruner", points), directions=["minimize"] * objectives
    )
    said = f"sampler: {name_of(spec)}"
    for number in range(min(MOST_REHEARSED, start + 2)):
        if isinstance(chosen, Exhaustive) and not chosen.left(study):
            break
        with refusals(said):
            trial = study.ask(dict(space))
        if pruning:
            with refusals(f"pruner: {name_of(pruning)}"):
                for point in range(1, points):
                    trial.report(10.0 + number % 7 - point / points, point)
                    trial.should_prune()
        with refusals(said):
            study.tell(trial, [10.0 + number * (i + 2) % 7 for i in range(objectives)])


@quiet()
def ask_again(
    spec: str | Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    trials: Sequence[FrozenTrial],
    objectives: int,
) -> None:
    """Ask once for a trial in a copy of a study whose trials had another space.

    Raises:
        SpecError: the sampler cannot continue from these trials.
    """
    study = optuna.create_study(sampler=sampler(spec, space, 0), directions=["minimize"] * objectives)
    study.add_trials([t for t in trials if t.state.is_finished()])
    with refusals(f"sampler: {name_of(spec)}"):
        study.ask(dict(space))


def journal(runs: Path, name: str) -> Path:
    """The file with a study's trials, if they are not in a database."""
    return runs / "studies" / f"{name}.journal"


def storage(runs: Path, name: str, url: str | None) -> BaseStorage:
    """The storage of trials: a journal in the runs directory, or the database at `url`.

    A lock protects the creation of a database, which would fail in all of several processes at the same time.

    Raises:
        SpecError: an invalid URL, a database that does not answer, a missing driver, or a journal of something else.
    """
    file = journal(runs, name)
    folder = file.parent
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        with refusals(str(file)):
            return JournalStorage(Journal(file))
    check_url(url)
    folder.mkdir(parents=True, exist_ok=True)
    with refusals(f"--storage {hint.masked(url)}"), filelock.FileLock(folder / ".storage.lock"):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except ImportError as error:
            raise SpecError(f"--storage {hint.masked(url)}: {error}") from None


def recorded(runs: Path, name: str, url: str | None) -> BaseStorage:
    """As `storage`, to be read: a journal is not written, locked or mended."""
    if url:
        return storage(runs, name, url)
    file = journal(runs, name)
    with refusals(str(file)):
        return JournalStorage(Snapshot(file))


def check_url(url: str) -> None:
    """Raise SpecError unless the text is the URL of a database."""
    if url.split(":")[0].split("+")[0] not in SCHEMES or "://" not in url:
        raise SpecError(f"--storage {hint.masked(url)}: needs a URL, such as sqlite:////tmp/studies.db")
