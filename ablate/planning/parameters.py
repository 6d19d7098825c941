"""The parameters of a trial, as they change the specs of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.config import recipe as recipes
from ablate.config.recipe import Specs
from ablate.core.registry import AXES


def fitting(params: Mapping[str, Any], specs: Specs) -> dict[str, Any]:
    """`params` without the fields that the chosen option does not have."""

    def has(name: str) -> bool:
        axis, _, field = name.partition(".")
        return not field or field in AXES[axis].fields(params.get(axis, specs[axis]["name"]))

    return {name: value for name, value in params.items() if has(name)}


def applied(params: Mapping[str, Any], specs: Specs, kept: Mapping[str, Any]) -> Specs:
    """The specs of a row with the parameters of a trial.

    An option that the row has anyway keeps the row's fields.

    Args:
        kept: fields that another option gets if it has them.
    Raises:
        SpecError: an option that its axis does not have.
    """
    changed = {k: v for k, v in fitting(params, specs).items() if "." in k or v != specs[k]["name"]}
    return recipes.overlay(specs, changed, kept)
