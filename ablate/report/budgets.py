"""What becomes of rows, effects and claims with more images, and what was predicted before it was seen."""

from __future__ import annotations

import math

from ablate.analysis import verdicts
from ablate.analysis.budgets import FILE, Seen, Track
from ablate.analysis.results import Results
from ablate.core.formats import number
from ablate.report.markdown import escape, prose, table
from ablate.statistics import scaling
from ablate.statistics.effect import Scores
from ablate.statistics.significance import holm
from ablate.statistics.wording import UNBOUNDED, change, probability, ratios

READING = f"""An effect is the ratio of the geometric means of a row and its base at the same budget, with the 95 %
interval of the tables above. The trend is the factor by which this ratio changes at every doubling of the images, the
slope of a straight line through all effects; p is from the same test, with Holm's correction over the rows of this
table. With a significant trend, an effect *grows* away from no effect, *shrinks* or *vanishes* towards it (its last
interval includes no effect), or *turns* (two intervals lie on both sides). It *stays* if the trend is not significant
and the interval of the change from the first to the last budget is within {scaling.STEADY:.0%} of the mean effect.
Everything else is *open*, and so is a row with a single seed at one of the budgets. The law is fitted to all runs of a
row: a power of the images, those of the cells that it reads included, with the exponent's 95 % interval, plus a floor
where that fits significantly better."""
CLAIMED = """The largest budget decides a claim: its verdicts are those above. Those of a smaller budget are corrected
over the claims at that budget alone, so each column has a false verdict in at most 5 % of cases, all columns together
in more."""
PREDICTED = f"""Each effect was written to `{FILE}` before the first cell of its row and its base started at that
number of images; no line is ever changed. "True" has the 95 % interval for infinitely many seeds, "to be seen" that
for the ratio that the planned seeds show."""


def part(results: Results) -> list[str]:
    """The section; empty without `budgets`."""
    tracks = results.tracks
    if not tracks:
        return []
    images = [f"{n:,} images" for n in tracks[0].images]
    laws = [[escape(t.label), *map(_fid, t.scores), _law(t)] for t in tracks]
    parts = ["## Effects over budget", _unequal(tracks), table(["FID 1 step", *images, "law"], laws)]
    if compared := [track for track in tracks if track.base and track.points]:
        heading = ["change", "against", *images, "trend per doubling", "p (Holm)", "with more images"]
        parts += [table(heading, _effects(compared), left=2), READING]
    return [*parts, *_claims(results, images), *_predictions(results.predictions)]


def _unequal(tracks: list[Track]) -> str:
    """Which rows are trained on other numbers of images than the columns say, with the cells that they read."""
    names = [
        f"{escape(t.label)} ({' or '.join(f'{n:,}' for n in t.totals)})"
        for t in tracks
        if any(total > images for total, images in zip(t.totals, t.images, strict=True))
    ]
    if not names:
        return ""
    return (
        f"With the cells that they read, some rows are trained on more images than the heading of a column says: "
        f"{', '.join(names)}. Their effects are those of more images too; n in a law counts all."
    )


def _fid(scores: Scores) -> str:
    """The geometric mean over seeds, as in a law."""
    finite = [math.log(fid) for fid in scores.values() if 0 < fid < math.inf]
    lost = f"{len(scores) - len(finite)} diverged" if len(finite) < len(scores) else ""
    value = number(math.exp(sum(finite) / len(finite))) if finite else ""
    return ", ".join(filter(None, [value, lost])) or "-"


def _law(track: Track) -> str:
    law = track.law
    if law is None:
        return "-"
    low, high = (f"{-v:.2f}" for v in reversed(law.interval()))
    floor = f"{number(law.floor)} + " if law.floor else ""
    between = f" [{low}, {high}]" if law.df else ""
    return f"{floor}{number(law.scale)} (n / {law.unit:,.0f})^{-law.exponent:.2f}{between}"


def _effects(tracks: list[Track]) -> list[list[str]]:
    trends = [track.effects for track in tracks]
    corrected = iter(holm([trend.trend.p for trend in trends if trend and trend.trend.n > 1]))
    rows = []
    for track, trend in zip(tracks, trends, strict=True):
        values = dict.fromkeys(track.images, "-")
        values |= {int(point.images): change(scaling.at_budget(point)) for point in track.points}
        end = ["-", "-", scaling.OPEN]
        if trend and trend.trend.n > 1:
            p = next(corrected)
            end = [change(trend.trend), probability(p), trend.word(p)]
        rows.append([escape(track.label), escape(track.base), *values.values(), *end])
    return rows


def _change(*values: float) -> str:
    """A ratio, and its interval if there is one."""
    first, *ends = ratios(*values)
    if not ends:
        return first
    return f"{first} [{ends[0]}, {ends[1] if values[2] < UNBOUNDED else 'no bound'}]"


def _claims(results: Results, images: list[str]) -> list[str]:
    experiment = results.experiment
    if not experiment.claims:
        return []
    columns = [
        verdicts.answers(*verdicts.at(experiment, results.scores, budget)) for budget in experiment.budgets
    ]
    rows = [
        [escape(of[0].claim.id), prose(of[0].claim.says), *map(_answer, of)]
        for of in zip(*columns, strict=True)
    ]
    return ["### Claims at every budget", table(["", "claim", *images], rows, left=2), CLAIMED]


def _answer(verdict: verdicts.Verdict) -> str:
    pair = verdict.evidence.effect
    if not pair or not math.isfinite(pair.ratio):
        return verdict.state
    return f"{verdict.state}: {change(pair)}"


def _predictions(predictions: list[Seen]) -> list[str]:
    if not predictions:
        return []
    rows = [
        [
            escape(found.line["row"]),
            escape(found.line["base"]),
            f"{found.line['images']:,}",
            str(found.line["time"]),
            _change(*(found.line[name] for name in ("ratio", "low", "high"))),
            _change(*(found.line[name] for name in ("ratio", "seen_low", "seen_high"))).partition(" ")[2],
            "-" if found.ratio is None else _change(found.ratio),
            {None: "-", True: "inside", False: "**outside**"}[found.inside],
        ]
        for found in predictions
    ]
    known = [found.inside for found in predictions if found.inside is not None]
    counted = f" {sum(known)} of {len(known)} seen so far are inside." if known else ""
    heading = ["change", "against", "images", "predicted at", "true", "to be seen", "seen", ""]
    return ["### Predicted before it was seen", table(heading, rows, left=2), PREDICTED + counted]
