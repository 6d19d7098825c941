"""The report as a page of Markdown: what was tried, what came out, what it cost, where it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.analysis import choices, fid_noise, verdicts
from ablate.analysis.frame import Records, columns, floors
from ablate.analysis.lines import groups, lines
from ablate.analysis.reference import Methods, load
from ablate.analysis.verdicts import Verdict, Versus
from ablate.analysis.wording import probability
from ablate.core.formats import count, duration, number
from ablate.report.figures import curves, levels, samples, style
from ablate.report.listing import listing, together
from ablate.report.markdown import Footnotes, table
from ablate.report.results import Results

if TYPE_CHECKING:
    import pandas as pd

    from ablate.planning.experiment import Experiment

FIGURES = {  # file: title, most rows, caption
    "fid.png": (
        "FID of every row",
        style.MOST,
        "Diamonds are means, dots single seeds, the dashed line is real against real.",
    ),
    "effects.png": (
        "Changes",
        style.MOST,
        "What each row changes, with the 95 % interval of few seeds; grey is not told apart. In a ladder each bar "
        "starts where the one above ended.",
    ),
    "sweeps.png": (
        "Sweeps",
        1000,
        "Means over seeds, with bootstrapped 95 % intervals; dashed is the value of the recipe that the rows are diffs "
        "of, as this profile scales it: the paper's where that recipe is.",
    ),
    "tradeoff.png": (
        "Two steps, and cost",
        style.MOST,
        "Means; a number is a row of the table, counted from its first. Above the dashed line a second step makes "
        "it worse. Wall times are of the machines that computed the cells.",
    ),
    "curves.png": (
        "Training",
        curves.PANELS,
        "A colour is a seed. Losses of unlike metrics or weightings share no scale.",
    ),
    "levels.png": (
        "Noise levels",
        levels.ROWS,
        "By the student's noise level, over the last quarter of training: where a row's loss lies, and how far its "
        "two passes are apart, in its metric's units, and how strongly it pulls at the network's output.",
    ),
    "samples.png": (
        "Samples",
        samples.MOST,
        "Every row starts from the same sampling noise; its first finished seed is shown.",
    ),
}
READING = """Lower is better. Bold is the lowest mean of a column, and every other that the paired t-test, uncorrected,
does not tell apart from it over the seeds that both have: no bold number is shown to be better than another. ± is the
standard deviation over seeds (n of them), not an interval. Seeds are paired: the same seed means the same initial
weights, images, noise and sampling noise in every row, so a change is the geometric mean of the ratios over the seeds
that a row shares with its base (×52 is 52 times as high), with its 95 % interval in brackets. p is of the paired t-test
on log FID, or of the sign test where training diverged, corrected by Holm for all changes of this page: bold ones, at
most 0.05, are told apart. "Seeds to decide" is how many would do so in four of five repetitions, were the change and
its spread as seen. A diverged or failed seed enters no mean, and its row is never bold. What is said of all rows of a
section, and the bands of sweeps, have 95 % intervals of a bootstrap over runs, stratified by rows. With what
probability a run beats its base's is the share of all pairs of their runs, whatever the seeds, in which its FID is
lower."""
CLAIMED = """A claim is supported or contradicted where its test says so at 5 % over all claims of this page, corrected
by Holm; else it is undecided, which is not a no."""


def page(
    experiment: Experiment,
    frame: pd.DataFrame,
    known: Records,
    figures: Sequence[str],
    versus: Sequence[Versus | None],
) -> str:
    """`table.md`; `figures` are the names of those that were drawn."""
    notes, reference = Footnotes(), load()
    methods = Methods(reference, experiment.profile) if reference else None
    planned = (1, len(experiment.profile.evaluation.sigma_mid) + 1)
    shown = columns(frame, tuple(dict.fromkeys(planned)))
    seen, found = verdicts.scores(frame), lines(experiment, frame)
    results = Results(experiment, found, shown, methods, notes, versus)
    below = _floors(known)
    parts = [f"# {experiment.name}", experiment.summary, _budget(experiment, known)]
    parts += [*_claims(experiment, verdicts.answers(experiment, seen)), *_choices(experiment)]
    for group in groups(experiment.rows):
        parts += [*results.section(group), together(experiment, group, versus, seen), below]
    if reference is None:
        parts.append("No reference.yaml was found, so no published numbers stand beside these.")
    drawn = [part for name in figures if name in FIGURES for part in _figure(name, len(experiment.rows))]
    parts += ["## Figures", *drawn] if drawn else []
    parts += [
        "## How to read this",
        READING,
        fid_noise.told(experiment, known),
        "## Cost",
        _cost(known),
        "## Provenance",
        *_provenance(known),
    ]
    parts += [_noted(experiment.notes), "## Rows and keys", listing(found, versus, seen), str(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _budget(experiment: Experiment, known: Records) -> str:
    profile, states = experiment.profile, Counter((r or {}).get("state", "missing") for r in known.values())
    told = {"finished": "finished", "diverged": "diverged", "failed": "failed", "missing": "not run"}
    went = ", ".join(f"{states[state]:,} {words}" for state, words in told.items() if states[state])
    seeds = ", ".join(map(str, experiment.seeds))
    grown = len({len(row.keys) for row in experiment.rows}) > 1
    seeds += " (the later ones where a claim was open)" if grown else ""
    plural = "s" if len(experiment.seeds) > 1 else ""
    return (
        f"Profile `{profile.name}` (data {profile.data.name}), seed{plural} {seeds}, "
        f"{profile.images:,} images per cell in batches of {profile.batch:,} ({profile.steps:,} steps); "
        f"{count(len(known), 'cell')}: {went}."
    )


def _figure(name: str, rows: int) -> list[str]:
    title, most, caption = FIGURES[name]
    return [
        f"![{title}]({name})",
        caption + (f" At most {most} of the {rows:,} rows are shown." if rows > most else ""),
    ]


def _choices(experiment: Experiment) -> list[str]:
    found = choices.ends(experiment.rows)
    if not found:
        return []
    left, before, right, after = found
    differing, common = choices.side_by_side(before, after)
    body = table(["axis", left, right], differing, left=3)
    return ["## Design choices", body, f"Common to both: {common}."]


def _claims(experiment: Experiment, found: Sequence[Verdict]) -> list[str]:
    if not found:
        return []
    looks = experiment.looks
    more = (
        f" Seeds are added until the claims are decided, so each is held to 5 % / {looks}."
        if looks > 1
        else ""
    )
    rows = [[v.claim.id, v.claim.says, v.state, str(v.n), probability(v.p), _because(v)] for v in found]
    headings = ["", "claim", "verdict", "n", "p (Holm)", "what was seen"]
    return ["## Claims", table(headings, rows, left=6), CLAIMED + more]


def _because(verdict: Verdict) -> str:
    """What was seen, and what would decide it."""
    return verdict.because + (f"; {verdict.seeds} seeds would decide" if verdict.seeds else "")


def _floors(known: Records) -> str:
    """What no model is expected to get below."""
    told = [f"FID {number(fid)} ({extractor}, n={n})" for (extractor, n, _), fid in floors(known).items()]
    return f"Real against held-out real: {'; '.join(told)}." if told else ""


def _cost(known: Records) -> str:
    done = [r for r in known.values() if r and r.get("wall_s")]
    if not done:
        return "Nothing was computed yet."
    seconds = sorted(r["wall_s"] for r in done)
    sizes = sorted({r["parameters"] for r in done if r.get("parameters")})
    size = (
        f" Networks have {' to '.join(f'{s:,}' for s in sorted({sizes[0], sizes[-1]}))} parameters."
        if sizes
        else ""
    )
    middle, total = seconds[len(seconds) // 2], duration(sum(seconds))
    spread = f", between {duration(seconds[0])} and {duration(seconds[-1])}" if len(seconds) > 1 else ""
    whole = f"{count(len(done), 'cell')} took {total} of worker time in all"
    return f"A cell took {duration(middle)}{spread}; {whole}.{size}"


def _provenance(known: Records) -> list[str]:
    origins = [r["provenance"] for r in known.values() if r and r.get("provenance")]
    if not origins:
        return ["No record yet."]
    commits = Counter(str(o.get("commit") or "unknown") for o in origins)
    dirty = sum(bool(o.get("dirty")) for o in origins)
    told = ", ".join(f"`{c}`" + (f" ({n:,} cells)" if len(commits) > 1 else "") for c, n in commits.items())
    lines = [f"- Commit: {told}" if len(commits) == 1 else f"- Mixed commits: {told}"]
    lines += (
        [f"- Uncommitted changes were in place for {dirty:,} of {count(len(origins), 'cell')}"]
        if dirty
        else []
    )
    lines += [f"- Versions: {_versions(origins)}"]
    for fact in ("device", "threads", "data"):
        values = [str(v) for v in dict.fromkeys(o.get(fact) for o in origins) if v is not None]
        lines += [f"- {fact.capitalize()}: {', '.join(values)}"] if values else []
    return ["\n".join(lines)]


def _versions(origins: Sequence[dict[str, Any]]) -> str:
    seen: dict[str, dict[str, None]] = {}
    for origin in origins:
        for package, version in (origin.get("versions") or {}).items():
            seen.setdefault(package, {})[str(version)] = None
    return ", ".join(f"{package} {' and '.join(versions)}" for package, versions in seen.items())


def _noted(planned: Sequence[str]) -> str:
    return "\n".join(["## Notes of the plan\n", *(f"- {note}" for note in planned)]) if planned else ""
