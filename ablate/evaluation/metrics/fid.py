"""Frechet distance of two normal distributions fitted to features (Heusel et al. 2017, arXiv 1706.08500).

FID = ||m - m'||^2 + tr(C + C' - 2 (C C')^(1/2)), with means m and covariances C of the features of samples and of real
images. `ablate.evaluation.evaluate.measure` has torch-fidelity compute it.
"""

from __future__ import annotations

from typing import Any

from ablate.evaluation.metrics import Features, Metric, cached


def compute(features: Features) -> dict[str, Any]:
    """FID of all samples and of each half.

    The difference between the halves shows the noise of sampling; their mean shows the bias from few samples.
    """
    return {"value": features.results["frechet_inception_distance"], "halves": of_halves(features)}


def of_halves(features: Features) -> list[float]:
    """FID of the samples with even and with odd index."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    sampled, real = features.sampled, cached(features.statistics_file)
    halves = [fid_features_to_statistics(sampled[i::2]) for i in (0, 1)]
    return [fid_statistics_to_metric(half, real, False)["frechet_inception_distance"] for half in halves]


Metric("fid", compute, columns=(1, 2), fidelity="fid")
