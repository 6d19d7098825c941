"""reports/<study>/: a page with the trials and Optuna's figures, and the best recipe as a file for `run`."""

from __future__ import annotations

import csv
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablate.core import yaml_files
from ablate.core.files import atomic_write
from ablate.core.formats import count
from ablate.planning.parameters import fitting
from ablate.planning.points import name_of
from ablate.planning.unbuilt_rows import label_of
from ablate.report import html, place, style
from ablate.report.markdown import escape
from ablate.report.markdown import table as written
from ablate.study import optunas
from ablate.study.plan import Plan
from ablate.study.trials import REASON, counted, shortfall

if TYPE_CHECKING:
    import pandas as pd

MOST_CONTOURS = 4  # parameters in a contour figure


def write(plan: Plan, study: optuna.Study, reports_dir: Path) -> Path:
    """Write the report, unless there is one of more trials; what the trials do not support is left out or removed.

    Returns:
        The report's folder.
    Raises:
        SpecError: the folder cannot be created, or is another file's.
    """
    folder = place.claim(plan.experiment, reports_dir)
    trials = counted(study.get_trials(deepcopy=False))
    if (before := _trials(folder / place.TABLE)) > len(trials):
        reason = f"it has {count(before, 'trial')}, this study {len(trials)}"
        print(
            f"{folder} is kept: {reason}; --reports-dir DIR writes this report to another place",
            file=sys.stderr,
        )
        return folder
    best = bests(plan, study)
    drawn = _figures(plan, study, trials, folder)
    recipes = {f"best_{name}.yaml" if len(best) > 1 else "best.yaml": (name, t) for name, t in best.items()}
    for stale in {*folder.glob("best*.yaml")} - {folder / name for name in recipes}:
        stale.unlink()
    for name, (objective, trial) in recipes.items():
        _text(folder / name, yaml_files.write(recipe(plan, objective, trial)))
    table = frame(plan, study, trials)
    _text(folder / "table.csv", table.to_csv(index=False))
    page = _page(plan, trials, best, table, drawn, list(recipes), shortfall(plan, study))
    _text(folder / "table.md", page)
    _text(folder / "index.html", html.page(plan.content.name, page, folder))
    return folder


def _trials(table: Path) -> int:
    """The number of trials in a study's `table.csv`; 0 without one."""
    try:
        with table.open(newline="", encoding="utf-8") as lines:
            return sum(1 for line in csv.DictReader(lines) if line.get("trial"))
    except OSError:
        return 0


def _text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def bests(plan: Plan, study: optuna.Study) -> dict[str, FrozenTrial]:
    """The complete trial with the lowest value of each objective; empty without complete trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return {}
    return {name: min(complete, key=lambda t: t.values[i]) for i, name in enumerate(plan.objective)}


def recipe(plan: Plan, objective: str, trial: FrozenTrial) -> dict[str, Any]:
    """A trial as a recipe file: the study's base, its `set`, `--set`, and the parameters of the trial."""
    value = trial.values[plan.objective.index(objective)]
    beside = plan.planner.file.parent / plan.content.base
    base = os.path.abspath(beside) if beside.is_file() else plan.content.base
    fields = fitting(plan.params(trial), plan.base.recipe.specs())
    profile, seeds = plan.experiment.profile.name, len(plan.experiment.seeds)
    summary = f"Trial {trial.number} of study {plan.content.name} on {profile}: {objective} {value:.4g}, "
    return {
        "name": f"{plan.content.name}_best",
        "summary": summary + f"the mean of {seeds} seed{'s' if seeds > 1 else ''}.",
        "base": base,
        **plan.content.set,
        **plan.planner.recipe_overrides,
        **fields,
    }


def frame(plan: Plan, study: optuna.Study, trials: list[FrozenTrial]) -> pd.DataFrame:
    """A row per trial: state, parameters, objectives, the last evaluation point, the keys of its cells."""
    import pandas as pd

    front = {t.number for t in study.best_trials} if len(plan.objective) > 1 else set()
    rows = []
    for t in trials:
        values = t.values if t.state == TrialState.COMPLETE else [None] * len(plan.objective)
        row = {
            "trial": t.number,
            "state": t.state.name.lower(),
            **{k: plan.params(t).get(k) for k in plan.space},
        }
        row |= dict(zip(plan.objective, values, strict=True))
        if front:
            row["pareto"] = t.number in front
        if plan.prunes:
            row["last rung"] = t.last_step
            row["FID there"] = t.intermediate_values.get(t.last_step) if t.last_step else None
        row |= {"reason": t.user_attrs.get(REASON), "keys": " ".join(t.user_attrs.get("keys", []))}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.dropna(axis="columns", how="all") if len(table) else table


