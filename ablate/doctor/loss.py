"""Checks 5, 7, 9 and 10: the noisy images, noise levels and distance of the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ablate.doctor.bench import Bench
from ablate.doctor.findings import Finding, within
from ablate.doctor.function import noise
from ablate.ingredients.metric import huber_c
from ablate.training.loss import noisy

FEWEST_LOW = (
    0.3  # share of levels below 0.5; the published schedule has 0.58, with the sign of p_mean lost 0.18
)
LEAST_TURN = 0.005  # radians; the smallest of flow is 0.015, of iCT 0.026, of D9 0.0021
LONGEST = 1.01  # D26 has 4.4 on digits and 8.5 on CIFAR-10
LEAST_POWER = -0.5  # the right weight has 0, D25 -1
LARGEST_C = 5.0  # times 0.00054 sqrt(d); D22 is sqrt(d) times it, 8 for the digits and 55 for CIFAR-10


def equal_pixels(bench: Bench) -> Iterator[Finding]:
    """5: in the dtype of the noisy images, the two images of a pair differ at every noise level."""
    u = torch.cat([torch.tensor([1e-6]), torch.linspace(0.01, 0.99, 33)])
    sigma_teacher, sigma_student = bench.levels(u)
    if torch.equal(
        sigma_teacher, sigma_student
    ):  # continuous time has a derivative instead of a second image
        yield Finding("5 equal pixels of a pair", "no pairs", "below 0.05", True)
        yield from tangent(bench)
        return
    x = (noise(len(u), 1, 64, 64) * 127.5 + 127.5).clamp(0, 255).round() / 127.5 - 1
    z = noise(len(u), 1, 64, 64).flip(0)
    below, above = (
        noisy(x, sigma, z, bench.recipe.precision.inputs) for sigma in (sigma_teacher, sigma_student)
    )
    share = (below == above).double().flatten(1).mean(1)
    place, law = int(share.argmax()), "below 0.05"
    detail = f"at sigma {float(sigma_teacher[place]):.3g}, in {bench.recipe.precision.inputs}"
    value = float(share[place])
    yield Finding("5 equal pixels of a pair", value, law, value < 0.05, "D7", detail=detail)


@dataclass(frozen=True)
class UnitTangent:
    """Shows a pairing black images and an estimate whose change has length 1 in units of the network's output."""

    x: torch.Tensor  # (B, C, H, W)
    sigma_data: float
    share: float = 1.0  # no warm-up

    def slope(self, sigma: torch.Tensor) -> torch.Tensor:
        """The derivative (B, C, H, W) of the estimate by sigma (B,)."""
        length = (sigma**2 + self.sigma_data**2) ** -0.5 / math.sqrt(self.x[0].numel())
        return torch.ones_like(self.x) * length[:, None, None, None]


def tangent(bench: Bench) -> Iterator[Finding]:
    """5, where a bounded tangent takes the place of a pair: it does not get longer, and every level counts."""
    recipe = bench.recipe
    if getattr(recipe.pairing, "tangent", "none") == "none":
        return
    _, sigma = bench.levels(torch.linspace(0.05, 0.95, 10))
    shown = UnitTangent(
        torch.zeros(len(sigma), *bench.shape, dtype=torch.float64), recipe.parameterization.sigma_data
    )
    aim = recipe.pairing.target(shown, sigma, sigma)(shown.x)
    c_out = recipe.parameterization(sigma)[1].abs()
    longest = float((aim.flatten(1).norm(dim=1) / c_out).max())
    law = f"at most {LONGEST:g}"
    yield Finding(
        "5 distance to the target / c_out, of a tangent of length 1", longest, law, longest <= LONGEST, "D26"
    )
    weight = recipe.weighting(*recipe.pairing.weighed(sigma, sigma)) * c_out**2
    power = float((weight[-1] / weight[0]).log() / (sigma[-1] / sigma[0]).log())
    law, check = f"at least {LEAST_POWER:g}", "5 power of sigma in the weight of a bounded tangent"
    yield Finding(check, power, law, power >= LEAST_POWER, "D25", advice=True)


@torch.no_grad()
def embedding(bench: Bench) -> Iterator[Finding]:
    """7: the embedding distinguishes the noise levels that the network is trained at.

    Measured at ten levels with equal ratios, as the root mean square angle by which the embedding's features turn
    where the level grows by a factor e: the distance of two embeddings over their mean length and the logarithm of the
    ratio. So it does not matter how narrow the distribution is. Values far above 1 only mean `different`.
    """
    _, ends = bench.levels(torch.tensor([0.05, 0.95]))
    bottom, top = ends.clamp(min=bench.recipe.teacher.level).log()  # below it another network is sampled
    sigma = torch.linspace(float(bottom), float(top), 10, dtype=torch.float64).exp()
    e = bench.recipe.embedding(bench.recipe.noise_precond(sigma).float()).double()
    turns = (e[1:] - e[:-1]).norm(dim=1) / e.norm(dim=1).mean() * 9 / (top - bottom)
    several = bool(top > bottom)
    low = float(turns.min()) if several else math.inf
    detail = f"median {float(turns.median()):.3g}" if several else "one level only"
    law = f"at least {LEAST_TURN:g}"
    yield Finding(
        "7 smallest embedding distance per factor e",
        low,
        law,
        low >= LEAST_TURN,
        "D9",
        advice=True,
        detail=detail,
    )


def histogram(bench: Bench) -> Iterator[Finding]:
    """9: enough noise levels are low, unless another network keeps them."""
    if level := bench.recipe.teacher.level:
        yield Finding("9 share of levels below 0.5", f"from {level:g} up", "any", True)
        return
    _, sigma_student = bench.levels((torch.arange(2000) + 0.5) / 2000)
    below = {level: float((sigma_student < level).double().mean()) for level in (0.05, 0.5, 5.0)}
    detail = f"below 0.05 {below[0.05]:.2f}, above 5 {1 - below[5.0]:.2f}"
    law, value = f"at least {FEWEST_LOW:g}", below[0.5]
    yield Finding(
        "9 share of levels below 0.5", value, law, value >= FEWEST_LOW, "D12", advice=True, detail=detail
    )


def distance(bench: Bench) -> Iterator[Finding]:
    """10: the metric grows with the error of the whole image, wherever in the image the error is."""
    metric, d = bench.recipe.metric, math.prod(bench.shape)
    whole_image = metric.whole_image_norm
    y = torch.zeros(3, *bench.shape, dtype=torch.float64 if whole_image else torch.float32)
    y[0], y[1] = 0.005, 0.01
    y[2].view(-1)[d // 2] = 0.005 * math.sqrt(d)
    spread, twice, one = metric(torch.zeros_like(y), y).tolist()
    growth = twice / spread if spread else math.inf
    yield Finding("10 distance of a doubled error / of the error", growth, "above 1", 1 < growth < math.inf)
    if whole_image:
        ratio = spread / one if one else math.inf
        free = not hasattr(metric, "c")  # only a Huber constant c is meant for the norm of a whole image
        check = "10 distance of a spread error / of one in one place"
        yield within(check, ratio, 0.99, 1.01, "D13", advice=free)
    if hasattr(metric, "c"):
        times = (metric.c or huber_c(bench.shape)) / huber_c(bench.shape)
        law = f"at most {LARGEST_C:g}"
        yield Finding("10 c / (0.00054 sqrt(d))", times, law, times <= LARGEST_C, "D22", advice=True)
