"""Searches for the best intermediate sigma of two-step sampling, and evaluates it with fresh noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ablate.core.files import write_json
from ablate.core.hardware import devices
from ablate.data import datasets
from ablate.evaluation import evaluate
from ablate.inference.model import LADDER, Model, find, finite_pixels, load
from ablate.report import style as figures
from ablate.runs.store import Store
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import generate, noise

PUBLISHED = (0.821, 1.526)  # iCT's values for CIFAR-10 and ImageNet-64
COARSE = 64  # step of the first grid: a power of two, so that halving it ends at 1
FRESH = 3  # sampling seeds that the best sigma is evaluated with

Log = Callable[[str], None]


def search(fid: Callable[[int], float], points: int = LADDER, coarse: int = COARSE) -> dict[int, float]:
    """Search the index of the lowest FID on a grid of noise levels; returns the FID of every index that it tried.

    FID may have several local minima, so it first tries every `coarse`-th index between the ends. Then it tries the
    neighbours of the best at half that distance, a quarter and so on down to 1. The result lies in the best valley
    of the coarse grid, but is not guaranteed to be the global minimum.

    Args:
        fid: index -> FID; called once per index.
        points: number of noise levels; more than two coarse steps.
        coarse: a power of two.
    """
    tried = {i: fid(i) for i in range(coarse, points - 1, coarse)}
    while coarse > 1:
        coarse //= 2
        best = min(tried, key=tried.__getitem__)
        tried |= {i: fid(i) for i in (best - coarse, best + coarse)}
    return tried


@dataclass(frozen=True)
class TwoStep:
    """Two-step samples of one seed as a function of the intermediate sigma; the first step is computed once.

    first: images of one step (n, C, H, W); z: noise of the second step, as `first`; both: t -> images of two steps,
    without reading `first`, for a network with a second level, whose first step depends on t.
    """

    f: Denoiser
    first: torch.Tensor
    z: torch.Tensor
    sigma_min: float
    batch: int
    both: Callable[[float], torch.Tensor]

    @torch.no_grad()
    def __call__(self, t: float) -> torch.Tensor:
        """f(first + sqrt(t^2 - sigma_min^2) z, t) (n, C, H, W), which equals `generate` with levels sigma_max and t."""
        if self.f.two_levels:
            return self.both(t)
        scale = max(t**2 - self.sigma_min**2, 0) ** 0.5
        noisy = (self.first + scale * self.z).split(self.batch)
        levels = [torch.full((len(x),), t, dtype=torch.float64, device=x.device) for x in noisy]
        labels = self.f.labels(len(self.first), self.first.device)
        batches = [None] * len(noisy) if labels is None else torch.split(labels, self.batch)
        return torch.cat([self.f(*inputs) for inputs in zip(noisy, levels, batches, strict=True)])


class TwoStepFid:
    """FID of a cell's two-step samples, with the reference and the extractor of its profile.

    Args:
        n: samples per FID.
        cache: folder of extractors and reference statistics.
    Raises:
        SpecError: the images cannot be loaded or have changed.
    """

    def __init__(self, model: Model, n: int, cache: Path, device: str = "cpu"):
        e = model.cell.profile.evaluation
        images = datasets.load(model.cell.profile.data, device, cache, model.cell.fingerprint)
        self.model, self.n, self.cache, self.device, self.batch = model, n, cache, device, e.batch
        self.extractor = evaluate.extractor(e.extractor, images, cache)
        self.reference = evaluate.reference(images, e.samples)

    def samples(self, seed: int) -> TwoStep:
        """Two-step samples of a sampling seed."""
        f, levels, shape = self.model.f, self.model.cell.recipe.levels, self.model.shape
        top, low = levels.sigma_max, levels.sigma_min

        def drawn(*sigmas: float) -> torch.Tensor:
            return generate(f, shape, self.n, [top, *sigmas], low, seed, self.batch, self.device)

        return TwoStep(f, drawn(), noise(seed, shape, self.n, 1, self.device), low, self.batch, drawn)

    def fid(self, x: torch.Tensor) -> float:
        """FID of images x, float (n, C, H, W) in [-1, 1].

        Raises:
            SpecError: x is not finite.
        """
        samples = finite_pixels(self.model.cell, x)
        return evaluate.measure(samples, self.reference, self.extractor, self.cache, self.device)["fid"]


def best_sigma(measure: TwoStepFid, log: Log = lambda line: None) -> dict[str, Any]:
    """Search for the best intermediate sigma; returns the content of `midpoint.json`.

    sigma, index: the best sigma and its index among LADDER noise levels; fid, fixed, one_step: mean FID at it, at the
    published sigmas, after one step; by_seed: these FIDs per seed, all of seeds that the search did not use; searched:
    FID at sigma with the noise of the search, which is biased low; curve: [[sigma, FID], ...] of the search, ascending
    in sigma.
    """
    seed, recipe = measure.model.cell.seed, measure.model.cell.recipe
    samples, ladder = measure.samples(seed), recipe.levels(LADDER).tolist()

    def fid(i: int) -> float:
        if ladder[i] < recipe.teacher.level:  # where the model is another network
            return math.inf
        value = measure.fid(samples(ladder[i]))
        log(f"sigma {ladder[i]:.4g}: FID {value:.4g}")
        return value

    curve = {i: value for i, value in sorted(search(fid).items()) if value < math.inf}
    best = min(curve, key=curve.__getitem__)
    seeds = [seed + 1 + i for i in range(FRESH)]
    by_seed = fids_by_seed(measure, seeds, ladder[best])
    mean = {name: statistics.fmean(fids) for name, fids in by_seed.items()}
    return {
        **{"sigma": ladder[best], "index": best, "fid": mean.pop("best"), "one_step": mean.pop("one_step")},
        **{"fixed": mean, "by_seed": by_seed, "seeds": seeds, "searched": curve[best], "search_seed": seed},
        **{"curve": [[ladder[i], value] for i, value in curve.items()], "n": measure.n},
        **{"extractor": measure.extractor.label, "reference": measure.reference.label},
    }


def fids_by_seed(measure: TwoStepFid, seeds: list[int], best: float) -> dict[str, list[float]]:
    """FID of each seed at sigma `best`, at the published sigmas (named by their value), and after one step."""
    published = {f"{t:g}": t for t in PUBLISHED if t >= measure.model.cell.recipe.teacher.level}
    fids: dict[str, list[float]] = {"best": [], **{name: [] for name in published}, "one_step": []}
    for seed in seeds:
        samples = measure.samples(seed)
        for name, t in {"best": best, **published}.items():
            fids[name].append(measure.fid(samples(t)))
        fids["one_step"].append(measure.fid(samples.first))
    return fids


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw the search as PNG, with FIDs of fresh seeds at the best and at the published sigmas."""
    import seaborn as sns

    colors = sns.color_palette("colorblind")
    with figures.theme():
        figure, axes = figures.blank(1, 7.0, [3.6], below=0.9)
        ax = axes[0, 0]
        sigmas, fids = zip(*result["curve"], strict=True)
        label = f"searched with seed {result['search_seed']}"
        ax.plot(sigmas, fids, color=colors[0], marker="o", markersize=4, linewidth=1, label=label)
        levels = [(result["sigma"], "best"), *((float(name), name) for name in result["fixed"])]
        for (t, name), color, style in zip(levels, colors[1:], ("-", "--", ":"), strict=False):
            values = result["by_seed"][name]
            level = f"best: {t:.3g}" if name == "best" else f"published: {name}"
            label = f"{level}, fresh seeds: {statistics.fmean(values):.4g}"
            ax.axvline(t, color=color, linestyle=style, linewidth=1, zorder=0)
            marks = {"marker": "D", "s": 22, "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
            ax.scatter([t] * len(values), values, color=color, label=label, **marks)
        ax.axhline(
            result["one_step"], color="0.3", linestyle="-.", linewidth=1, label="one step, fresh seeds"
        )
        figures.logarithmic(ax, "x")
        ax.set(xlabel="intermediate sigma", ylabel=f"two-step FID, n = {result['n']}")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figures.save(figure, path)


def format_result(result: Mapping[str, Any]) -> str:
    """The result as text for the terminal."""

    def line(name: str, values: list[float]) -> str:
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{name:<44}FID {statistics.fmean(values):.4g} +- {spread:.2g}"

    by_seed = dict(result["by_seed"])
    level = f"sigma {result['sigma']:.4g} (point {result['index']} of 0..{LADDER - 1})"
    lines = [line(f"best: {level}", by_seed.pop("best")), line("one step", by_seed.pop("one_step"))]
    lines[1:1] = [line(f"published: sigma {t}", values) for t, values in by_seed.items()]
    seeds = ", ".join(map(str, result["seeds"]))
    return "\n".join(
        [*lines, f"n = {result['n']}, seeds {seeds}, {result['extractor']}, {result['reference']}"]
    )


def write(store: Store, key: str, n: int | None = None, log: Log = lambda line: None) -> dict[str, Any]:
    """Search the best intermediate sigma of a finished cell; writes `midpoint.json` and `midpoint.png` beside it.

    Args:
        n: samples per FID; by default the profile's number.
    Raises:
        SpecError: no such cell, no weights, or images that cannot be loaded or have changed.
    """
    folder, device = find(store, key), devices()[0]
    model = load(store, folder.key, device)
    measure = TwoStepFid(model, n or model.cell.profile.evaluation.samples, store.cache, device)
    result = best_sigma(measure, log)
    write_json(folder.path / "midpoint.json", result)
    draw(result, folder.path / "midpoint.png")
    return result
