"""Level and power of the tables' test on real runs: `python benchmarks/power.py [FOLDER]` prints them, draws power.png.

The runs are those of the committed reports: every recipe of the profile with ten seeds or more is a pool, stable ones
and unstable ones together, each centred on its mean log FID. A simulated table has ten comparisons, corrected as in a
report. In *disjoint* tables, each compares two groups of seeds of one recipe, so that all null hypotheses are true. In
*base* tables, one base row is compared with ten rows of any recipes, all with the same mean. Power is the share of
base tables that find one true change of -20 % among nine nulls.

Rejections use little of what a disjoint comparison says. So the squared differences of log FID are also added up and
divided by the sum of the test's squared standard errors: 1 if the errors are right, below 1 if they are too large.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy import optimize, special, stats
from support.command import parser

from ablate.runs import records_file
from ablate.statistics.effect import Effect, Sample, compare
from ablate.statistics.significance import ALPHA, holm
from ablate.statistics.spread import compare_spread

REPORTS, PROFILE, FEWEST = "reports/cifar10-8px", "cifar10-8px", 10
CLAIMS, TABLES, CHANGE = 10, 4000, 0.8
SEEDS = (2, 3, 4, 6)
STABLE = 0.09  # standard deviation of log FID below which a pool counts as stable
TESTS = ("this test", "paired t", "moderated t", "z, spread known")


def pools(reports: Path) -> list[np.ndarray]:
    """Log one-step FIDs of each recipe with enough seeds, centred."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted(reports.glob("*/records.jsonl")):
        for parts in records_file.read(file).values():
            config, record = parts["config"], parts["record"]
            if config["profile"]["name"] == PROFILE and record["state"] == "finished":
                fid = next(m["value"] for m in record["fid"] if m["nfe"] == 1)
                found.setdefault(str(config["specs"]), {})[record["seed"]] = math.log(fid)
    logs = [np.array([*by_seed.values()]) for by_seed in found.values() if len(by_seed) >= FEWEST]
    return [values - values.mean() for values in logs]


class Simulation:
    """Tables of `n` seeds a row, drawn from the pools without replacement."""

    def __init__(self, pools: list[np.ndarray], n: int):
        self.pools, self.n, self.rng = pools, n, np.random.default_rng(n)

    def disjoint(self) -> tuple[list[np.ndarray], list[float]]:
        """Rows in pairs, two groups of one recipe each; pools that have no two groups are left out."""
        rows, spreads = list[np.ndarray](), list[float]()
        able = [pool for pool in self.pools if len(pool) >= 2 * self.n]
        for k in self.rng.integers(len(able), size=CLAIMS):
            drawn = self.rng.permutation(able[k])
            rows += [drawn[: self.n], drawn[self.n : 2 * self.n]]
            spreads += [float(able[k].std(ddof=1))] * 2
        return rows, spreads

    def base(self) -> tuple[list[np.ndarray], list[float]]:
        """A base row and ten others, no run in two of them."""
        left = [list(self.rng.permutation(pool)) for pool in self.pools]
        rows, spreads = list[np.ndarray](), list[float]()
        while len(rows) <= CLAIMS:
            k = self.rng.integers(len(left))
            if len(left[k]) >= self.n:
                rows.append(np.array([left[k].pop() for _ in range(self.n)]))
                spreads.append(float(self.pools[k].std(ddof=1)))
        return rows, spreads


def judged(
    rows: list[np.ndarray], spreads: list[float], pairs: list[tuple[int, int]]
) -> tuple[dict[str, list[float]], list[Effect]]:
    """Corrected p of every comparison by every test, and what the package says of each."""
    table = {(i, 1): {"": dict(enumerate(np.exp(row).tolist()))} for i, row in enumerate(rows)}
    found = [compare([(Sample(a, 1), Sample(b, 1))], table) for a, b in pairs]
    p = {TESTS[0]: [e.p for e in found], TESTS[1]: [], TESTS[2]: moderated(rows, pairs), TESTS[3]: []}
    for a, b in pairs:
        gaps = rows[a] - rows[b]
        error = math.hypot(spreads[a], spreads[b]) / math.sqrt(len(gaps))
        p[TESTS[1]].append(float(2 * stats.t.sf(abs(gaps.mean() / stats.sem(gaps)), len(gaps) - 1)))
        p[TESTS[3]].append(float(2 * stats.norm.sf(abs(gaps.mean()) / error)))
    return {test: holm(values) for test, values in p.items()}, found


