"""The best second level of two-step sampling: searched on the ladder, judged by noise of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ablate.core.errors import SpecError
from ablate.core.files import write_json
from ablate.core.hardware import devices
from ablate.data import datasets
from ablate.evaluation import evaluate
from ablate.inference.model import LADDER, Model, find, load
from ablate.report import style as figures
from ablate.runs.store import Store
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import generate, noise

PUBLISHED = (0.821, 1.526)  # iCT's levels: CIFAR-10, ImageNet-64
COARSE = 64  # points between two of the first grid: a power of two, so that halving it ends at 1
FRESH = 3  # sampling seeds that the found level is judged by

Say = Callable[[str], None]


def search(fid: Callable[[int], float], points: int = LADDER, coarse: int = COARSE) -> dict[int, float]:
    """FID by index of every point of the ladder that was looked at; the least of them is what was searched.

    First every `coarse`-th point between the ends, as FID may have several valleys; then the neighbours of
    the best at half the distance, a quarter and so on to 1. It finds a point of the best valley, not
    surely the lowest.

    Args:
        fid: index -> FID; called once per index.
        points: N of the ladder; more than two grid steps.
        coarse: a power of two.
    """
    seen = {i: fid(i) for i in range(coarse, points - 1, coarse)}
    while coarse > 1:
        coarse //= 2
        best = min(seen, key=seen.__getitem__)
        seen |= {i: fid(i) for i in (best - coarse, best + coarse)}
    return seen


@dataclass(frozen=True)
class TwoStep:
    """Two-step samples of one seed by their second level; what does not depend on it is computed once.

    first: images of one step (n, C, H, W); z: noise of the second step, as `first`.
    """

    f: Denoiser
    first: torch.Tensor
    z: torch.Tensor
    sigma_min: float
    batch: int

    @torch.no_grad()
    def __call__(self, t: float) -> torch.Tensor:
        """f(first + sqrt(t^2 - sigma_min^2) z, t) (n, C, H, W): as `generate` makes of sigma_max and t."""
        scale = max(t**2 - self.sigma_min**2, 0) ** 0.5
        noisy = (self.first + scale * self.z).split(self.batch)
        levels = [torch.full((len(x),), t, dtype=torch.float64, device=x.device) for x in noisy]
        told = self.f.labels(len(self.first), self.first.device)
        labels = (
            [None] * len(noisy)
            if told is None
            else [told[i : i + self.batch] for i in range(0, len(told), self.batch)]
        )
        return torch.cat([self.f(*given) for given in zip(noisy, levels, labels, strict=True)])


class Judge:
    """FIDs of a cell's two-step samples against its own reference, by its own extractor."""

    def __init__(self, model: Model, n: int, cache: Path, device: str = "cpu"):
        e = model.cell.profile.evaluation
        images = datasets.load(model.cell.profile.data, device)
        if images.fingerprint != model.cell.fingerprint:
            raise SpecError(f"cell {model.cell.key}: its images have changed since it was trained")
        self.model, self.n, self.cache, self.device, self.batch = model, n, cache, device, e.batch
        self.extractor = evaluate.extractor(e.extractor, images, cache)
        self.reference = evaluate.reference(images, e.samples)

    def samples(self, seed: int) -> TwoStep:
        """The two-step samples of a sampling seed."""
        f, levels, shape = self.model.f, self.model.cell.recipe.levels, self.model.shape
        top, low = levels.sigma_max, levels.sigma_min
        first = generate(f, shape, self.n, [top], low, seed, self.batch, self.device)
        return TwoStep(f, first, noise(seed, shape, self.n, 1, self.device), low, self.batch)

    def fid(self, x: torch.Tensor) -> float:
        """FID of images x, float (n, C, H, W) in [-1, 1].

        Raises:
            SpecError: values that are not finite.
        """
        try:
            samples = evaluate.to_uint8(x)
        except evaluate.NotFinite as error:
            raise SpecError(f"cell {self.model.cell.key}: {error}") from None
        return evaluate.measure(samples, self.reference, self.extractor, self.cache, self.device)["fid"]


