"""What `run` says of cost before it computes."""

from __future__ import annotations

import json
from pathlib import Path

from ablate.cost import estimate
from ablate.execution.resources import Resources
from ablate.planning.experiment import Experiment, listing, overview
from ablate.runs.store import Store


def show(experiment: Experiment, runs_dir: Path, means: Resources, time: bool, as_json: bool) -> None:
    """`--dry-run`: cells, images, FLOPs; with `--time` hours, memory and disk. Without it nothing is written."""
    found = estimate.groups(experiment, runs_dir)
    workers, threads = _at_once(found, means, experiment)
    timings = _timed(found, Store(runs_dir), workers, threads) if time else []
    if not as_json:
        print(overview(experiment))
        print(estimate.format_estimate(found, timings, workers, threads))
        return
    plain = {**listing(experiment), **estimate.listing(found)}
    if time:
        pairs = list(zip(found, timings, strict=True))
        groups = [{**vars(t), "cell_s": t.cell_s(g.cells[0])} for g, t in pairs]
        for entry, group in zip(groups, found, strict=True):
            entry |= {"cells": len(group.cells), "missing": group.missing, "parameters": group.parameters}
        hours = estimate.hours(found, timings, workers)
        plain |= {"hours": hours, "workers": workers, "threads": threads, "groups": groups}
    print(json.dumps(plain, indent=1))


def within(experiment: Experiment, store: Store, means: Resources, most: float) -> Experiment:
    """The rows for which `most` hours suffice on this machine."""
    found = estimate.groups(experiment, store.path)
    workers, threads = _at_once(found, means, experiment)
    timings = _timed(found, store, workers, threads)
    of = {cell.key: t for g, t in zip(found, timings, strict=True) for cell in g.cells}

    def needed(kept: Experiment) -> float:
        parts = estimate.groups(kept, store.path)
        return estimate.hours(parts, [of[g.cells[0].key] for g in parts], workers)

    return estimate.within(experiment, needed, most)


def _at_once(found: list[estimate.Group], means: Resources, experiment: Experiment) -> tuple[int, int]:
    workers, threads = means.at_once(experiment.profile)
    return min(workers, max(1, sum(g.missing for g in found))), threads


def _timed(found: list[estimate.Group], store: Store, workers: int, threads: int) -> list[estimate.Timing]:
    from ablate.core.hardware import devices

    device = "cpu" if devices() == ["cpu"] else "cuda"
    return estimate.measure_groups(found, store, workers if device == "cpu" else 1, threads, device)
