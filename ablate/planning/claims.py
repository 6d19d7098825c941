"""Claims of an experiment file: sentences that its report must answer, and which rows they are about."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from ablate.core.errors import SpecError, nearest
from ablate.core.section import Section

if TYPE_CHECKING:
    from ablate.planning.cells import Row

MEASURE = re.compile(r"fid_([1-9]\d?)step")
OWN = ("row", "nfe")  # keys of a side that are no fields of a recipe
Text = Annotated[str, Field(min_length=1)]
Factor = Annotated[float, Field(gt=1)]


class Claim(Section):
    """A sentence with a test: `better` and `worse` rows, a `valley` over a field, or a `monotone` field.

    A side maps fields to values: `{teacher: none}`; a list of values means each of them. `row` is a label, `nfe`
    another number of evaluations than the metric's. Rows are compared that are equal in all that the sides leave open.
    """

    id: Text
    says: Text
    better: dict[str, Any] | None = None
    worse: dict[str, Any] | None = None
    ratio: Annotated[float, Field(ge=1)] = 1.0  # how many times lower the better one's FID is, at least
    valley: str | None = None  # a field whose best value lies inside, worse ones on either side
    monotone: str | None = None  # a field of which more is better
    inside: Annotated[list[float], Field(min_length=2, max_length=2)] | None = (
        None  # the range of a valley, the values that a monotone is about
    )
    around: Factor | None = None  # the range of a valley, as a factor of the base recipe's own value
    where: dict[str, Any] = {}  # of a valley and a monotone: rows that have these values
    metric: str = "fid_1step"

    @model_validator(mode="after")
    def _one_kind(self) -> Claim:
        kinds = [k for k in ("better", "valley", "monotone") if getattr(self, k) is not None]
        if len(kinds) != 1 or (self.better is None) != (self.worse is None):
            raise ValueError("better with worse, valley or monotone: exactly one is needed")
        if self.valley and (self.inside is None) == (self.around is None):
            raise ValueError("a valley needs inside or around, one of them")
        if self.inside and not self.inside[0] <= self.inside[1]:
            raise ValueError(f"inside: ascending bounds are needed, but got {list(self.inside)}")
        if not MEASURE.fullmatch(self.metric):
            raise ValueError(f"metric: {self.metric!r}: fid_1step, fid_2step, ... are needed")
        for side in filter(None, (self.better, self.worse)):
            if type(nfe := side.get("nfe", 1)) is not int or nfe < 1:
                raise ValueError(f"nfe: a number of evaluations is needed, but got {nfe!r}")
        return self

    @property
    def nfe(self) -> int:
        """The number of evaluations that its metric is measured at."""
        return int(self.metric[4:-4])


@dataclass(frozen=True)
class Sample:
    """What a side of a comparison measures: a row's FID after so many evaluations."""

    row: int
    nfe: int


@dataclass(frozen=True)
class Question:
    """A claim with the rows of one experiment that answer it.

    duels: alternatives, each a number of contexts, each a better and a worse sample.
    sweep: values of the field and their samples, ascending; bounds: between which they are inside.
    """

    claim: Claim
    duels: tuple[tuple[tuple[Sample, Sample], ...], ...] = ()
    sweep: tuple[tuple[float, Sample], ...] = ()
    bounds: tuple[float, float] = (0.0, 0.0)

    @property
    def rows(self) -> set[int]:
        """All rows that it looks at."""
        pairs = [sample for contexts in self.duels for pair in contexts for sample in pair]
        return {sample.row for sample in [*pairs, *(sample for _, sample in self.sweep)]}


def ask(claim: Claim, rows: Sequence[Row], base: Mapping[str, Any]) -> Question:
    """The rows that a claim is about.

    Args:
        base: the base recipe's flat fields.
    Raises:
        SpecError: no rows are, or the values do not suffice.
    """
    if claim.better is not None and claim.worse is not None:
        return Question(claim, duels=tuple(_duels(claim, rows)))
    field = claim.valley or claim.monotone or ""
    found = _sweep(field, claim, rows)
    if claim.monotone:
        low, high = claim.inside or [found[0][0], found[-1][0]]
        found = [(value, sample) for value, sample in found if low <= value <= high]
        if len(found) < 3:
            raise SpecError(f"monotone: {field} needs three values inside, but has {_values(found)}")
        return Question(claim, sweep=tuple(found), bounds=(low, high))
    if claim.around and not isinstance(base.get(field), (int, float)):
        raise SpecError(f"around: the base recipe has no number {field}: name the range by inside")
    around = claim.around or 1.0
    low, high = claim.inside or [base[field] / around, base[field] * around]
    if not any(low <= value <= high for value, _ in found):
        raise SpecError(f"valley: no value of {field} lies in {low:g} to {high:g}: {_values(found)}")
    return Question(claim, sweep=tuple(found), bounds=(low, high))


