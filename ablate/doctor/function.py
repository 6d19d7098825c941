"""Checks 1 to 3: the consistency function in training and in sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ablate.doctor.bench import Bench, Probe
from ablate.doctor.findings import Finding, within
from ablate.training.denoiser import Denoiser
from ablate.training.trainer import Trainer

TINY = 1e-6
SHIFT = 0.1  # of the largest gap of two functions: what is left at sigma_max if only their sigma_min differs


def noise(*shape: int) -> Tensor:
    """Normal noise, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def boundary(bench: Bench) -> Iterator[Finding]:
    """1: f(x, sigma_min) = x, and sigma_min is the lowest level."""
    low, trainer = bench.recipe.levels.sigma_min, bench.trainer()
    x, sigma = noise(8, *bench.shape), torch.full((8,), low, dtype=torch.float64)
    gap = float((trainer.f(x, sigma) - x).abs().max())
    yield Finding("1 boundary f(x, sigma_min) - x", gap, f"at most {TINY:g}", gap <= TINY, "D3")
    N = bench.recipe.curriculum(bench.K - 1, bench.K)
    away = float(bench.recipe.levels(N)[0]) / low - 1
    yield Finding(
        "1 lowest level / sigma_min - 1", away, f"at most {TINY:g} from 0", abs(away) <= TINY, "D14"
    )


@torch.no_grad()
def agreement(bench: Bench) -> Iterator[Finding]:
    """2: training and sampling use the same function, and it scales the network's output to the data."""
    trainer, sigma = bench.trainer(), bench.recipe.levels(9)[::2]
    yield _same(bench, trainer, sigma)
    top = float(sigma[-1])
    c_skip, factor = (float(trainer.f.coefficients(sigma)[c][-1]) for c in ("c_skip", "c_out"))
    # the standard deviation of x - c_skip (x + sigma z), which c_out F has to supply
    law = math.hypot((1 - c_skip) * bench.recipe.parameterization.sigma_data, c_skip * top)
    # the output of `flow`, a velocity, has sqrt(1 + sigma_data^2), the others 1, D2 sigma_data
    yield within("2 c_out / output scale of the data, at sigma_max", abs(factor) / law, 0.8, 1.25, "D2")
    ones = trainer.f.with_network(Probe(1.0))(torch.zeros(5, *bench.shape), sigma)
    c_out = trainer.f.coefficients(sigma)["c_out"]
    factors = ones.flatten(1).mean(1)[1:] / c_out[1:]  # at sigma_min both are zero
    yield within("2 factor of the network's output / c_out", _furthest(factors), 0.99, 1.01, "D15")


def _same(bench: Bench, trainer: Trainer, sigma: Tensor) -> Finding:
    """Whether the function of sampling equals the one of training when both have the same weights."""
    trainer.average.network.load_state_dict(trainer.network.state_dict())
    trainer.network.eval()
    x = noise(5, *bench.shape) * sigma.float()[:, None, None, None]
    fresh = Denoiser(
        bench.light, trainer.average.network
    ).for_sampling()  # built the way a saved model is loaded
    trained = trainer.f(x, sigma)
    gaps = torch.stack([(f(x, sigma) - trained).abs().flatten(1).amax(1) for f in (trainer.average, fresh)])
    relative = gaps.amax(0) / trained.abs().max()
    gap, law = float(relative.max()), f"at most {TINY:g}, at five levels"
    # another sigma_min is not seen from sigma_max, other coefficients are
    defect = "D29" if float(relative[-1]) < SHIFT * gap else "D1-3"
    return Finding("2 sampled f - trained f, relative", gap, law, gap <= TINY, defect)


def _furthest(ratios: Tensor) -> float:
    """The ratio furthest from 1."""
    return float(ratios[ratios.double().abs().log().abs().argmax()])


@torch.no_grad()
def inputs(bench: Bench) -> Iterator[Finding]:
    """3: the network's input has the variance that it should have, about 1 at every level, for images of the assumed
    standard deviation, which is one for all axes."""
    N = bench.recipe.curriculum(bench.K - 1, bench.K)
    sigma = bench.recipe.levels(N)
    sigma = sigma[torch.linspace(0, N - 1, min(N, 24)).round().long()]
    clean, noisy = (_standard(noise(2, len(sigma), 1, 64, 64))[i] for i in (0, 1))
    x = bench.recipe.input_precond.sigma_data * clean
    x = x + sigma.float()[:, None, None, None] * noisy
    f, seen = bench.trainer(perturbed=False).f, Probe()
    f.with_network(seen)(x, sigma)
    std = seen.seen.float().flatten(1).std(1)
    f.with_network(mirrored := Probe())(-x, sigma)
    even = torch.allclose(seen.seen, mirrored.seen)
    defect = "D11" if even else "D8" if float(std[-1]) > 1 else "D1"
    worst = _furthest(std)
    least = bench.recipe.input_precond.least_std
    yield within("3 input std furthest from 1", worst, least, 1.1, defect, detail=_at(std, sigma, worst))
    flat = bench.recipe.flat()
    assumed = {field.split(".")[0]: flat[field] for field in flat if field.endswith(".sigma_data")}
    equal = len({*assumed.values()}) < 2
    differing = ", ".join(f"{axis} {value}" for axis, value in assumed.items())
    yield Finding("3 sigma_data of all axes", "equal" if equal else differing, "equal", equal, advice=True)


def _standard(x: Tensor) -> Tensor:
    """Each image scaled to mean 0 and standard deviation 1."""
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)


def _at(std: Tensor, sigma: Tensor, worst: float) -> str:
    place = int((std.double() - worst).abs().argmin())
    return f"at sigma {float(sigma[place]):.3g}" if math.isfinite(worst) else "not finite"