def moderated(rows: list[np.ndarray], pairs: list[tuple[int, int]]) -> list[float]:
    """p of limma's moderated t (Smyth 2004): each variance is shrunk towards a prior that is fitted to all of them."""
    d = len(rows[0]) - 1
    logs = np.log(np.maximum([row.var(ddof=1) for row in rows], 1e-12))
    centred = logs - special.digamma(d / 2) + math.log(d / 2)
    spread = centred.var(ddof=1) - special.polygamma(1, d / 2)
    d0 = 1e6 if spread <= 1e-4 else 2 * optimize.brentq(lambda y: special.polygamma(1, y) - spread, 1e-3, 1e6)
    s0 = math.exp(centred.mean() + special.digamma(d0 / 2) - math.log(d0 / 2))
    shrunk = (d0 * s0 + d * np.exp(logs)) / (d0 + d)
    found = []
    for a, b in pairs:
        error = math.sqrt((shrunk[a] + shrunk[b]) / (d + 1))
        df = (d0 + d) * (shrunk[a] + shrunk[b]) ** 2 / (shrunk[a] ** 2 + shrunk[b] ** 2)
        found.append(float(2 * stats.t.sf(abs(rows[a].mean() - rows[b].mean()) / error, df)))
    return found


def spreads_differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the F-test at 5 %, uncorrected, tells the spreads of two rows apart."""
    found = compare_spread(*(dict(enumerate(np.exp(row).tolist())) for row in (a, b)))
    return found is not None and 2 * min(found.less, found.greater) <= ALPHA


def measured(pools: list[np.ndarray], n: int, tables: int) -> dict[str, dict[str, float]]:
    """Test -> share of tables with a false verdict, power, power between stable rows; coverage of the intervals."""
    simulation = Simulation(pools, n)
    hits = {test: dict.fromkeys(("disjoint", "base", "power", "stable"), 0.0) for test in TESTS}
    stable, unlike, covered = 0, 0, {"disjoint": 0, "base": 0}
    squares, errors = 0.0, 0.0
    against_base = [(i, 0) for i in range(1, CLAIMS + 1)]
    in_pairs = [(2 * i, 2 * i + 1) for i in range(CLAIMS)]
    for _ in range(tables):
        for kind, drawn, pairs in (
            ("disjoint", simulation.disjoint(), in_pairs),
            ("base", simulation.base(), against_base),
        ):
            p, effects = judged(*drawn, pairs)
            if kind == "disjoint":
                unlike += sum(spreads_differ(drawn[0][a], drawn[0][b]) for a, b in pairs)
                squares += sum(math.log(e.ratio) ** 2 for e in effects)
                errors += sum(e.deviation**2 / e.n for e in effects)
            covered[kind] += sum(e.low <= 1 <= e.high for e in effects)
            for test in TESTS:
                hits[test][kind] += min(p[test]) <= ALPHA
        rows, spreads = simulation.base()
        rows[1] = rows[1] + math.log(CHANGE)
        both = max(spreads[:2]) < STABLE
        stable += both
        for test, values in judged(rows, spreads, against_base)[0].items():
            hits[test]["power"] += values[0] <= ALPHA
            hits[test]["stable"] += both and values[0] <= ALPHA
    for shares in hits.values():
        for key in shares:
            shares[key] /= stable if key == "stable" else tables
    hits[TESTS[0]]["unlike"] = unlike / tables / CLAIMS
    hits[TESTS[0]]["squares"] = squares / errors
    for kind, times in covered.items():
        hits[TESTS[0]][f"covered {kind}"] = times / tables / CLAIMS
    return hits


def main(folder: Path, tables: int) -> None:
    """Print a table in Markdown and draw the power."""
    import pandas as pd
    import seaborn as sns
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = pools(Path(REPORTS))
    spreads = ", ".join(f"{100 * pool.std(ddof=1):.0f} %" for pool in sorted(known, key=np.std))
    print(f"{len(known)} pools of {min(map(len, known))} to {max(map(len, known))} seeds; spread {spreads}\n")
    print(
        "| seeds | test | false verdict, disjoint | base | -20 % found | between stable rows | 95 % intervals "
        "| F-test of equal spreads | squared differences / errors |"
    )
    print("|---" * 9 + "|")
    tidy = list[tuple[int, str, float]]()
    for n in SEEDS:
        for test, got in measured(known, n, tables).items():
            cover = [f"{100 * got[key]:.1f} %" for key in ("covered disjoint", "covered base") if key in got]
            shares = [f"{100 * got[key]:.1f} %" for key in ("disjoint", "base", "power", "stable")]
            unlike = f"{100 * got['unlike']:.1f} %" if "unlike" in got else ""
            squares = f"{got['squares']:.2f}" if "squares" in got else ""
            print(
                f"| {n} | {test} | {' | '.join([*shares, ' and '.join(cover), unlike, squares])} |",
                flush=True,
            )
            tidy.append((n, test, got["stable"]))
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    frame = pd.DataFrame(tidy, columns=["seeds", "test", "share of tables that find -20 %"])
    sns.lineplot(frame, x="seeds", y=frame.columns[2], hue="test", style="test", markers=True, ax=ax)
    ax.set_ylim(-0.02, 1.02)
    figure.savefig(folder / "power.png", dpi=110)


if __name__ == "__main__":
    command = parser(__doc__, quick=True)
    command.add_argument("folder", nargs="?", type=Path, default=Path("."), help="where power.png goes")
    options = command.parse_args()
    main(options.folder, TABLES // 100 if options.quick else TABLES)