def _page(
    plan: Plan,
    trials: list[FrozenTrial],
    best: dict[str, FrozenTrial],
    table: pd.DataFrame,
    drawn: list[str],
    recipes: list[str],
    missing: list[str],
) -> str:
    c, e = plan.content, plan.experiment
    ended = {s: sum(t.state.name.lower() == s for t in trials) for s in ("complete", "pruned", "fail")}
    counts = ", ".join(f"{n} {s}" for s, n in ended.items() if n)
    seeds = ", ".join(map(str, e.seeds))
    sampled = f"Sampler {name_of(c.sampler)}, pruner {name_of(c.pruner)}."
    chosen = ", ".join(f"--set {name}={value}" for name, value in e.origin.overrides.items())
    order = [k for k in plan.objective if k in table]
    shown = table.sort_values(order[0], na_position="last", kind="stable") if order else table
    cells = [
        ["" if v != v or v is None else escape(_short(v)) for v in row]
        for row in shown.to_numpy(dtype=object)
    ]
    first = [n for n in drawn if n.startswith(("history", "importance"))]
    parts = [f"# {escape(c.name)}", _lead(plan, trials, best)]
    parts += [f"{'; '.join(missing)}.".capitalize()] if missing else []
    parts += [escape(c.summary)] if c.summary else []
    on = f"{len(trials)} of {c.trials} trials on {escape(e.profile.name)}, seeds {seeds}"
    chosen = f" With {escape(chosen)}." if chosen else ""
    parts += [f"{on}: {counts or 'none has ended'}. {sampled}{chosen}"]
    parts += ["As recipes: " + ", ".join(f"[{r}]({r})" for r in recipes) + "."] if recipes else []
    parts += ["## Trials", written([escape(str(k)) for k in shown.columns], cells, left=2)] if cells else []
    parts += (
        ["## Figures", *(f"![{Path(n).stem}]({n})" for n in sorted(drawn, key=lambda n: n not in first))]
        if drawn
        else []
    )
    words = ["python", "-m", "ablate", "study", os.path.relpath(plan.planner.file)]
    words += [] if e.origin.own else ["--profile", e.origin.profile or e.profile.name]
    words += [] if list(e.seeds) == c.seeds else ["--seeds", ",".join(map(str, e.seeds))]
    words += [word for name, value in e.origin.overrides.items() for word in ("--set", f"{name}={value}")]
    parts += [
        "## How to continue",
        "The same command continues with the trials that are here; `--trials` is how many the study has in all:",
        f"```bash\n{shlex.join(words)} --trials {max(c.trials, len(trials)) + 10}\n```",
    ]
    if recipes:
        parts += [
            f"`base: {recipes[0]}` in an experiment file starts from the best trial. Repeat it over seeds first."
        ]
    return "\n\n".join(parts) + "\n"


def _lead(plan: Plan, trials: list[FrozenTrial], best: dict[str, FrozenTrial]) -> str:
    """The best trial in a sentence, and how it compares with the base recipe."""
    if not best:
        return f"No trial is complete, of {count(len(trials), 'trial')}."
    found = []
    for i, (name, trial) in enumerate(best.items()):
        values = ", ".join(f"{k}={_short(v)}" for k, v in plan.params(trial).items())
        found.append(
            f"The lowest {escape(name)} is {trial.values[i]:.4g}, with {escape(values)} (trial {trial.number}). "
            f"{_against_base(plan, trials, trial, i)}"
        )
    return "\n\n".join(found)


