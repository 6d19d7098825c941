"""The trials of tuned rows as cells: those that are recorded, and stand-ins for those that are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ablate.planning.cells import Cell, read_by
from ablate.planning.experiment import Experiment
from ablate.planning.tuning import kept, most, studies, trial, tuned_by, tuned_recipe


def outstanding(experiment: Experiment) -> list[Cell]:
    """Stand-ins for the cells that only the trials decide, to count and to time them: missing trials, tuned rows."""
    cells, tuned = list[Cell](), tuned_by(experiment)
    for name, row in studies(experiment).items():
        assert experiment.tuning
        tune, found = experiment.tuning.tune, experiment.tuning.found.get(name)
        if found and found.complete:
            continue
        left = range(len(found.ended) if found else 0, most(tune, row))
        cells += [replace(cell, key=f"{name} trial {n}") for cell in trial(experiment, row) for n in left]
        distinct = {of.keys: of for of in tuned[name]}.values()  # equal rows are computed once
        cells += [
            replace(experiment.cell(of, seed), key=f"{name} tuned {n}")
            for n, of in enumerate(distinct)
            for seed in experiment.seeds
        ]
    return [replace(cell, key=f"{cell.key} seed {cell.seed}") for cell in cells]


def with_outstanding(experiment: Experiment) -> Experiment:
    """The experiment with its recorded trials and with those stand-ins among its cells."""
    made = with_trials(experiment)
    return replace(made, cells=made.cells | {cell.key: cell for cell in outstanding(experiment)})


def with_trials(experiment: Experiment) -> Experiment:
    """The experiment with the recorded trials as further rows, to show their progress and to keep their cells."""
    made = replace(experiment, rows=[*experiment.rows], cells=dict(experiment.cells))
    for name, row in studies(experiment).items():
        assert experiment.tuning
        tuning, like = experiment.tuning, trial(experiment, row)
        for tried in tuning.found[name].tried if name in tuning.found else []:
            recipe = tuned_recipe(row, tried.params, tuning.shape, kept(experiment))
            label = f"{row.label}, trial {tried.number}"
            pairs = zip(tried.keys, like, strict=False)
            cells = [replace(cell, key=key, recipe=recipe) for key, cell in pairs]
            made.rows.append(
                replace(row, label=label, recipe=recipe, keys=tuple(tried.keys), section="tuning")
            )
            made.cells |= {cell.key: made.cells.get(cell.key, cell) for cell in cells}
    return made


def listing(experiment: Experiment) -> dict[str, Any]:
    """`--dry-run --json`: what tuning adds; empty without it."""
    if not experiment.tuning:
        return {}
    tune, found, names = experiment.tuning.tune, experiment.tuning.found, studies(experiment)
    cells, each = (
        [trial(experiment, row) for row in names.values()],
        [most(tune, row) for row in names.values()],
    )
    needed = read_by(cell for own in cells for cell in own).values()  # once for all trials that read them
    images = sum(n * c.profile.images for n, own in zip(each, cells, strict=True) for c in own)
    return {
        "tuning": {
            "studies": dict(zip(names, (row.label for row in names.values()), strict=True)),
            "trials": sum(each),
            "ended": sum(len(found[name].ended) for name in names if name in found),
            "cells": sum(each) * len(tune.seeds) + len(needed),
            "images": images + sum(c.profile.images for c in needed),
            "seeds": tune.seeds,
            "unknown": sum(c.key.split()[1] == "tuned" for c in outstanding(experiment)),
        }
    }


def overview(experiment: Experiment) -> list[str]:
    """`--dry-run` for the terminal."""
    if not experiment.tuning:
        return []
    t, tune = listing(experiment)["tuning"], experiment.tuning.tune
    each = " or ".join(map(str, sorted({most(tune, row) for row in studies(experiment).values()})))
    line = (
        f"tuning {', '.join(tune.search)}: {each} trials for each of {len(t['studies'])} recipes, "
        f"{t['cells']} cells of {t['images']} images in all ({t['ended']} of {t['trials']} trials have ended)"
    )
    rest = f"tuned rows: {t['unknown']} cells with keys that are unknown until then" if t["unknown"] else ""
    return [line, *([rest] if rest else [])]
