"""Settings that a run is too short for, so that it ends before they have an effect. They are said, not refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.registry import dependencies
from ablate.planning import needs
from ablate.planning.cells import Row

MOST_INITIAL = 0.01  # share of an average that may still be initial weights
FEWEST_LEVELS = 0.9  # share of the curriculum's last N that a run must reach


class Unreached(NamedTuple):
    """A measured value of a setting, its bound in words, and what to set."""

    setting: str
    value: float
    bound: str
    advice: str


def unreached(recipe: Recipe, profile: Profile) -> Iterator[Unreached]:
    """The settings of a recipe that a run of this profile does not reach."""
    K = profile.steps
    yield from _average(recipe, K)
    yield from _levels(recipe, K)
    if (warmup := getattr(recipe.schedule, "warmup", 0)) >= K:
        advice = f"the learning rate still rises at the last of {K} steps; set it to {K // 10} or so"
        yield Unreached("schedule.warmup", warmup, f"below {K}", advice)
    every, batch = profile.evaluation.every, profile.batch
    if every and every < batch:
        advice = f"every step evaluates, as a batch has {batch} images; set it to a multiple of that"
        yield Unreached("profile.evaluation.every", every, f"at least {batch}", advice)


def _average(recipe: Recipe, K: int) -> Iterator[Unreached]:
    """An average that is still the initial weights, or still a copy of the network, at the end."""
    averaging = recipe.averaging
    share = 0.0 if "D10" in averaging.replays else averaging.initial_share(K)
    if share > MOST_INITIAL:
        held = f"after {K} steps {share:.0%} of the averaged weights are the initial ones"
        decay = hasattr(averaging, "decay")
        advice = (
            f"{held}; {f'set it to at most {fitting_decay(K):.12g}' if decay else 'train for more steps'}"
        )
        yield Unreached(
            "averaging.decay" if decay else "averaging",
            averaging.decay if decay else share,
            f"a share of at most {MOST_INITIAL:g}",
            advice,
        )
    if (start := getattr(averaging, "start", 0)) >= K:
        advice = f"the average is a copy of the network throughout {K} steps; set it to {K // 10} or so"
        yield Unreached("averaging.start", start, f"below {K}", advice)


def fitting_decay(K: int) -> float:
    """The largest decay, in two digits of 1 - decay, that leaves at most 1 % of the initial weights after K steps."""
    gap = 1 - math.pow(MOST_INITIAL, 1 / K)
    unit = 10.0 ** (math.floor(math.log10(gap)) - 1)
    return 1 - math.ceil(gap / unit) * unit


def _levels(recipe: Recipe, K: int) -> Iterator[Unreached]:
    """A last number of levels, or a last stage, that no step has."""
    pairing, most = recipe.pairing, getattr(recipe.curriculum, "s1", 0)
    last = recipe.curriculum(K - 1, K)
    if "curriculum" in dependencies(cast(Any, type(pairing))) and last < FEWEST_LEVELS * (most + 1):
        advice = (
            f"the last of {K} steps has {last - 1} intervals; set it to {last - 1}, or change s0 or the steps"
        )
        yield Unreached("curriculum.s1", most, "reached", advice)
    if (stages := getattr(pairing, "stages", 0)) > K:
        advice = f"{K} steps have {K} stages at most; set it to that or less"
        yield Unreached("pairing.stages", stages, f"at most {K}", advice)


def notes(rows: list[Row], profile: Profile) -> list[str]:
    """A line for each such setting, with the rows that it is about unless it is about all."""
    found: dict[str, list[str]] = {}
    for row in rows:
        own, _ = needs.parts(profile, needs.declared(row.recipe))
        for setting, value, _, advice in unreached(row.recipe, own):
            found.setdefault(f"{setting}={value:.12g}: {advice}", []).append(row.label)
    return [
        line if len(labels) == len(rows) else f"{_named(labels)}: {line}" for line, labels in found.items()
    ]


def _named(labels: list[str]) -> str:
    """`row 'a'`, `row 'a' and 3 others`."""
    others = len(labels) - 1
    return f"row {labels[0]!r}" + (f" and {others} other{'s' * (others > 1)}" if others else "")
