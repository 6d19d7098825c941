"""What the evaluation needs of the data and of this machine, checked before anything is trained."""

from __future__ import annotations

from ablate.config.profile import Profile
from ablate.core.errors import Problems
from ablate.data import datasets
from ablate.data.datasets import Counts
from ablate.evaluation import classifier, extractors
from ablate.evaluation.evaluate import FEWEST

FEATURES = {extractors.OURS: classifier.FEATURES, extractors.INCEPTION: 2048}


def preflight(profile: Profile) -> list[str]:
    """Check that samples can be measured, and download weights that are missing.

    Returns:
        What a user should know about the data, a line each.
    Raises:
        SpecError: there are too few images or classes, or weights are missing and cannot be downloaded.
    """
    problems, name = Problems(), profile.evaluation.extractor
    with problems:
        extractors.check(name)
        counts, notes = datasets.counts(profile.data), datasets.remarks(profile.data)
        if counts:
            problems.add(*_too_few(counts, name))
            notes += _few(counts, name)
        problems.check()  # no download for data that cannot be used
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
    features = FEATURES.get(extractors.SHORT.get(name, name), 0)
    if counts.held_out >= features:
        return []
    return [
        f"profile.data.holdout: FID compares with {counts.held_out} held-out images, fewer than the extractor's "
        f"{features} features; hold out more for FIDs with less noise"
    ]
