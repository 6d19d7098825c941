"""The evaluation of a cell against its unavoidable parts: `python benchmarks/evaluation.py`.

Unavoidable are making the samples of one and of two steps, and passing them through the extractor once.
The hundred subsets of KID, precision and recall are no part of FID: a row of its own is without their time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from support.command import QUICK, parser
from support.results import Row, save, seconds, spread

from ablate.core.hardware import use
from ablate.core.lazy import torch
from ablate.data import datasets
from ablate.evaluation import classifier, evaluate
from ablate.planning import planner
from ablate.runs.store import Store

FILE = Path(__file__).parents[1] / "experiments" / "table1.yaml"
PAIRS = 1 if QUICK else 5
OTHERS = ("kid_featuresdict_to_metric", "prc_featuresdict_to_metric")  # where torch-fidelity calls them
beside = [0.0]  # seconds that went into them


def clocked(work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, its seconds added up beside."""

    def run(*arguments: Any, **more: Any) -> Any:
        found = []
        beside[0] += seconds(lambda: found.append(work(*arguments, **more)))
        return found[0]

    return run


def main() -> None:
    """Pairs, alternating, after one evaluation that makes what is kept for ever."""
    import torch_fidelity.metrics as metrics

    from ablate.runs.assess import assess, samples, schedules
    from ablate.training.trainer import Trainer

    use(1)
    small = {"profile.evaluation.samples": 64} if QUICK else {}
    cell = next(iter(planner.load(FILE, overrides=small).cells.values()))
    images = datasets.load(cell.profile.data)
    trainer = Trainer(cell.recipe, cell.profile, images, cell.seed)
    with tempfile.TemporaryDirectory(prefix="ablate-evaluation-") as place:
        store = Store(place)
        folder = store.prepare(cell)
        net = classifier.restore(Path(evaluate.extractor("classifier", images, store.cache).weights or ""))

        def whole() -> tuple[float, float]:
            beside[0] = 0.0
            took = seconds(lambda: assess(cell, folder, trainer, images))
            return took, took - beside[0]

        @torch.no_grad()
        def bare() -> None:
            for sigmas in schedules(cell):
                for part in samples(cell, trainer, sigmas).split(64):
                    classifier.features(net, part)

        patches = {name: clocked(getattr(metrics, name)) for name in OTHERS}
        with mock.patch.multiple(metrics, **patches):
            first, _ = whole()
            kept = {f: f.stat().st_mtime_ns for f in (store.cache / "fidelity").glob("heldout-*.pt")}
            bare()
            took = [(*whole(), seconds(bare)) for _ in range(PAIRS)]
            again = {f: f.stat().st_mtime_ns for f in (store.cache / "fidelity").glob("heldout-*.pt")}
    n, repeats = cell.profile.evaluation.samples, len(took)
    alone = spread([fid / bare for _, fid, bare in took])
    answer = (
        f"{spread([all_ / bare for all_, _, bare in took])} x: {spread([a for a, *_ in took], unit=' s')}"
    )
    how = f"digits, {n} samples, one thread, {repeats} pairs"
    rows = [
        Row("FID at one and two steps against samples and features alone", "1.15", f"{alone} x", how),
        Row("the same with KID, precision and recall", "-", answer, how),
        Row("reference statistics: computed once per reference and extractor", "once",
            "once" if kept == again and len(kept) == 2 else "more than once",
            f"files of {repeats + 1} evaluations at two numbers of steps; the first took {first:.2f} s"),
    ]  # fmt: skip
    save("evaluation", rows, took)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
