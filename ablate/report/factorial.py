"""The part of a page about factorials: what each axis contributes, what interacts, and the best combination."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ablate.core.formats import count, number
from ablate.report.markdown import escape, table
from ablate.statistics.importance import ERRORS, trust
from ablate.statistics.significance import ALPHA
from ablate.statistics.wording import probability

if TYPE_CHECKING:
    from ablate.analysis.factorial import Factorial
    from ablate.analysis.results import Results
    from ablate.statistics.factorial import Cells, Effect, Fit, Interval
    from ablate.statistics.shapley import Way

FILE = "effects.csv"
MOST = 12  # interactions that the page lists
ALWAYS = 5  # columns of the ways that stand there even without a value
READING = """An effect is a ratio of geometric means of one-step FID with its 95 % interval: of all recipes with the
axis at `to` over all with it at `from`. An interaction is that of the recipes in which both axes are changed, or
neither, over those in which only one is: below 1 the two help each other, above 1 they overlap. The Shapley value of
an axis is its mean step over all ladders, that is over every order in which the axes can be changed; these values
multiply to the whole way. p is corrected with Holm's method over all effects of the factorial."""


def part(results: Results) -> list[str]:
    """The paragraphs of every factorial; none without one."""
    return [text for factorial in results.factorials for text in _part(factorial)]


def _part(factorial: Factorial) -> Iterator[str]:
    cells, fit = factorial.cells, factorial.fit
    start, end = map(escape, factorial.ends)
    yield f"## Effects between {start} and {end}"
    yield _lost(factorial)
    if fit is None:
        yield (
            f"{len(cells.logs):,} of {count(len(cells.levels), 'recipe')} have results; effects are shown as soon as "
            "these can tell main effects and two-way interactions apart."
        )
        return
    yield _fitted(cells, fit)
    yield _contributions(factorial, start, end)
    yield _interactions(cells, fit)
    yield _aliases(cells)
    yield _best(factorial, fit)
    yield READING
    if factorial.variance_shares:
        yield trust(ERRORS)


def _lost(factorial: Factorial) -> str:
    cells = factorial.cells
    diverged = [
        f"{escape(factorial.rows[row].named)} ({n} of {_seeds(factorial, row)})"
        for row, n in cells.diverged.items()
    ]
    said = f"Diverged, and in no fit: {', '.join(diverged)}." if diverged else ""
    missing = (
        f"{count(len(cells.missing), 'recipe')} of {len(cells.levels):,} have no result so far."
        if cells.missing
        else ""
    )
    return " ".join(filter(None, [said, missing]))


def _seeds(factorial: Factorial, row: int) -> str:
    return count(len(factorial.rows[row].keys), "seed")


def _fitted(cells: Cells, fit: Fit) -> str:
    """What is in the fit, and where its intervals come from."""
    main = sum(len(effect.term) == 1 for effect in fit.effects)
    explained = f" Effects explain {100 * fit.explained:.3g} % of the variance between recipes."
    if fit.saturated:
        explained = (
            " With the constant, there are as many effects as recipes, so the fit repeats the recipes' means: it "
            "cannot show how well they describe the recipes."
        )
    return (
        f"Least squares of the recipes' mean log FID on {count(main, 'main effect')} and "
        f"{count(len(fit.effects) - main, 'two-way interaction')}: {count(fit.cells, 'cell')} of "
        f"{count(fit.rows, 'recipe')} are in the fit. {_errors(cells, fit)}"
        f"{explained if fit.explained == fit.explained else ''}"
    )


def _errors(cells: Cells, fit: Fit) -> str:
    """Where intervals come from."""
    freedom = {len(effect.term): effect.df for effect in reversed(fit.effects) if effect.df}
    if not freedom:
        return "There is no interval and no p: how effects vary from seed to seed takes two seeds of the recipes."
    known = [
        f"{round(freedom[order], 1):g} for {name}"
        for order, name in ((1, "main effects"), (2, "interactions"))
        if order in freedom
    ]
    lost = (
        "include how much interactions of three axes and more may bias an effect"
        if fit.rest
        else "assume that no three axes interact, which so few recipes cannot show"
    )
    return (
        "Intervals come from how effects vary from seed to seed: main effects share one variance, interactions "
        f"another, and an effect that varies more keeps its own (degrees of freedom: {', '.join(known)})."
        f"{'' if cells.complete else f' Not every recipe is in the fit, so they {lost}.'}"
    )