def _values(found: Sequence[tuple[float, Sample]]) -> str:
    return ", ".join(f"{value:g}" for value, _ in found) or "none"


def _duels(claim: Claim, rows: Sequence[Row]) -> Iterator[tuple[tuple[Sample, Sample], ...]]:
    assert claim.better is not None
    assert claim.worse is not None
    for better, worse in itertools.product(_alternatives(claim.better), _alternatives(claim.worse)):
        free = {k for k in {**better, **worse} if k not in OWN and better.get(k, ...) != worse.get(k, ...)}
        named = "row" in better or "row" in worse
        left, right = _matching(better, rows, "better"), _matching(worse, rows, "worse")
        nfe = [int(side.get("nfe", claim.nfe)) for side in (better, worse)]
        contexts = {
            (rows[a].keys, rows[b].keys): (Sample(a, nfe[0]), Sample(b, nfe[1]))
            for a in reversed(left)
            for b in reversed(right)
            if (a != b or nfe[0] != nfe[1]) and (named or _equal_but(rows[a], rows[b], free))
        }
        if not contexts:
            shown = f"{rows[left[0]].label!r} and {rows[right[0]].label!r}"
            raise SpecError(f"no two rows differ in {', '.join(sorted(free)) or 'nfe'} alone: {shown}")
        yield tuple(contexts[k] for k in reversed(contexts))


def _alternatives(side: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A side with each of its listed values."""
    options = [v if isinstance(v, list) and v and k not in LISTS else [v] for k, v in side.items()]
    return [dict(zip(side, values, strict=True)) for values in itertools.product(*options)]


LISTS = (
    "network.multipliers",
    "network.attention",
    "optimizer.betas",
)  # fields whose values are lists themselves


def _matching(side: Mapping[str, Any], rows: Sequence[Row], place: str) -> list[int]:
    fields = {k: v for k, v in side.items() if k not in OWN}
    flats = [row.recipe.flat() for row in rows]
    known = {name for flat in flats for name in flat}
    for name in fields:
        if name not in known:
            raise SpecError(f"{place}: no field {name!r}; {nearest(name, known)}")
    found = [
        i
        for i, flat in enumerate(flats)
        if all(name in flat and flat[name] == value for name, value in fields.items())
        and side.get("row", rows[i].label) == rows[i].label
    ]
    if not found:
        if "row" in side and side["row"] not in (labels := [row.label for row in rows]):
            raise SpecError(f"{place}: no row {side['row']!r}; {nearest(str(side['row']), labels)}")
        told = ", ".join(f"{k}={v}" for k, v in side.items() if k != "nfe")
        raise SpecError(f"{place}: no row has {told or 'anything'}")
    return found


def _equal_but(a: Row, b: Row, free: set[str]) -> bool:
    """Whether two rows agree in all fields that are not free; with an option, its fields are free."""

    def rest(row: Row) -> dict[str, Any]:
        return {k: v for k, v in row.recipe.flat().items() if k not in free and k.split(".")[0] not in free}

    return rest(a) == rest(b)


def _sweep(field: str, claim: Claim, rows: Sequence[Row]) -> list[tuple[float, Sample]]:
    """Rows that differ in `field` alone, by its value; the group with the most values."""
    known = {name for row in rows for name in row.recipe.flat()}
    if field not in known:
        raise SpecError(f"no field {field!r}; {nearest(field, known)}")
    groups: dict[str, dict[float, Sample]] = {}
    for i, row in enumerate(rows):
        flat = row.recipe.flat()
        if not all(name in flat and flat[name] == value for name, value in claim.where.items()):
            continue
        value = flat.get(field)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            rest = repr({k: v for k, v in flat.items() if k != field})
            groups.setdefault(rest, {}).setdefault(float(value), Sample(i, claim.nfe))
    sizes = sorted((len(group) for group in groups.values()), reverse=True)
    if not sizes or sizes[0] < 3:
        raise SpecError(f"{field}: three rows that differ in it alone are needed")
    if len(sizes) > 1 and sizes[0] == sizes[1]:
        raise SpecError(f"{field}: more than one sweep of {sizes[0]} values: choose one by where")
    return sorted(max(groups.values(), key=len).items())
