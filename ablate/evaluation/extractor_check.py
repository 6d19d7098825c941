"""Does a FID order known damages rightly? Real images, blurred, noisy or of fewer classes, are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ablate.config.profile import Profile
from ablate.core.hardware import devices
from ablate.data.datasets import Images, load
from ablate.evaluation import classifier, evaluate

Damage = Callable[[Images, int, float], torch.Tensor]


def blurred(images: Images, n: int, sigma: float) -> torch.Tensor:
    """The first n training images under a Gaussian of `sigma` pixels, uint8 (n, C, H, W)."""
    from torchvision.transforms.functional import gaussian_blur

    x = images.train[:n]
    if sigma == 0:
        return x
    largest = 2 * min(x.shape[2:]) - 1  # the filter's border is mirrored, so it must fit
    size = min(2 * round(3 * sigma) + 1, largest)
    smooth: torch.Tensor = gaussian_blur(x.float(), [size, size], [sigma, sigma])
    return smooth.round().clamp(0, 255).to(torch.uint8)


def noisy(images: Images, n: int, std: float) -> torch.Tensor:
    """The first n training images with Gaussian noise of `std` gray levels."""
    x = images.train[:n].float()
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    return (x + std * z).round().clamp(0, 255).to(torch.uint8)


def fewer(images: Images, n: int, missing: float) -> torch.Tensor:
    """n training images, as many as possible anew, of all classes but the last `missing`."""
    chosen = torch.nonzero(images.train_labels < images.classes - missing)[:, 0]
    return images.train[chosen.repeat(-(-n // len(chosen)))[:n]]


DAMAGES: Mapping[str, tuple[Damage, tuple[float, ...]]] = {
    "blur, sigma in pixels": (blurred, (0, 0.4, 0.6, 0.8, 1.2, 2.0)),
    "noise, std in gray levels": (noisy, (0, 4, 8, 16, 32, 64)),
    "classes left out": (fewer, (0, 1, 2, 4, 6, 8)),
}


@dataclass(frozen=True)
class Point:
    """A damage's strength, and FID and KID of n images so damaged against the held-out ones."""

    damage: str
    strength: float
    fid: float
    kid: float
    n: int


@dataclass(frozen=True)
class Examination:
    """What an extractor is worth on a data set.

    accuracy: of its classifier on the held-out images, None of an extractor that is none. order: Kendall's tau between
    strength and FID for each damage (1: every stronger one is further away). agreement: Kendall's tau between FID and
    KID over all points.
    """

    extractor: str
    reference: str
    accuracy: float | None
    points: list[Point]
    order: dict[str, float]
    agreement: float

    def plain(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def examine(profile: Profile, cache: Path) -> Examination:
    """Train the profile's extractor where it is one of ours and not there yet, then measure all damages.

    Raises:
        SpecError: no data, or weights that are not to be had.
    """
    from scipy.stats import kendalltau

    device = devices()[0]
    images = load(profile.data, device)
    by = evaluate.extractor(profile.evaluation.extractor, images, cache)
    n = min(profile.evaluation.samples, len(images.train), len(images.test))
    against, points = evaluate.reference(images, n), list[Point]()
    for damage, (damaged, strengths) in DAMAGES.items():
        for strength in (s for s in strengths if damaged is not fewer or s < images.classes):
            found = evaluate.measure(damaged(images, n, strength), against, by, cache, device)
            points.append(Point(damage, strength, found["fid"], found["kid"], n))
    of = {damage: [(p.strength, p.fid) for p in points if p.damage == damage] for damage in DAMAGES}
    order = {
        damage: float(kendalltau(*zip(*pairs, strict=True))[0])
        for damage, pairs in of.items()
        if len(pairs) > 1  # of a single class none can be left out
    }
    agreement = float(kendalltau([p.fid for p in points], [p.kid for p in points])[0])
    ours = profile.evaluation.extractor == "classifier"
    accuracy = classifier.train(images, cache).accuracy if ours else None
    return Examination(by.label, against.label, accuracy, points, order, agreement)


def told(found: Examination, profile: Profile) -> str:
    """An examination as Markdown."""
    from tabulate import tabulate

    known = (
        f", a classifier that is right on {found.accuracy:.1%} of the held-out images"
        if found.accuracy
        else ""
    )
    rows = [[p.damage, f"{p.strength:g}", f"{p.fid:.4g}", f"{p.kid:.4g}"] for p in found.points]
    order = "; ".join(f"{damage.split(',')[0]} {tau:.2f}" for damage, tau in found.order.items())
    return (
        "\n\n".join(
            [
                f"# Extractor {found.extractor} on {profile.name}",
                f"{found.extractor}{known}. Real training images, damaged, against {found.reference}, "
                f"n = {found.points[0].n}.",
                tabulate(rows, ["damage", "strength", "FID", "KID"], tablefmt="pipe", disable_numparse=True),
                f"Kendall's tau between strength and FID (1: in order): {order}. "
                f"Between FID and KID over all {len(found.points)} points: {found.agreement:.2f}.",
            ]
        )
        + "\n"
    )