def midpoint(judge: Judge, say: Say = lambda line: None) -> dict[str, Any]:
    """What `midpoint.json` holds; `by_seed` and the means of it are of seeds that the search did not see.

    sigma, index: the level found and its place on the ladder; fid, fixed, one_step: mean FID at it, at the
    published levels, after one step; searched: FID at sigma with the noise of the search, so too low; curve:
    [[sigma, FID], ...] of the search, ascending in sigma.
    """
    seed, ladder = judge.model.cell.seed, judge.model.cell.recipe.levels(LADDER).tolist()
    cached = judge.samples(seed)

    def fid(i: int) -> float:
        value = judge.fid(cached(ladder[i]))
        say(f"sigma {ladder[i]:.4g}: FID {value:.4g}")
        return value

    curve = dict(sorted(search(fid).items()))
    best = min(curve, key=curve.__getitem__)
    seeds = [seed + 1 + i for i in range(FRESH)]
    by_seed = judged(judge, seeds, ladder[best])
    mean = {name: statistics.fmean(found) for name, found in by_seed.items()}
    return {
        **{"sigma": ladder[best], "index": best, "fid": mean.pop("best"), "one_step": mean.pop("one_step")},
        **{"fixed": mean, "by_seed": by_seed, "seeds": seeds, "searched": curve[best], "search_seed": seed},
        **{"curve": [[ladder[i], value] for i, value in curve.items()], "n": judge.n},
        **{"extractor": judge.extractor.label, "reference": judge.reference.label},
    }


def judged(judge: Judge, seeds: list[int], best: float) -> dict[str, list[float]]:
    """FIDs of each seed at `best`, at the published levels (by their number) and after one step."""
    found: dict[str, list[float]] = {"best": [], **{f"{t:g}": [] for t in PUBLISHED}, "one_step": []}
    for seed in seeds:
        cached = judge.samples(seed)
        for name, t in (("best", best), *((f"{t:g}", t) for t in PUBLISHED)):
            found[name].append(judge.fid(cached(t)))
        found["one_step"].append(judge.fid(cached.first))
    return found


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The curve of the search as PNG, with what fresh noise gives at the level found and at the published."""
    import seaborn as sns

    colors = sns.color_palette("colorblind")
    with figures.theme():
        figure, axes = figures.blank(1, 7.0, [3.6], below=0.9)
        ax = axes[0, 0]
        sigmas, fids = zip(*found["curve"], strict=True)
        label = f"searched with seed {found['search_seed']}"
        ax.plot(sigmas, fids, color=colors[0], marker="o", markersize=4, linewidth=1, label=label)
        levels = [(found["sigma"], "best"), *((t, f"{t:g}") for t in PUBLISHED)]
        for (t, name), color, style in zip(levels, colors[1:], ("-", "--", ":"), strict=False):
            values = found["by_seed"][name]
            level = f"found: {t:.3g}" if name == "best" else f"published: {name}"
            said = f"{level}, fresh seeds: {statistics.fmean(values):.4g}"
            ax.axvline(t, color=color, linestyle=style, linewidth=1, zorder=0)
            look = {"marker": "D", "s": 22, "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
            ax.scatter([t] * len(values), values, color=color, label=said, **look)
        ax.axhline(found["one_step"], color="0.3", linestyle="-.", linewidth=1, label="one step, fresh seeds")
        figures.logarithmic(ax, "x")
        ax.set(xlabel="second level sigma", ylabel=f"two-step FID, n = {found['n']}")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figures.save(figure, path)


def told(found: Mapping[str, Any]) -> str:
    """The result for a terminal."""

    def line(name: str, values: list[float]) -> str:
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{name:<44}FID {statistics.fmean(values):.4g} +- {spread:.2g}"

    by_seed = dict(found["by_seed"])
    level = f"sigma {found['sigma']:.4g} (point {found['index']} of 0..{LADDER - 1})"
    lines = [line(f"found: {level}", by_seed.pop("best")), line("one step", by_seed.pop("one_step"))]
    lines[1:1] = [line(f"published: sigma {t}", values) for t, values in by_seed.items()]
    seeds = ", ".join(map(str, found["seeds"]))
    return "\n".join([*lines, f"n = {found['n']}, seeds {seeds}, {found['extractor']}, {found['reference']}"])


def write(store: Store, key: str, n: int | None = None, say: Say = lambda line: None) -> dict[str, Any]:
    """Search for a finished cell; `midpoint.json` and `midpoint.png` beside its record.

    Args:
        n: samples per FID; the profile's number where none is given.
    Raises:
        SpecError: no such cell, no weights, images that can not be loaded or have changed.
    """
    folder, device = find(store, key), devices()[0]
    model = load(store, folder.key, device)
    judge = Judge(model, n or model.cell.profile.evaluation.samples, store.cache, device)
    found = midpoint(judge, say)
    write_json(folder.path / "midpoint.json", found)
    draw(found, folder.path / "midpoint.png")
    return found
