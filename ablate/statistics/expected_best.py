"""The expected best of k trials, from the trials that there are."""

from __future__ import annotations

from collections.abc import Sequence


def expected_best(values: Sequence[float], k: int) -> float:
    """The mean lowest value of k draws from `values`, with replacement.

    sum_i v_(i) (((n - i + 1) / n)^k - ((n - i) / n)^k) over the sorted values. Source: Dodge et al. 2019, Show Your
    Work (arXiv 1909.03004), eq. 7, for values where lower is better.
    """
    n = len(values)
    return sum(v * (((n - i) / n) ** k - ((n - i - 1) / n) ** k) for i, v in enumerate(sorted(values)))
