"""The evaluation of a cell against what it can not do without: `python benchmarks/evaluation.py`.

What it can not do without: making the samples of one and of two steps, and passing them through the extractor once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from results import QUICK, Row, save, seconds, spread

from ablate import classifier, data, evaluate, plan
from ablate.assessment import assess, samples, schedules
from ablate.machine import use
from ablate.store import Store
from ablate.train import Trainer

FILE = Path(__file__).parents[1] / "experiments" / "table1.yaml"
PAIRS = 1 if QUICK else 5


def main() -> None:
    """Pairs, alternating, after one evaluation that makes what is kept for ever."""
    use(1)
    small = {"profile.evaluation.samples": 64} if QUICK else {}
    cell = next(iter(plan.load(FILE, overrides=small).cells.values()))
    images = data.load(cell.profile.data)
    trainer = Trainer(cell.recipe, cell.profile, images, cell.seed)
    with tempfile.TemporaryDirectory(prefix="ablate-evaluation-") as place:
        store = Store(place)
        folder = store.prepare(cell)
        net = classifier.restore(Path(evaluate.extractor("classifier", images, store.cache).weights or ""))

        def whole() -> None:
            assess(cell, folder, trainer, images)

        @torch.no_grad()
        def bare() -> None:
            for sigmas in schedules(cell):
                for part in samples(cell, trainer, sigmas).split(64):
                    classifier.features(net, part)

        first = seconds(whole)
        kept = {f: f.stat().st_mtime_ns for f in (store.cache / "fidelity").glob("heldout-*.pt")}
        bare()
        took = [(seconds(whole), seconds(bare)) for _ in range(PAIRS)]
        again = {f: f.stat().st_mtime_ns for f in (store.cache / "fidelity").glob("heldout-*.pt")}
    ratios = [a / b for a, b in took]
    n, repeats = cell.profile.evaluation.samples, len(took)
    both = spread([a for a, _ in took], unit=" s")
    rows = [
        Row("evaluation at one and two steps against samples and features alone", "1.15",
            f"{spread(ratios)} x: {both}", f"digits, {n} samples, one thread, {repeats} pairs"),
        Row("reference statistics: computed once per reference and extractor", "once",
            "once" if kept == again and len(kept) == 2 else "more than once",
            f"files of {repeats + 1} evaluations at two numbers of steps; the first took {first:.2f} s"),
    ]  # fmt: skip
    save("evaluation", rows, took)


if __name__ == "__main__":
    main()
