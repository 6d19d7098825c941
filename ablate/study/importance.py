"""Importance of ingredients: Optuna's evaluators for any set of cells, Shapley effects for a full factorial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna

from ablate.core.errors import SpecError
from ablate.evaluation.metrics import of_training
from ablate.statistics.importance import Factors, shapley
from ablate.study import optunas

if TYPE_CHECKING:
    from ablate.planning.cells import Cell
    from ablate.planning.experiment import Experiment
    from ablate.runs.store import Store

FEWEST = 4  # cells


def importance(experiments: Sequence[Experiment], store: Store, nfe: int = 1) -> dict[str, dict[str, float]]:
    """Shares of the variance of log FID by evaluator and factor; those of an evaluator add up to 1.

    Each finished cell counts once, even if several rows have it; with `budgets`, those of the largest. `fANOVA`, `MDI`
    and `PED-ANOVA` are Optuna's; `Shapley` needs the cells of every combination of the factors' values.

    Raises:
        SpecError: fewer than four finished cells, no factor that varies, or FIDs that were measured differently.
    """
    results = _finished(experiments, store, nfe)
    factors, values = varying([cell for cell, _ in results]), [math.log(max(fid, 1e-6)) for _, fid in results]
    if len(results) < FEWEST or not factors[0]:
        raise SpecError(f"importance needs {FEWEST} finished cells that differ, but got {len(results)}")
    if max(values) == min(values):
        raise SpecError("importance: all cells have the same FID")
    shares = _evaluated(factors, values)
    return shares | ({"Shapley": exact} if (exact := shapley(factors, values)) else {})


def _finished(experiments: Sequence[Experiment], store: Store, nfe: int) -> list[tuple[Cell, float]]:
    largest = [e.by_budget()[-1] for e in experiments]
    cells = {key: cell for e in largest for key, cell in e.cells.items()}
    results, measures = list[tuple["Cell", float]](), set[str]()
    for key, cell in cells.items():
        record = store.record(key)
        for entry in of_training(record or {}, "fid"):
            if entry["nfe"] == nfe:
                results.append((cell, entry["value"]))
                measures.add(f"{cell.profile.name}, {entry['extractor']}, n={entry['n']}")
    if len(measures) > 1:
        raise SpecError(f"importance: these FIDs were measured differently: {'; '.join(sorted(measures))}")
    return results


def varying(cells: Sequence[Cell]) -> Factors:
    """The factors in which the cells' recipes differ: axes whose options differ, and single fields of other axes."""
    flat = [cell.recipe.flat() for cell in cells]
    names = dict.fromkeys(name for one in flat for name in one)
    differ = [name for name in names if len({repr(one.get(name)) for one in flat}) > 1]
    axes = [name for name in differ if "." not in name]
    fields = [name for name in differ if "." in name and name.split(".")[0] not in axes]
    return [
        {
            **{axis: _describe_option(one, axis, differ) for axis in axes},
            **{name: one.get(name) for name in fields},
        }
        for one in flat
    ]


def _describe_option(flat: Mapping[str, Any], axis: str, differ: Sequence[str]) -> str:
    """An option with those of its fields that differ between cells."""
    more = [f"{name}={flat[name]}" for name in differ if name.startswith(f"{axis}.") and name in flat]
    return ", ".join([str(flat[axis]), *more])


def _evaluated(factors: Factors, values: Sequence[float]) -> dict[str, dict[str, float]]:
    from optuna.importance import (
        FanovaImportanceEvaluator,
        MeanDecreaseImpurityImportanceEvaluator,
        PedAnovaImportanceEvaluator,
    )

    kinds = {name: _distribution([one[name] for one in factors]) for name in factors[0]}
    with optunas.quiet():
        study = optuna.create_study()
        for one, value in zip(factors, values, strict=True):
            params = {k: float(v) if _number(kinds[k]) else str(v) for k, v in one.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=value))
        evaluators = {
            "fANOVA": FanovaImportanceEvaluator(seed=0),
            "MDI": MeanDecreaseImpurityImportanceEvaluator(seed=0),
            "PED-ANOVA": PedAnovaImportanceEvaluator(),
        }
        return {
            name: dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
            for name, evaluator in evaluators.items()
        }


def _number(kind: Any) -> bool:
    return isinstance(kind, optuna.distributions.FloatDistribution)


def _distribution(values: Sequence[Any]) -> Any:
    """A range if all values are numbers, else a categorical choice."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        log = min(values) > 0 and max(values) > 20 * min(values)
        return optuna.distributions.FloatDistribution(min(values), max(values), log=log)
    return optuna.distributions.CategoricalDistribution(sorted({str(v) for v in values}))
