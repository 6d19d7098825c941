"""Cost of an experiment before it is computed: `run --dry-run`, `--time` and `--max-hours`."""

from __future__ import annotations

import json
from pathlib import Path

from ablate.cost import cards, estimate
from ablate.execution.resources import Resources
from ablate.planning import trials
from ablate.planning.experiment import Experiment, listing, overview
from ablate.runs.store import Store


def show(
    experiment: Experiment, runs_dir: Path, resources: Resources, time: bool, on_cards: bool, as_json: bool
) -> None:
    """`--dry-run`: cells, images, FLOPs; with `--time` hours, memory and disk. Without it no run is written.

    Args:
        on_cards: also memory and hours on common GPUs, which are shown anyway if a CPU would take long.
    """
    groups = estimate.groups(trials.with_outstanding(experiment), runs_dir)
    workers, threads = _at_once(groups, resources, experiment)
    timings = _timed(groups, Store.writable(runs_dir), workers, threads) if time else []
    asked = on_cards or cards.long(groups)
    fits = cards.fits(groups) if asked else []
    if not as_json:
        print("\n".join([overview(experiment), *trials.overview(experiment)]))
        print(estimate.format_estimate(groups, timings, workers, threads))
        if asked:
            print(cards.format_fits(fits))
        return
    plain = {**listing(experiment), **estimate.listing(groups), **trials.listing(experiment)}
    if time:
        timed = [
            {**vars(t), "cell_s": t.cell_s(g.cells[0]), "cells": len(g.cells), "missing": g.missing}
            | {"parameters": g.parameters}
            for g, t in zip(groups, timings, strict=True)
        ]
        hours = estimate.hours(groups, timings, workers)
        plain |= {"hours": hours, "workers": workers, "threads": threads, "groups": timed}
    if asked:
        plain["cards"] = [fit.plain() for fit in fits]
    print(json.dumps(plain, indent=1))


def within(experiment: Experiment, store: Store, resources: Resources, most: float) -> Experiment:
    """The rows for which `most` hours suffice on this machine."""
    groups = estimate.groups(trials.with_outstanding(experiment), store.path)
    workers, threads = _at_once(groups, resources, experiment)
    timings = _timed(groups, store, workers, threads)
    of = {cell.key: t for g, t in zip(groups, timings, strict=True) for cell in g.cells}

    def needed(kept: Experiment) -> float:
        parts = estimate.groups(trials.with_outstanding(kept), store.path)
        return estimate.hours(parts, [of[g.cells[0].key] for g in parts], workers)

    return estimate.within(experiment, needed, most)


def _at_once(groups: list[estimate.Group], resources: Resources, experiment: Experiment) -> tuple[int, int]:
    workers, threads = resources.at_once(experiment.profile)
    return min(workers, max(1, sum(g.missing for g in groups))), threads


def _timed(groups: list[estimate.Group], store: Store, workers: int, threads: int) -> list[estimate.Timing]:
    from ablate.core.hardware import devices

    device = "cpu" if devices() == ["cpu"] else "cuda"
    return estimate.measure_groups(groups, store, workers if device == "cpu" else 1, threads, device)
