"""A step of UNet2DModel, ours against diffusers' consistency-training script: `python benchmarks/script_step.py`.

The script's step is restated here in its order of work: a separate teacher that gets the student's whole
state dict after every step, a replayed generator state for dropout, gradient clipping, EMA of diffusers, the
loss read from the device every step. Both sides have the same network, batch, optimizer (AdamW, the script's
default) and clipping, and an EMA.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.command import QUICK, parser
from support.results import Row, save, seconds, spread

from ablate.core.hardware import cores, use
from ablate.core.lazy import torch
from ablate.cost import bench
from ablate.cost.timing import peak_memory
from ablate.planning import planner
from ablate.planning.cells import Cell

FILE = Path(__file__).parents[1] / "experiments" / "bench_script_unet.yaml"
PAIRS = 1 if QUICK else 5
CLIP, HUBER, LEVELS = 1.0, 0.00054 * (3 * 32 * 32) ** 0.5, 11
SMALL = {
    "network.block_out_channels": [32, 32],
    "network.down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "network.up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}


def cell(precision: str) -> Cell:
    """The file's cell with the script's optimizer."""
    changes: dict[str, Any] = {"precision": precision, "optimizer": "adamw", "optimizer.clip": CLIP}
    return next(iter(planner.load(FILE, overrides=changes | (SMALL if QUICK else {})).cells.values()))


def ours(of: Cell) -> Callable[[], object]:
    """Our step, its loss read every time too."""
    from ablate.training.trainer import Trainer

    trainer = Trainer(of.recipe, of.profile, bench.random_images(of, "cpu"), 0)
    return lambda: trainer.step().loss.item()


class Script:
    """The script's state and its step."""

    def __init__(self, of: Cell):
        from diffusers import UNet2DModel
        from diffusers.training_utils import EMAModel

        fields = {k: v for k, v in dataclasses.asdict(of.recipe.network).items() if k != "embedding"}
        self.unet = UNet2DModel(sample_size=32, in_channels=3, out_channels=3, **fields)
        self.teacher = copy.deepcopy(self.unet).requires_grad_(False)
        self.ema = EMAModel(self.unet.parameters(), decay=0.9999, model_cls=UNet2DModel)
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=1e-4, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda k: 1.0)
        self.images = bench.random_images(of, "cpu").train.float() / 127.5 - 1
        self.batch, self.bf16 = of.profile.batch, of.recipe.precision.name == "bf16"
        self.sigma = of.recipe.levels(LEVELS).float()
        self.share = of.recipe.noise(self.sigma.double()).float()

    def denoised(self, network: Any, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """c_skip x + c_out F(c_in x, c_noise), in the script's formulas."""
        wide = sigma[:, None, None, None]
        c_in, c_skip = 1 / (wide**2 + 0.25), 0.25 / (wide**2 + 0.25)
        c_out = wide / (wide**2 + 0.25) ** 0.5
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            found: torch.Tensor = network(c_in * x, 0.25 * sigma.log()).sample
        return c_skip * x + c_out * found.float()

    def __call__(self) -> float:
        """One step; the loss."""
        x = self.images[torch.randint(len(self.images), (self.batch,))]
        i = torch.multinomial(self.share, self.batch, replacement=True)
        lo, hi = self.sigma[i], self.sigma[i + 1]
        z = torch.randn_like(x)
        below, above = (x + s[:, None, None, None] * z for s in (lo, hi))
        state = torch.get_rng_state()
        y = self.denoised(self.unet, above, hi)
        torch.set_rng_state(state)
        with torch.no_grad():
            target = self.denoised(self.teacher, below, lo)
        distance = ((y - target) ** 2 + HUBER**2).sqrt() - HUBER
        loss = (distance / (hi - lo)[:, None, None, None]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), CLIP)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.teacher.load_state_dict(self.unet.state_dict())
        self.ema.step(self.unet.parameters())
        return float(loss.item())


SIDES: dict[str, Callable[[Cell], Callable[[], object]]] = {"ours": ours, "script": Script}


def memory(side: str, precision: str) -> float:
    """The most megabytes of a process that takes two steps of a side."""
    command = [sys.executable, __file__, side, precision, *(["--quick"] if QUICK else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def faster() -> tuple[str, float]:
    """The precision in which a convolution takes less time here, and how many times less."""
    took = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        conv = torch.nn.Conv2d(128, 128, 3, padding=1).to(kind)
        x = torch.randn(4, 128, 32, 32).to(kind)
        took[name] = statistics.median(seconds(lambda: conv(x)) for _ in range(5))  # noqa: B023
    best = min(took, key=lambda name: took[name])
    return best, max(took.values()) / took[best]


def main() -> None:
    """Pairs of steps in one process, then a process of each side for its memory."""
    use(cores())
    precision, times = faster()
    of = cell(precision)
    sides = {name: make(of) for name, make in SIDES.items()}
    for step in sides.values():
        step()
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(PAIRS):
        for name, step in sides.items():
            took[name].append(seconds(step))
    del sides
    ratios = [b / a for a, b in zip(took["ours"], took["script"], strict=True)]
    rates = {name: of.profile.batch / statistics.median(s) for name, s in took.items()}
    peaks = {name: memory(name, precision) for name in SIDES}
    how = f"{precision}, {cores()} threads, {PAIRS} pairs of steps; a convolution takes {times:.1f} x in the other"
    answer = f"{spread(ratios)} x: {rates['ours']:.3g} against {rates['script']:.3g} images/s"
    most = f"{peaks['ours'] / peaks['script']:.2f} x: {peaks['ours']:.0f} against {peaks['script']:.0f} MB"
    name = "UNet2DModel 113.7M, batch 16, CPU"
    rows = [
        Row(f"{name}: speed of a training step against the script's", "2", answer, how),
        Row(f"{name}: most memory against the script's", "0.7", most, "a process each, two steps"),
    ]
    save("script_step", rows, {"seconds": took, "peak_mb": peaks, "precision": precision})


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("side", nargs="?", choices=SIDES, help="measure the memory of one side only")
    command.add_argument("precision", nargs="?", choices=("fp32", "bf16"), default="fp32")
    given = command.parse_args()
    if given.side:
        use(cores())
        one = SIDES[given.side](cell(given.precision))
        one(), one()
        print(json.dumps(peak_memory("cpu") / 1e6))
    else:
        main()
