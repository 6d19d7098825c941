"""What a factorial says of an axis in the mean over the others, and of two axes that depend on each other."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ablate.core.errors import SpecError, nearest
from ablate.planning.cells import Row
from ablate.planning.claims.base import Claim, Evidence, Text
from ablate.planning.factorial import factorials
from ablate.statistics import designs, factorial
from ablate.statistics.effect import Effect, Table
from ablate.statistics.wording import ratios


class OfFactorial(Claim):
    """A claim of one effect of a factorial, which the fit of the whole factorial answers."""

    shared: ClassVar[bool] = True
    key: ClassVar[str]  # the field that names its axes
    needed: ClassVar[str]  # the resolution that can tell the effect from those of up to two axes
    sign: Literal["positive", "negative", "any"] = "any"

    @property
    @abstractmethod
    def axes(self) -> list[str]:
        """The axes of the effect."""

    @abstractmethod
    def compared(self, names: Sequence[str]) -> str:
        """Which recipes the effect compares with which others, in words."""

    def rows(self, rows: Sequence[Row], base: Mapping[str, Any]) -> set[int]:
        return {*self._design(rows)}

    def _design(self, rows: Sequence[Row]) -> dict[int, Mapping[str, int]]:
        """The levels of the rows of the first factorial over both axes, by row."""
        if len({*self.axes}) < len(self.axes):
            raise SpecError(f"{self.key}: needs two axes, not {self.axes[0]!r} twice")
        known = factorials(rows)
        design = next((levels for levels in known if {*self.axes} <= {*_axes(levels)}), None)
        if design is None:
            raise SpecError(*self._unknown({axis for levels in known for axis in _axes(levels)}))
        cells = factorial.collect(design, {})
        if others := [t for t in cells.aliases(self._term(cells)) if len(t) < 3]:
            raise SpecError(
                f"{self.key}: this fraction cannot tell {' x '.join(self.axes)} from "
                f"{', '.join(map(cells.named, others))}; resolution {self.needed} or full can"
            )
        return design

    def _unknown(self, axes: set[str]) -> list[str]:
        if not axes:
            return [f"{self.key}: the plan has no factorial"]
        wrong = [
            f"{self.key}: {a!r} is no axis of a factorial; {nearest(a, axes)}"
            for a in self.axes
            if a not in axes
        ]
        return wrong or [f"{self.key}: no factorial has both {' and '.join(self.axes)}"]

    def _term(self, cells: factorial.Cells) -> designs.Term:
        return tuple(sorted(cells.axes.index(axis) for axis in self.axes))

    def test(self, rows: Sequence[Row], base: Mapping[str, Any], table: Table) -> Evidence:
        """A t-test of the effect over seeds, in the fit of the whole factorial."""
        cells = factorial.collect(self._design(rows), table, self.nfe)
        if cells.missing:
            missing = f"{len(cells.missing)} of {len(cells.levels)}"
            return Evidence(1.0, 1.0, 0, f"{missing} rows of the factorial have no result")
        fit = factorial.fit(cells)
        found = fit and fit.of(self._term(cells))
        if not fit or not found:
            return Evidence(1.0, 1.0, 0, "the rows that did not diverge do not determine this effect")
        known = [ratio for ratio in found.ratios if not math.isnan(ratio)]
        value, *ends = ratios(*known)
        interval = f" [{', '.join(ends)}]" if ends else ""
        n = len(cells.diverged)
        lost = f"; {n} diverged recipe{'s are' if n > 1 else ' is'} left out" if n else ""
        because = f"FID {value}{interval} {self.compared([cells.axes[i] for i in found.term])}{lost}"
        rises, falls = found.tails
        support, against = {"positive": (rises, falls), "negative": (falls, rises)}.get(
            self.sign, (min(rises, falls), 1.0)
        )
        fewest = min(map(len, cells.logs.values()))
        # interactions of three axes bias an effect where recipes are lost, and more seeds make them no smaller
        deviation = found.error * math.sqrt(fewest) if cells.complete else math.nan
        effect = Effect(
            fewest,
            *found.ratios,
            falls,
            rises,
            found.value / (found.error or math.nan),
            found.df or math.nan,
            deviation,
        )
        return Evidence(support, against, fewest, because, effect)


class Interaction(OfFactorial):
    """The two axes named in `interaction` interact: their effects on log FID do not add up.

    `sign: positive` claims that FID is higher where both axes are changed, or neither, than their single changes
    predict; `negative` that it is lower; `any`, the default, claims that it differs. Needs a `factorial` over both axes
    that can tell their interaction apart from every main effect and every other interaction of two axes.
    """

    key: ClassVar[str] = "interaction"
    needed: ClassVar[str] = "V"
    interaction: Annotated[list[Text], Field(min_length=2, max_length=2)]

    @property
    def axes(self) -> list[str]:
        return self.interaction

    def compared(self, names: Sequence[str]) -> str:
        return f"with both or neither of {' and '.join(names)} changed, compared with one of them"


class MainEffect(OfFactorial):
    """The change of the axis `main_effect` lowers FID (`sign: negative`) in the mean over all other choices.

    `positive` claims that it raises FID, `any` that it does one of the two. Needs a `factorial` over this axis that can
    tell its main effect apart from every interaction of two axes.
    """

    key: ClassVar[str] = "main_effect"
    needed: ClassVar[str] = "IV"
    main_effect: Text
    sign: Literal["positive", "negative", "any"] = "negative"

    @property
    def axes(self) -> list[str]:
        return [self.main_effect]

    def compared(self, names: Sequence[str]) -> str:
        return f"with {names[0]} changed, in the mean over the other choices"


def _axes(levels: Mapping[int, Mapping[str, int]]) -> Mapping[str, int]:
    return next(iter(levels.values()))
