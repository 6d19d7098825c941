"""Tests whether FID with an extractor ranks known damage correctly: blur, noise and missing classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ablate.config.profile import Profile
from ablate.core.errors import SpecError
from ablate.core.hardware import devices
from ablate.data.datasets import Images, load
from ablate.evaluation import classifier, evaluate, ruler

Damage = Callable[[Images, int, float], torch.Tensor]


def blurred(images: Images, n: int, sigma: float) -> torch.Tensor:
    """The first n training images, blurred by a Gaussian of `sigma` pixels, uint8 (n, C, H, W)."""
    from torchvision.transforms.functional import gaussian_blur

    x = images.train[:n]
    if sigma == 0:
        return x
    largest = 2 * min(x.shape[2:]) - 1  # the border is padded by reflection, which limits the filter's size
    size = min(2 * round(3 * sigma) + 1, largest)
    smooth: torch.Tensor = gaussian_blur(x.float(), [size, size], [sigma, sigma])
    return smooth.round().clamp(0, 255).to(torch.uint8)


def noisy(images: Images, n: int, std: float) -> torch.Tensor:
    """The first n training images with Gaussian noise of `std` gray levels, uint8 (n, C, H, W)."""
    x = images.train[:n].float()
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    return (x + std * z).round().clamp(0, 255).to(torch.uint8)


def fewer(images: Images, n: int, missing: float) -> torch.Tensor:
    """n training images without the last `missing` classes, repeated if there are too few, uint8 (n, C, H, W)."""
    chosen = torch.nonzero(images.train_labels < images.classes - missing)[:, 0]
    return images.train[chosen.repeat(-(-n // len(chosen)))[:n]]


DAMAGES: Mapping[str, tuple[Damage, tuple[float, ...]]] = {
    "blur, sigma in pixels": (blurred, (0, 0.4, 0.6, 0.8, 1.2, 2.0)),
    "noise, std in gray levels": (noisy, (0, 4, 8, 16, 32, 64)),
    "classes left out": (fewer, (0, 1, 2, 4, 6, 8)),
}


@dataclass(frozen=True)
class Point:
    """A kind of damage and its strength, with FID and KID of n damaged images against the held-out ones."""

    damage: str
    strength: float
    fid: float
    kid: float
    n: int


@dataclass(frozen=True)
class Examination:
    """How well an extractor ranks damage on a data set.

    accuracy: of the in-domain classifier on the held-out images; None for other extractors. order: Kendall's tau
    between strength and FID for each kind of damage (1: FID always increases with strength). agreement: Kendall's tau
    between FID and KID over all points.
    """

    extractor: str
    reference: str
    accuracy: float | None
    points: list[Point]
    order: dict[str, float]
    agreement: float

    def plain(self) -> dict[str, Any]:
        """The examination as plain data."""
        return asdict(self)


def examine(profile: Profile, cache: Path) -> Examination:
    """Measure all kinds of damage with the profile's extractor, which is trained first if necessary.

    Raises:
        SpecError: data is missing, or weights cannot be downloaded.
    """
    from scipy.stats import kendalltau

    device = devices()[0]
    images = load(profile.data, device, cache)
    by = evaluate.extractor(profile.evaluation.extractor, images, cache)
    n = min(profile.evaluation.samples, len(images.train), len(images.test))
    against, points = evaluate.reference(images, n), list[Point]()
    for damage, (damaged, strengths) in DAMAGES.items():
        for strength in (s for s in strengths if damaged is not fewer or s < images.classes):
            measured = evaluate.measure(damaged(images, n, strength), against, by, cache, device)
            points.append(Point(damage, strength, measured["fid"], measured["kid"], n))
    of = {damage: [(p.strength, p.fid) for p in points if p.damage == damage] for damage in DAMAGES}
    order = {
        damage: float(kendalltau(*zip(*pairs, strict=True))[0])
        for damage, pairs in of.items()
        if len(pairs) > 1  # a single class cannot be left out
    }
    agreement = float(kendalltau([p.fid for p in points], [p.kid for p in points])[0])
    said = ruler.header(by.weights) if by.weights else None
    accuracy = said.accuracy if said else None
    return Examination(by.label, against.label, accuracy, points, order, agreement)


def ship(profile: Profile, folder: Path, seen: int | None = None) -> Path:
    """Train the classifier of a profile's images into a file of `folder`, whatever caches and shipped files have.

    Args:
        seen: number of images to train on; the usual one by default.
    Raises:
        SpecError: data is missing, or has one class.
    """
    images = load(profile.data, devices()[0])
    if images.classes < 2:
        raise SpecError(classifier.one_class("classifier"))
    known = classifier.made(images, seen or classifier.SEEN)
    file = folder / f"{known.label}{ruler.SUFFIX}"
    ruler.write(known, file)
    return file


def render(examination: Examination, profile: Profile) -> str:
    """An examination as Markdown."""
    from tabulate import tabulate

    points, accuracy = examination.points, examination.accuracy
    classifier_note = (
        f", a classifier with {accuracy:.1%} accuracy on the held-out images" if accuracy else ""
    )
    rows = [[p.damage, f"{p.strength:g}", f"{p.fid:.4g}", f"{p.kid:.4g}"] for p in points]
    order = "; ".join(f"{damage.split(',')[0]} {tau:.2f}" for damage, tau in examination.order.items())
    paragraphs = [
        f"# Extractor {examination.extractor} on {profile.name}",
        f"{examination.extractor}{classifier_note}. Damaged real training images against {examination.reference}, "
        f"n = {points[0].n}.",
        tabulate(rows, ["damage", "strength", "FID", "KID"], tablefmt="pipe", disable_numparse=True),
        f"Kendall's tau between strength and FID (1: in order): {order}. "
        f"Between FID and KID over all {len(points)} points: {examination.agreement:.2f}.",
    ]
    return "\n\n".join(paragraphs) + "\n"