def _contributions(factorial: Factorial, start: str, end: str) -> str:
    fit, ways, shares = factorial.fit, factorial.ways, factorial.variance_shares
    if not fit:
        return ""
    exact = not math.isnan(ways[0].least)
    headings = [
        "axis",
        "main effect",
        "p (Holm)",
        "Shapley value",
        "share of the way",
        "in the one ladder",
        "in any ladder",
        "share of the variance",
    ]
    rows = []
    for way, effect in zip(ways, fit.effects, strict=False):
        steps = [_ratio(math.exp(v)) for v in (way.ladder, way.least, way.most)]
        rows.append(
            [
                way.axis,
                _interval(effect.ratios),
                _p(effect),
                _interval(_exp(way.shapley)),
                _percent(way.share),
                steps[0],
                f"{steps[1]} to {steps[2]}" if exact else "-",
                f"{100 * shares[way.axis]:.0f} %" if shares else "-",
            ]
        )
    how = (
        "The Shapley values are exact, with intervals over seeds; the one ladder changes the axes in this order."
        if exact
        else "Not every combination has results, so the Shapley values are those of the fit, its main effects"
        + ("." if all(math.isnan(way.ladder) for way in ways) else "; the one ladder is that of this page.")
    )
    fitted = _ratio(math.exp(math.fsum(way.shapley[0] for way in ways)))
    seen = _ratio(factorial.whole)
    by_fit = (
        "" if fitted == seen else f"{fitted} {'over the seeds of all recipes' if exact else 'by the fit'}"
    )
    both = by_fit if math.isnan(factorial.whole) else f"{seen}{by_fit and f', {by_fit}'}"
    kept = [i for i in range(len(headings)) if i < ALWAYS or any(row[i] != "-" for row in rows)]
    body = table([headings[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return f"{body}\n\nFrom {start} to {end}, FID changes to {both}. {how}"


def _interactions(cells: Cells, fit: Fit) -> str:
    pairs = sorted((e for e in fit.effects if len(e.term) == 2), key=lambda e: -abs(e.value))
    if not pairs:
        return ""
    rows = [[_named(cells, e.term, e.aliases), _interval(e.ratios), _p(e)] for e in pairs[:MOST]]
    more = (
        f"\n\nThe {MOST} largest of {len(pairs)} two-way interactions; `{FILE}` has all."
        if len(pairs) > MOST
        else ""
    )
    return table(["interaction", "effect", "p (Holm)"], rows) + more


def _named(cells: Cells, term: Any, aliases: Any) -> str:
    return " = ".join(map(cells.named, (term, *aliases)))


def _aliases(cells: Cells) -> str:
    """Which effects of one or two axes a fraction confounds with which others."""
    sets = [[t for t in terms if len(t) < 3] for terms in cells.alias_sets]
    confounded = [_named(cells, terms[0], terms[1:]) for terms in sets if len(terms) > 1]
    if cells.full:
        return ""
    n = f"This fraction has {len(cells.levels):,} of {2 ** len(cells.axes):,} combinations"
    if not confounded:
        return f"{n}. Main effects and two-way interactions are confounded with those of more axes only."
    return f"{n}. Confounded, so that each effect above is the sum of its set: {'; '.join(confounded)}."


def _best(factorial: Factorial, fit: Fit) -> str:
    measured = factorial.measured
    lowest = min(measured, key=measured.__getitem__)
    seen = (
        f"The lowest measured mean is {number(measured[lowest])}, of {escape(factorial.rows[lowest].named)}."
    )
    value, low, high = fit.predicted
    interval = (
        ""
        if math.isnan(low)
        else f" [{number(low)}, {number(high)}] for a cell of a new seed, "
        + ("if no three axes interact" if fit.saturated else "what the fit leaves unexplained included")
    )
    there = next((row for row, levels in factorial.cells.levels.items() if levels == fit.best), None)
    own = (
        f"it measured {number(measured[there])}" + (", which this fit repeats" if fit.saturated else "")
        if there in measured
        else "it was not run"
        if there is None
        else "it has no FID"
    )
    where = escape(factorial.label(fit.best))
    return (
        f"The fit predicts the lowest FID for {where}: {number(value)}{interval}; {own}. {seen} "
        "The lowest of many means is too low by chance: repeat it on new seeds."
    )


def _p(effect: Effect) -> str:
    if math.isnan(effect.low):
        return "-"
    return (
        f"**{probability(effect.corrected)}**" if effect.corrected <= ALPHA else probability(effect.corrected)
    )


def _exp(interval: Interval) -> Interval:
    value, low, high = map(math.exp, interval)
    return value, low, high


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"×{value:.3g}"


def _interval(interval: Interval) -> str:
    value, low, high = interval
    return _ratio(value) if math.isnan(low) else f"{_ratio(value)} [{low:.3g}, {high:.3g}]"


def _percent(interval: Interval) -> str:
    value, low, high = (100 * v for v in interval)
    return f"{value:.0f} %" if math.isnan(low) else f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def csv(results: Results) -> str:
    """`effects.csv`: every number of the part, in log FID unless it is a share, with full precision."""
    import pandas as pd

    lines = [line for factorial in results.factorials for line in _lines(factorial)]
    columns = ["factorial", "quantity", "axes", "value", "low", "high", "p", "p_holm", "aliases"]
    return str(pd.DataFrame(lines, columns=columns).to_csv(index=False, lineterminator="\n"))


def _lines(factorial: Factorial) -> Iterator[dict[str, Any]]:
    cells, fit = factorial.cells, factorial.fit
    name = {"factorial": " to ".join(factorial.ends)}
    for effect in fit.effects if fit else ():
        yield name | {
            "quantity": "main effect" if len(effect.term) == 1 else "interaction",
            "axes": cells.named(effect.term),
            **_values((effect.value, effect.low, effect.high)),
            "p": effect.p,
            "p_holm": effect.corrected,
            "aliases": "; ".join(map(cells.named, effect.aliases)),
        }
    for way in factorial.ways:
        for quantity, value in _of(way):
            yield name | {"quantity": quantity, "axes": way.axis, **_values(value)}
    for axis, share in factorial.variance_shares.items():
        yield name | {"quantity": "share of the variance", "axes": axis, "value": share}


def _of(way: Way) -> Iterator[tuple[str, Interval]]:
    yield "Shapley value", way.shapley
    yield "share of the way", way.share
    for quantity, value in (
        ("step in the one ladder", way.ladder),
        ("least step", way.least),
        ("most step", way.most),
    ):
        if not math.isnan(value):
            yield quantity, (value, math.nan, math.nan)


def _values(interval: Interval) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), interval, strict=True))
