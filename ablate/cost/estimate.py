"""Estimates the cost of an experiment: counts operations, and times up to twenty steps of every distinct network."""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.cost import kept
from ablate.cost.flops import passes
from ablate.cost.timing import STEPS, clock, in_processes, peak_memory, print_measurement, step_times
from ablate.planning.cells import Cell
from ablate.planning.experiment import Experiment
from ablate.runs.store import Store, restore

MOST_SAMPLES = 1000  # that a timing generates and evaluates; the rest is extrapolated
AROUND_S = 10.0  # start of a command and its report, measured on two cores by benchmarks/prediction.py
COPIES = 8  # most processes timed at the same time, since workers slow each other down


@dataclass(frozen=True)
class Group:
    """Cells that cost the same: equal network, passes, precision and images, with or without a perceptual metric.

    flops_forward: FLOPs of one image through the network; a multiplication and an addition count as two. step: what the
    time of a step depends on, so that cells of other lengths are not timed again.
    """

    cells: tuple[Cell, ...]
    missing: int  # those without a record
    parameters: int
    flops_forward: int
    step: str = ""

    @property
    def training(self) -> int:
        """FLOPs of one cell: all passes of its steps, for each image."""
        profile = self.cells[0].profile
        return passes(self.cells[0].recipe) * self.flops_forward * profile.steps * profile.batch

    @property
    def sampling(self) -> int:
        """FLOPs of one cell's samples at all numbers of steps; the extractor is not counted."""
        e = self.cells[0].profile.evaluation
        return self.flops_forward * e.samples * evaluations(self.cells[0])


@dataclass(frozen=True)
class Timing:
    """Times and sizes measured on this machine, with as many processes as will compute at the same time.

    start_s: reading the data and building the networks; step_s: median of an optimizer step; sample_s: an image
    through the network; measure_s: an image through the extractor and its statistics; in seconds. peak_mb: of the
    process, or of the GPU's memory; checkpoint_mb, model_mb: on disk; in 10^6 bytes.
    """

    step_s: float
    sample_s: float
    measure_s: float = 0.0
    start_s: float = 0.0
    peak_mb: float = 0.0
    checkpoint_mb: float = 0.0
    model_mb: float = 0.0

    def cell_s(self, cell: Cell) -> float:
        """Seconds of one cell."""
        e, nfe = cell.profile.evaluation, evaluations(cell)
        points = cell.profile.images // e.every if e.every else 1
        schedules = 1 + bool(e.sigma_mid)
        evaluation = e.samples * (self.sample_s * nfe + self.measure_s * schedules)
        return self.start_s + cell.profile.steps * self.step_s + evaluation * points


def evaluations(cell: Cell) -> int:
    """Network evaluations for one image at every number of steps that is measured: 1, and 1 + len(sigma_mid)."""
    middle = len(cell.profile.evaluation.sigma_mid)
    return 1 + (1 + middle if middle else 0)


