"""Kernel distance: the squared MMD of features under a cubic kernel (Binkowski et al. 2018, arXiv 1801.01401).

The value is the mean over 100 subsets of half the smaller side, at most 1,000 images each, so that subsets differ.
"""

from __future__ import annotations

from typing import Any

from ablate.evaluation.metrics import Features, Metric


def compute(features: Features) -> dict[str, Any]:
    """KID: mean and standard deviation over the subsets."""
    name = "kernel_inception_distance"
    return {"value": features.results[f"{name}_mean"], "std": features.results[f"{name}_std"]}


Metric("kid", compute, columns=(1, 2), fidelity="kid")
