"""What the evaluation needs of the data and of this machine, checked before anything is trained."""

from __future__ import annotations

import math
from pathlib import Path

from ablate.config.profile import Data, Profile
from ablate.core.errors import Problems
from ablate.core.hardware import devices
from ablate.data import datasets
from ablate.data.datasets import Counts
from ablate.evaluation import classifier, extractors, ruler
from ablate.evaluation.evaluate import FEWEST

LARGE = 2**28  # bytes of decoded images; fewer fit on every device
FEATURES = {extractors.OURS: classifier.FEATURES, extractors.INCEPTION: 2048}


def preflight(profile: Profile, cache: Path | None = None) -> list[str]:
    """Check that samples can be measured, and download weights that are missing.

    Args:
        cache: the cells' one, which may have the extractor's file; it need not exist.
    Returns:
        What a user should know about the data, a line each.
    Raises:
        SpecError: there are too few images or classes, or weights are missing and cannot be downloaded.
    """
    problems, name = Problems(), profile.evaluation.extractor
    with problems:
        by = extractors.of_file(name, cache)
        counts, notes = datasets.counts(profile.data), datasets.remarks(profile.data)
        if counts:
            problems.add(*_too_few(counts, name))
            notes += [*_few(counts, name), *_large(profile.data, counts)]
        problems.check()  # no download for data that cannot be used
        if by:
            ruler.fits(by, name, datasets.shape(profile.data), extractors.KEY)
        else:
            extractors.require(name)
    problems.check()
    return notes


def _too_few(counts: Counts, name: str) -> list[str]:
    found = []
    if extractors.SHORT.get(name, name) == extractors.OURS and counts.classes < 2:
        found.append(classifier.one_class(name))
    sides = (
        ("profile.data.holdout", counts.held_out, "held out"),
        ("profile.data", counts.train, "to train on"),
    )
    return found + [
        f"{key}: only {n} images are {side}; FID needs {FEWEST} or more"
        for key, n, side in sides
        if n < FEWEST
    ]


def _few(counts: Counts, name: str) -> list[str]:
    known = extractors.OURS if ruler.named(name) else extractors.SHORT.get(name, name)
    features = FEATURES.get(known, 0)
    if counts.held_out >= features:
        return []
    return [
        f"profile.data.holdout: FID compares with {counts.held_out} held-out images, fewer than the extractor's "
        f"{features} features: even real images get a FID far above 0, and FIDs depend on which images are held out; "
        f"hold out {features} or more"
    ]


def _large(data: Data, counts: Counts) -> list[str]:
    """Where the images will be, if they are too many for the device."""
    size = (counts.train + counts.held_out) * math.prod(datasets.shape(data))
    if size < LARGE and data.device_mb is None:  # the device need not be asked
        return []
    if size <= (room := datasets.room(data, devices()[0])):
        return []
    return [
        f"profile.data: {size / 1e9:.3g} GB of images, and the device holds up to {room / 1e9:.3g} GB of them: they "
        "stay on disk beside the cells, and batches are gathered ahead of the steps"
    ]