def groups(experiment: Experiment, runs: Path) -> list[Group]:
    """The experiment's cells, grouped by what their cost depends on; each distinct network is counted once."""
    by_cost: dict[str, list[Cell]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for cell in experiment.all_cells.values():
        specs = cell.recipe.specs()
        name = json.dumps([specs[axis] for axis in ("network", "embedding")], sort_keys=True)
        if name not in counts:
            with experiment.mistakes_of(cell):
                counts[name] = kept.flops(cell.recipe, experiment.profile)
        cost = [
            specs["network"]["name"],
            specs["precision"],
            specs["metric"]["name"] == "lpips",
            passes(cell.recipe),
            counts[name],
        ]
        by_cost.setdefault(json.dumps([cell.profile.images, cost], sort_keys=True), []).append(cell)
    result = []
    for name, cells in by_cost.items():
        cost = json.loads(name)[-1]
        n = cost[-1]
        missing = sum(read_json(runs / c.key / "record.json") is None for c in cells)
        result.append(Group(tuple(cells), missing, n["parameters"], n["flops_forward"], json.dumps(cost)))
    return result


def listing(groups: list[Group]) -> dict[str, Any]:
    """What `--dry-run --json` adds: FLOPs of all cells and of the missing ones."""

    def total(n: Callable[[Group], int], of: Callable[[Group], int]) -> int:
        return sum(n(g) * of(g) for g in groups)

    return {
        "missing": sum(g.missing for g in groups),
        "flops_training": total(lambda g: len(g.cells), lambda g: g.training),
        "flops_sampling": total(lambda g: len(g.cells), lambda g: g.sampling),
        "flops_missing": total(lambda g: g.missing, lambda g: g.training + g.sampling),
    }


def measure_groups(
    groups: list[Group], store: Store, workers: int, threads: int, device: str
) -> list[Timing]:
    """Time up to twenty steps of one cell of each group, in as many processes as will run at the same time.

    Args:
        workers: cells at a time; threads: of each; device: `cpu` or `cuda`.
    Raises:
        SpecError: a cell cannot start; the last line of its process.
    """
    known = dict[str, Timing]()
    for g in groups:
        if g.step not in known:
            known[g.step] = _measure_group(g, store, min(workers, COPIES, max(1, g.missing)), threads, device)
    return [known[g.step] for g in groups]


def _measure_group(group: Group, store: Store, copies: int, threads: int, device: str) -> Timing:
    try:
        measured = in_processes(
            "ablate.cost.estimate", group.cells[0], store.cache, threads, device, copies=copies
        )
    except SpecError as error:
        raise error.under("--time") from None
    return Timing(
        **{f.name: statistics.median(m[f.name] for m in measured) for f in dataclasses.fields(Timing)}
    )


def hours(groups: list[Group], timings: list[Timing], workers: int) -> float:
    """Hours until `workers` workers have computed all missing cells and the report is written."""
    seconds = [t.cell_s(g.cells[0]) for g, t in zip(groups, timings, strict=True)]
    left = [s for g, s in zip(groups, seconds, strict=True) for _ in range(g.missing)]
    return (max(sum(left) / workers, max(left)) + AROUND_S) / 3600 if left else 0.0


def within(experiment: Experiment, cost: Callable[[Experiment], float], most: float) -> Experiment:
    """Leave out the least important rows until the experiment fits into `most` hours.

    Args:
        cost: hours of an experiment.
    Raises:
        SpecError: it takes longer, even without all rows that a `priority` allows to leave out.
    """
    kept, needed = experiment, cost(experiment)
    while needed > most:
        last = max(r.priority for r in kept.rows)
        rows = [r for r in kept.rows if r.priority < last]
        if not rows:
            raise SpecError(
                f"--max-hours {most:g}: the experiment needs {needed:.3g} hours; fewer seeds or images need less, "
                "and rows whose plan entry has a `priority` may be left out"
            )
        kept = experiment.only(rows)
        needed = cost(kept)
    if kept is not experiment:
        out = len(experiment.rows) - len(kept.rows)
        kept.notes.append(f"--max-hours {most:g}: {out} of {len(experiment.rows)} rows are left out")
    return kept


def format_estimate(groups: list[Group], timings: list[Timing], workers: int, threads: int) -> str:
    """Counts, and times if there are any, as text for the terminal."""
    c = listing(groups)
    lines = [
        f"training {c['flops_training']:.3g} FLOPs, sampling {c['flops_sampling']:.3g}, without the extractor's; "
        f"missing {c['missing']} cells, {c['flops_missing']:.3g} FLOPs"
    ]
    lengths = len({g.cells[0].profile.images for g in groups})
    for group, t in zip(groups, timings, strict=False):
        cell = group.cells[0]
        length = f", {cell.profile.images:,} images" if lengths > 1 else ""
        images = cell.profile.batch / t.step_s
        rate = passes(cell.recipe) * group.flops_forward * images
        lines.append(
            f"{group.parameters / 1e6:.3g}M parameters, {cell.recipe.precision.name}{length}: {images:.4g} images/s, "
            f"{rate:.3g} FLOP/s, {t.cell_s(cell):.0f} s a cell ({t.start_s:.1f} s of them to start), "
            f"{t.peak_mb:.0f} MB, {group.missing} of {len(group.cells)} cells missing"
        )
    if timings:
        disk = sum(g.missing * t.model_mb for g, t in zip(groups, timings, strict=True))
        disk += workers * 2 * max(t.checkpoint_mb for t in timings)
        memory = workers * max(t.peak_mb for t in timings)
        lines.append(
            f"about {hours(groups, timings, workers):.3g} hours with {workers} workers of {threads} threads, "
            f"{memory:.0f} MB of memory, {disk:.0f} MB of disk; "
            f"timed over {STEPS} steps at most and {MOST_SAMPLES} samples at most, the rest extrapolated"
        )
    return "\n".join(lines)


def measure(config: Mapping[str, Any], cache: Path, device: str) -> Timing:
    """Time up to twenty steps of a cell, some samples and their features."""
    import torch

    from ablate.data import datasets
    from ablate.evaluation import evaluate
    from ablate.training.sampling import generate
    from ablate.training.trainer import Trainer

    now = clock(device)
    began = now()
    cell = restore(dict(config))
    e = cell.profile.evaluation
    images = datasets.load(cell.profile.data, device, cache, cell.fingerprint)
    trainer = Trainer(cell.recipe.from_scratch(), cell.profile, images, cell.seed, device)
    started = now()
    steps = step_times(trainer.step, trainer.K, now)
    n, levels = min(e.samples, MOST_SAMPLES), cell.recipe.levels
    before = now()
    x = generate(trainer.average, images.shape, n, [levels.sigma_max], levels.sigma_min, 0, e.batch, device)
    sampled = now()
    pixels = (x.nan_to_num().clamp(-1, 1) * 127.5 + 127.5).to(torch.uint8)
    extractor, reference = evaluate.extractor(e.extractor, images, cache), evaluate.reference(images, n)
    evaluate.measure(pixels, reference, extractor, cache, device)  # the first call also fills the cache
    ready = now()
    evaluate.measure(pixels, reference, extractor, cache, device)
    done = now()
    state, weights = io.BytesIO(), sum(p.numel() * p.element_size() for p in trainer.network.parameters())
    torch.save(trainer.state_dict(), state)
    return Timing(
        start_s=started - began,
        step_s=statistics.median(steps),
        sample_s=(sampled - before) / n,
        measure_s=(done - ready) / n,
        peak_mb=peak_memory(device) / 1e6,
        checkpoint_mb=len(state.getbuffer()) / 1e6,
        model_mb=weights / 1e6,
    )


def main(cache: str, threads: str, device: str) -> None:
    """`python -m ablate.cost.estimate CACHE THREADS DEVICE`, a cell's config on standard input."""
    print_measurement(int(threads), lambda config: dataclasses.asdict(measure(config, Path(cache), device)))


if __name__ == "__main__":
    main(*sys.argv[1:])
