"""What logging, checkpoints and signs of life cost beside the mathematics: `python benchmarks/around.py`.

`Trainer.step` in a bare loop against a cell's own consumer of the same steps, which logs and saves as often
as it does in a whole digits cell. Both sides begin with a trainer of their own, and alternate.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from support.command import QUICK, parser
from support.results import Row, save, seconds, spread

from ablate.core.hardware import use
from ablate.data import datasets
from ablate.planning import planner
from ablate.runs.heartbeat import Heartbeat
from ablate.runs.store import Store

FILE = Path(__file__).parents[1] / "experiments" / "table1.yaml"
PAIRS = 1 if QUICK else 7
CHANGES = {"profile.images": 320 if QUICK else 2240, "profile.checkpoint_every": 160 if QUICK else 1120}


def main() -> None:
    """Pairs of trainings without their evaluation."""
    from ablate.runs.loop import Run
    from ablate.training.trainer import Trainer

    use(1)
    cell = list(planner.load(FILE, overrides=CHANGES).cells.values())[-1]
    images = datasets.load(cell.profile.data)

    def bare() -> float:
        trainer = Trainer(cell.recipe, cell.profile, images, cell.seed)
        return seconds(lambda: [None for _ in trainer])

    def consumed() -> float:
        trainer = Trainer(cell.recipe, cell.profile, images, cell.seed)
        with tempfile.TemporaryDirectory(prefix="ablate-around-") as place:
            folder = Store(place).prepare(cell)
            with Heartbeat(folder, device="cpu", pid=0) as heart:
                return seconds(Run(cell, folder, trainer, images, [], heart.at).train)

    bare()
    took = [(consumed(), bare()) for _ in range(PAIRS)]
    ratios = [100 * (a / b - 1) for a, b in took]
    k = cell.profile.steps
    how = f"digits, {k} steps, one thread, {PAIRS} pairs; the average is part of either side"
    what = "logging, checkpoints and signs of life on top of the steps"
    save("around", [Row(what, "3 %", spread(ratios, ".1f", " %"), how)], took)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