def _against_base(plan: Plan, trials: list[FrozenTrial], best: FrozenTrial, i: int) -> str:
    """A sentence that compares the best trial with the base recipe; single trials show no significance."""
    own, base = plan.at_base(), escape(label_of(plan.content.base))
    same = [t for t in trials if t.state == TrialState.COMPLETE and own and t.params == own]
    if not same:
        return f"The values of {base} are not among the complete trials."
    there, here = same[0].values[i], best.values[i]
    if same[0].number == best.number:
        return f"These are the values of {base}: nothing that was tried is better."
    return f"{base} itself has {there:.4g} (trial {same[0].number}), {there / here:.2f} times as much."


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figures(plan: Plan, study: optuna.Study, trials: list[FrozenTrial], folder: Path) -> list[str]:
    """Draw Optuna's figures that the trials support; returns the names of their files."""
    import matplotlib

    matplotlib.use("Agg")  # Optuna draws with pyplot, which would open a window elsewhere
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    searched = [k for k in plan.space if len({repr(t.params.get(k)) for t in complete}) > 1]
    drawn: list[str] = []
    with optunas.quiet(), style.defaults():
        for i, objective in enumerate(plan.objective):
            only = {} if len(plan.objective) == 1 else {"target": _nth(i)}
            tail = "" if not only else f"_{objective}"
            for name, draw in _single(
                plan, study, complete, searched, {**only, "target_name": objective}
            ).items():
                drawn += _saved(draw, folder / f"{name}{tail}.png")
        drawn += _joint(plan, study, complete, folder)
    kinds = ("history", "importance", "slice", "contour", "parallel", "rungs", "pareto")
    for old in {p for kind in kinds for p in folder.glob(f"{kind}*.png")} - {folder / n for n in drawn}:
        old.unlink()
    return drawn


def _nth(i: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[i])


def _single(
    plan: Plan, study: optuna.Study, complete: list[FrozenTrial], searched: list[str], more: dict[str, Any]
) -> dict[str, Callable[[], Any]]:
    """The figures of one objective that the trials support."""
    import optuna.visualization.matplotlib as draw
    from optuna.importance import FanovaImportanceEvaluator

    figures: dict[str, Callable[[], Any]] = {}
    if complete:
        figures["history"] = lambda: draw.plot_optimization_history(study, **more)
    if len({tuple(t.values) for t in complete}) > 1 and searched:
        figures["slice"] = lambda: draw.plot_slice(study, params=searched, **more)
        figures["parallel"] = lambda: draw.plot_parallel_coordinate(study, params=searched, **more)
    if len(searched) > 1 and len({tuple(t.values) for t in complete}) > 3:
        forest = FanovaImportanceEvaluator(seed=0)
        figures["importance"] = lambda: draw.plot_param_importances(study, evaluator=forest, **more)
        figures["contour"] = lambda: draw.plot_contour(study, params=searched[:MOST_CONTOURS], **more)
    return figures


def _joint(plan: Plan, study: optuna.Study, complete: list[FrozenTrial], folder: Path) -> list[str]:
    """The figures of the whole study: values at evaluation points, and the Pareto front of several objectives."""
    import optuna.visualization.matplotlib as draw

    names = list[str]()
    if plan.prunes and complete:
        names += _saved(lambda: draw.plot_intermediate_values(study), folder / "rungs.png")
    if len(plan.objective) > 1 and complete:
        objectives = list(plan.objective)
        names += _saved(lambda: draw.plot_pareto_front(study, target_names=objectives), folder / "pareto.png")
    return names


def _saved(draw: Callable[[], Any], path: Path) -> list[str]:
    """Draw into a file and return its name; nothing but one line on stderr if it cannot be drawn."""
    import matplotlib.pyplot as plt

    try:
        _draw(draw, path)
    except Exception as error:  # of Optuna or matplotlib, of any kind: a figure never costs the tables
        line = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"warning: {path.name} is left out: {line}", file=sys.stderr)
        return []
    finally:
        plt.close("all")
    return [path.name]


def _draw(draw: Callable[[], Any], path: Path) -> None:
    """Draw into a file. Optuna returns axes, or an array of them."""
    import numpy as np

    axes = np.atleast_1d(np.asarray(draw(), dtype=object)).ravel()
    figure = axes[0].figure
    if path.name.startswith("parallel"):  # room for the numbers between the last axis and the colours
        figure.set_size_inches(10, 5)
    if len(axes) > 1:
        figure.set_size_inches(
            4 * max(2, round(len(axes) ** 0.5)) + 1, 4 * max(1, round(len(axes) ** 0.5)) + 1
        )
    # Optuna's tight layout warns if it does not fit; bbox_inches fits everything
    figure.set_layout_engine("none")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
