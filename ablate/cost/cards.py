"""Before you rent a GPU: whether the cells of an experiment fit on common ones, and for how many hours."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core import yaml_files
from ablate.core.hardware import cores
from ablate.cost import kept
from ablate.cost.estimate import Group
from ablate.data import datasets
from ablate.planning.cells import Cell

SHARE = 0.3  # of a card's published rate that training is assumed to reach
LAUNCH_S = 10e-6  # of an operation, however small it is; more than a card takes, because Python starts it
USABLE = 0.9  # of a card's memory; the rest is for CUDA, libraries and gaps
CORE = 3e10  # FLOP/s of a processor core, for the decision whether a file is meant for a GPU
SMALL_STATE = ("lion", "adamw_8bit")  # optimizers whose state is smaller than Adam's
LONG_H = 2.0  # on this machine's cores, from which on the cards are shown


@dataclass(frozen=True)
class Card:
    """A GPU: memory in GB (10^9 bytes), and published rates of dense products in TFLOP/s."""

    name: str
    memory_gb: float
    bf16: float
    fp32: float

    def flops(self, precision: Any) -> float:
        """FLOP/s that training is assumed to reach in a recipe's precision."""
        if precision.compute != "float32":
            return SHARE * self.bf16 * 1e12
        return SHARE * (self.bf16 / 2 if precision.tf32 else self.fp32) * 1e12


@dataclass(frozen=True)
class Fit:
    """How an experiment runs on a card: with so many micro-batches, None if it does not fit; memory and hours then.

    They are as many as the profile says (`planned`) if that fits, else the fewest that do.
    """

    card: Card
    accumulate: int | None
    gb: float
    hours: float
    planned: int

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        how = {"accumulate": self.accumulate, "peak_gb": self.gb, "hours": self.hours}
        return {"card": self.card.name, "memory_gb": self.card.memory_gb, **how}


@functools.cache
def cards() -> list[Card]:
    """The cards of `cards.yaml`."""
    return [Card(**card) for card in yaml_files.read(Path(__file__).with_name("cards.yaml"))]


def long(groups: list[Group]) -> bool:
    """Whether the missing cells would take this machine's cores more than two hours."""
    flops = sum(g.missing * (g.training + g.sampling) for g in groups)
    return flops / (CORE * cores()) > LONG_H * 3600


def fits(groups: list[Group]) -> list[Fit]:
    """How the experiment runs on each card, one cell after another; empty if memory cannot be counted.

    Of all groups with equal steps the heaviest cell is counted, and the one that needs most memory decides.
    """
    cells = dict[str, list[Cell]]()
    for group in groups:
        cells.setdefault(group.step, []).extend(group.cells)
    heaviest = {step: max(alike, key=lambda c: _weight(c.recipe)) for step, alike in cells.items()}
    counted = {step: kept.memory(cell.recipe, cell.profile) for step, cell in heaviest.items()}
    if not all(counted.values()):
        return []
    profile = groups[0].cells[0].profile
    data, known, pixels = profile.data, datasets.counts(profile.data), math.prod(datasets.shape(profile.data))
    images = pixels * (known.train + known.held_out) if known else 0
    tried = _tried(profile)
    most = {n: max(_bytes(heaviest[step], counted[step], n, pixels) for step in heaviest) for n in tried}

    def fit(card: Card) -> Fit:
        room = card.memory_gb * 1e9
        there = images if images <= (data.device_mb * 1e6 if data.device_mb else room / 4) else 0
        chosen = next((n for n in tried if most[n] + there <= USABLE * room), None)
        n = chosen or tried[-1]
        seconds = (g.missing * _seconds(g, card, counted[g.step]["operations"] * n) for g in groups)
        return Fit(card, chosen, (most[n] + there) / 1e9, math.fsum(seconds) / 3600, profile.accumulate)

    return [fit(card) for card in cards()]


def _weight(recipe: Recipe) -> tuple[bool, ...]:
    """Grows with the memory of recipes whose steps compute the same."""
    network = recipe.specs()["network"]
    return (
        not network.get("checkpointing"),
        network.get("dropout", 0) > 0,
        recipe.teacher.name != "none",
        recipe.optimizer.name not in SMALL_STATE,
    )


def _tried(profile: Profile) -> list[int]:
    """The profile's own number of micro-batches, then larger ones: powers of two that divide the batch."""
    powers = [2**i for i in range((profile.batch & -profile.batch).bit_length())]
    return [profile.accumulate, *(n for n in powers if n > profile.accumulate)]


def _bytes(cell: Cell, counts: kept.Counts, accumulate: int, pixels: int) -> float:
    """Bytes of training or of sampling images with so many values, whichever is more."""
    batch, e = cell.profile.batch, cell.profile.evaluation
    most = batch & -batch
    share = max(0.0, (1 / accumulate - 1 / most) / (1 - 1 / most)) if most > 1 else 1.0
    step = counts["micro_step"] + share * (counts["step"] - counts["micro_step"])
    # the noise of every level, and the samples twice: in parts and joined
    return max(step, counts["sampling"] + 4 * pixels * e.samples * (3 + len(e.sigma_mid)))


def _seconds(group: Group, card: Card, operations: int) -> float:
    """Seconds of a cell; a step takes no less than starting its operations one after another."""
    cell = group.cells[0]
    rate = card.flops(cell.recipe.precision)
    steps = cell.profile.steps
    return steps * max(group.training / steps / rate, operations * LAUNCH_S) + group.sampling / rate


def format_fits(found: list[Fit]) -> str:
    """A line for each card, below a line that says what is assumed."""
    if not found:
        return "memory on a GPU: your own code reads what its tensors contain, so it cannot be counted"
    lines = [
        f"on a GPU, one cell after another; estimated, not measured: {100 * SHARE:.0f} % of the published rate, "
        f"{1e6 * LAUNCH_S:.0f} us an operation, {100 * USABLE:.0f} % of the memory"
    ]
    width = max(len(fit.card.name) for fit in found)
    for fit in found:
        if fit.accumulate is None:
            how = f"does not fit: {fit.gb:.3g} GB even with the smallest micro-batches"
        else:
            by = f" with --set profile.accumulate={fit.accumulate}" if fit.accumulate != fit.planned else ""
            how = f"fits{by}: {fit.gb:.3g} GB, about {fit.hours:,.3g} hours"
        lines.append(f"  {fit.card.name:<{width}}  {how}")
    return "\n".join(lines)
