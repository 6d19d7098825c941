"""Runs all checks on a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core import crashes
from ablate.doctor import function, liveness, loss, training
from ablate.doctor.bench import Bench
from ablate.doctor.findings import Finding, with_verdicts
from ablate.planning.planner import image_shape

CHECKS: dict[str, Callable[[Bench], Iterator[Finding]]] = {
    "1 boundary": function.boundary,
    "2 agreement": function.agreement,
    "3 input std": function.inputs,
    "4 dropout masks": training.masks,
    "5 equal pixels": loss.equal_pixels,
    "6 finite": training.finite,
    "7 embedding": loss.embedding,
    "8 averages": training.averages,
    "9 levels": loss.histogram,
    "10 metric": loss.distance,
    "11 axes": liveness.axes,
    "11 fields": liveness.fields,
    "12 ranks": training.ranks,
}


def examine(
    label: str, recipe: Recipe, profile: Profile, device: str = "cpu", compiled: bool = False
) -> list[dict[str, Any]]:
    """The findings of all checks as plain data; a check that raises becomes a finding with verdict `error`."""
    with torch.random.fork_rng(devices=[]), crashes.exits_raise():
        try:
            bench = Bench(recipe, profile, image_shape(profile), device, compiled)
        except (Exception, SystemExit) as error:
            return with_verdicts(label, recipe, [_failed("network", error)])
        return with_verdicts(label, recipe, [f for name in CHECKS for f in _findings(name, bench)])


def _findings(name: str, bench: Bench) -> list[Finding]:
    try:
        return list(CHECKS[name](bench))
    except (
        Exception,
        SystemExit,
    ) as error:  # of your ingredient, or of this machine: training will raise it too
        return [_failed(name, error)]


def _failed(name: str, error: BaseException) -> Finding:
    if isinstance(error, SystemExit):
        reason = f"{crashes.raised_by(error) or 'a library'}: {crashes.described(error)}"
    else:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return Finding(name, reason, "measurable", False, error=True)
