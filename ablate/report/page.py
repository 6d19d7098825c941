"""`table.md`: what was tried, what came out, what it cost, where it comes from."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ablate.analysis import choices, fid_noise
from ablate.analysis.frame import Records, columns, real_fid
from ablate.analysis.lines import counted, distinct, groups
from ablate.analysis.reference import Methods, load
from ablate.analysis.results import Results
from ablate.analysis.seeds_needed import seeds_needed
from ablate.analysis.verdicts import Verdict
from ablate.core.formats import count, duration, number
from ablate.planning.experiment import Experiment
from ablate.report import budgets, factorial, tuned
from ablate.report.figure import Figure, figures
from ablate.report.listing import listing, together
from ablate.report.markdown import Footnotes, escape, paragraph, prose, table
from ablate.report.opening import sentence
from ablate.report.sections import Sections
from ablate.statistics.effect import removed_by_pairing
from ablate.statistics.wording import probability

PICTURE = "samples.png"  # stands above everything else
READING = """Lower is better. Bold is the lowest mean of a column; ≈ marks every mean that does not differ
significantly from it (uncorrected). ± is the standard deviation over the seeds, not an interval. A change is the
ratio of the geometric means of a row and its base (×52 is 52 times as high), with its 95 % interval in brackets. p is
from Welch's t-test on log FID, with a floor under the variances that comes from all rows, or from the order of the
runs where training diverged, with Holm's correction over all changes on this page; a bold p, at most 0.05, is
significant. "Seeds to decide" is the number of seeds that would make a change significant in four of five
repetitions, if the change and its spread are as observed. A diverged or failed seed enters no mean, and its row is
never bold. Statements about all rows of a section, and the bands of sweeps, have 95 % intervals from a bootstrap over
runs, stratified by rows. "A run beats the base's" is the share of all pairs of runs, one of the row and one of its
base, in which the row's FID is lower."""
CLAIMED = """A claim is supported or contradicted if its test says so at 5 % over all claims on this page, with Holm's
correction. Otherwise it is undecided, which does not mean that it is false; it is not run while one of its rows has no
result."""


