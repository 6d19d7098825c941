"""Precision and recall by third-nearest neighbours of features (Kynkaanniemi et al. 2019, arXiv 1904.06991)."""

from __future__ import annotations

from ablate.evaluation.metrics import Metric

Metric("precision", lambda features: {"value": features.results["precision"]}, fidelity="prc")
Metric("recall", lambda features: {"value": features.results["recall"]}, fidelity="prc")