def page(
    results: Results, drawn: Sequence[str], kept: Collection[str] = (), rows: Mapping[str, int] | None = None
) -> str:
    """The page: a sentence, the samples, claims, tables, figures, and how they came about.

    Args:
        drawn: the names of the figures' files.
        kept: those of them that show the same cells but were drawn before, from files that are not here.
        rows: how many rows those show that need files of cells, as far as it is known.
    """
    experiment, records = results.experiment, results.records
    read = {key: results.store.record(key) for key in experiment.needed}
    notes, reference = Footnotes(), load()
    methods = Methods(reference, experiment.profile) if reference else None
    planned = dict.fromkeys((1, len(experiment.profile.evaluation.sigma_mid) + 1))
    sections = Sections(results, columns(results.frame, tuple(planned)), methods, notes)
    known = rows or {}
    shown = {
        f.FILE: _figure(f, results, f.FILE in kept, known.get(f.FILE)) for f in figures() if f.FILE in drawn
    }
    parts = [f"# {escape(experiment.name)}", sentence(results), *shown.pop(PICTURE, [])]
    parts += [experiment.summary, _budget(experiment, records, read), *_claims(results)]
    for group in groups(experiment.rows):
        parts += [*sections.section(group), together(results, group), _real(records)]
    parts += tuned.part(results) + factorial.part(results)
    parts += budgets.part(results)
    if reference is None:
        parts.append("No reference.yaml was found, so the tables show no published numbers.")
    parts += ["## Figures", *itertools.chain(*shown.values())] if shown else []
    parts += [
        *_choices(experiment),
        "## How to read this",
        READING + _pairing(results),
        _noise(fid_noise.noise(experiment, records)),
    ]
    every = {**records, **read}
    parts += ["## Cost", _cost(every, len(read)), "## Provenance", *_provenance(every)]
    parts += [_noted(experiment.notes), "## Rows and keys", listing(results), str(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _budget(experiment: Experiment, known: Records, read: Records) -> str:
    profile = experiment.profile
    seeds = ", ".join(map(str, experiment.seeds))
    grown = len({len(row.keys) for row in experiment.rows}) > 1
    seeds += " (the later ones only where a claim was undecided)" if grown else ""
    plural = "s" if len(experiment.seeds) > 1 else ""
    lengths = [e.profile for e in experiment.by_budget()]
    images, steps = (" or ".join(f"{getattr(p, name):,}" for p in lengths) for name in ("images", "steps"))
    return (
        f"Profile {escape(profile.name)} (data {profile.data.name}), seed{plural} {seeds}, "
        f"{images} images per cell in batches of {profile.batch:,} ({steps} steps); "
        f"{_states(known)}{f'; {_states(read)}, which others read' if read else ''}."
        f"{_images(experiment)}{_set(experiment)}"
    )


def _states(known: Records) -> str:
    states = Counter((record or {}).get("state", "missing") for record in known.values())
    return f"{count(len(known), 'cell')}: {counted(states)}"


def _images(experiment: Experiment) -> str:
    """The images of rows whose cells read others, which are trained for them."""
    found = dict[tuple[tuple[str, ...], str, str], list[str]]()
    labels = dict.fromkeys(row.label for row in experiment.rows if row.needs)
    for label in labels:
        rows = [row for row in experiment.rows if row.label == label]
        cells = [experiment.cells[row.keys[0]] for row in rows]
        needs = {getattr(cell.recipe, axis).needs().recipe: None for cell in cells for axis in cell.needs}
        own = " or ".join(f"{cell.profile.steps * cell.profile.batch:,}" for cell in cells)
        total = " or ".join(f"{cell.images_in_all:,}" for cell in cells)
        found.setdefault((tuple(needs), own, total), []).append(escape(label))
    texts = [
        f"{', '.join(rows)} ({own} images of its own, {total} with those of {escape(' and '.join(needs))})"
        for (needs, own, total), rows in found.items()
    ]
    return (
        f" A cell of these rows reads another, which is trained for it: {'; '.join(texts)}." if texts else ""
    )


def _set(experiment: Experiment) -> str:
    """What the command line changed in the file."""
    chosen = [f"--set {name}={value}" for name, value in experiment.origin.overrides.items()]
    return f" With {escape(', '.join(chosen))}." if chosen else ""


def _figure(figure: Figure, results: Results, kept: bool, shown: int | None) -> list[str]:
    """A figure and its caption, which says which rows are shown if not all are.

    Args:
        shown: how many rows, of a figure that needs files of cells; None if it is not known.
    """
    rows = len(results.experiment.rows)
    more = [figure.CAPTION]
    if shown is not None and shown < (rows := len(distinct(results.lines))):
        lowest = ", those with the lowest FID" if rows > figure.MOST else ""
        more.append(f"{shown} of the {rows:,} rows are shown{lowest or _not_shown(results, rows - shown)}.")
    elif shown is None and rows > figure.MOST:
        more.append(f"Of the {rows:,} rows, at most {figure.MOST}, those with the lowest FID, are shown.")
    if kept:
        of = "" if shown is not None else ", of the rows whose files were here then"
        more.append(f"Drawn when these cells were computed{of}.")
    return [f"![{figure.TITLE}]({figure.FILE})", " ".join(more)]


def _not_shown(results: Results, n: int) -> str:
    """Why a figure shows `n` rows less than there are."""
    open_ = [x for x in distinct(results.lines) if x.states.keys() <= {"missing"}]
    if len(open_) > n:  # cells that run now have some files
        open_ = []
    names = f"; not run: {', '.join(escape(line.row.named) for line in open_)}" if open_ else ""
    return names + ("; of the others, there were no files" if len(open_) < n else "")


def _choices(experiment: Experiment) -> list[str]:
    ends = choices.ends(experiment.rows)
    if not ends:
        return []
    left, before, right, after = ends
    differing, common = choices.side_by_side(before, after)
    cells = [[escape(cell) for cell in row] for row in [["axis", left, right], *differing]]
    body = table(cells[0], cells[1:], left=3)
    return ["## Design choices", body, f"Common to both: {escape(common)}."]


def _claims(results: Results) -> list[str]:
    verdicts, n = results.verdicts, results.experiment.analyses
    if not verdicts:
        return []
    more = (
        f" Seeds are added until the claims are decided, so each interim analysis uses 5 % / {n}."
        if n > 1
        else ""
    )
    rows = [
        [escape(v.claim.id), prose(v.claim.says), v.state, str(v.n), probability(v.p), _because(results, v)]
        for v in verdicts
    ]
    headings = ["", "claim", "verdict", "seeds", "p (Holm)", "what was seen"]
    warned = tuned.harmed(results) if any(v.claim.tuned for v in verdicts) else ""
    return ["## Claims", table(headings, rows, left=6), warned, CLAIMED + more]


def _because(results: Results, verdict: Verdict) -> str:
    """The evidence, and what would decide an open claim."""
    needed = seeds_needed(results, verdict)
    return escape(verdict.because) + (f"; {needed.text()}" if needed else "")


def _pairing(results: Results) -> str:
    """Which share of the variance would go if rows were compared seed by seed."""
    one_step = [hows for (_, nfe), hows in results.scores.items() if nfe == 1]
    alike = max(
        {how for hows in one_step for how in hows},
        key=lambda how: sum(how in h for h in one_step),
        default="",
    )
    # equal rows count once
    columns = {tuple(sorted(hows[alike].items())) for hows in one_step if alike in hows}
    share = removed_by_pairing(map(dict, columns))
    if share is None:
        return ""
    return f""" Rows are compared as independent groups: comparing them seed by seed would remove {100 * share:.0f} % of
the variance of a difference in this table, and half of the degrees of freedom."""


def _real(known: Records) -> str:
    """The FID of real images, below which no model is expected."""
    values = [f"{number(fid)} ({extractor}, n={n})" for (extractor, n, _), fid in real_fid(known).items()]
    return f"FID of real images against held-out ones: {'; '.join(values)}." if values else ""


def _noise(noise: fid_noise.Noise | None) -> str:
    """How much of FID is the noise and the bias of its samples."""
    if noise is None:
        return ""
    seeds = (
        f" Seeds change it by {noise.seeds:.1%}, and by {noise.seeds_alone:.1%} without that noise."
        if noise.seeds
        else ""
    )
    return (
        f"Half of the samples give a one-step FID that is {noise.bias:+.1%} off (median over cells); with infinitely "
        f"many samples, the lowest cell's {number(noise.lowest)} would be {number(noise.unlimited)}. The choice of "
        f"samples changes a cell's FID by {noise.noise:.1%} (one standard deviation, from the halves of "
        f"{count(noise.cells, 'cell')}).{seeds}"
    )


def _cost(known: Records, read: int) -> str:
    done = [r for r in known.values() if r and r.get("wall_s")]
    if not done:
        return "Nothing has been computed yet."
    seconds = sorted(r["wall_s"] for r in done)
    sizes = sorted({r["parameters"] for r in done if r.get("parameters")})
    size = (
        f" Networks have {' to '.join(f'{s:,}' for s in sorted({sizes[0], sizes[-1]}))} parameters."
        if sizes
        else ""
    )
    spread = f", between {duration(seconds[0])} and {duration(seconds[-1])}" if len(seconds) > 1 else ""
    those = ", with those that others read," if read else ""
    whole = f"{count(len(done), 'cell')}{those} took {duration(sum(seconds))} of worker time in all"
    return f"A cell took {duration(statistics.median(seconds))}{spread}; {whole}.{size}"


def _provenance(known: Records) -> list[str]:
    origins = [r["provenance"] for r in known.values() if r and r.get("provenance")]
    if not origins:
        return ["No record yet."]
    commits = Counter(str(o.get("commit") or "unknown") for o in origins)
    dirty = sum(bool(o.get("dirty")) for o in origins)
    names = ", ".join(f"`{c}`" + (f" ({n:,} cells)" if len(commits) > 1 else "") for c, n in commits.items())
    lines = [f"- Commit: {names}" if len(commits) == 1 else f"- Mixed commits: {names}"]
    lines += (
        [f"- Uncommitted changes were present for {dirty:,} of {count(len(origins), 'cell')}"]
        if dirty
        else []
    )
    lines += [f"- Versions: {_versions(origins)}"]
    for fact in ("device", "threads", "data"):
        values = [escape(str(v)) for v in dict.fromkeys(o.get(fact) for o in origins) if v is not None]
        lines += [f"- {fact.capitalize()}: {', '.join(values)}"] if values else []
    return ["\n".join(lines)]


def _versions(origins: Sequence[dict[str, Any]]) -> str:
    seen: dict[str, dict[str, None]] = {}
    for origin in origins:
        for package, version in (origin.get("versions") or {}).items():
            seen.setdefault(package, {})[str(version)] = None
    return ", ".join(f"{package} {' and '.join(versions)}" for package, versions in seen.items())


def _noted(planned: Sequence[str]) -> str:
    return (
        "\n".join(["## Notes of the plan\n", *(f"- {paragraph(note)}" for note in planned)])
        if planned
        else ""
    )
