"""weighting: (sigma_teacher, sigma_student) (B,) -> (B,), the weight of a pair of levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis

weighting = Axis(__doc__, default="inverse_gap")

SigmaData = Annotated[float, Field(ge=1e-6, le=100)]


@weighting("uniform")
@dataclass(frozen=True)
class Uniform:
    """1. Source: CM."""

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(sigma_student)


@weighting("inverse_gap")
@dataclass(frozen=True)
class InverseGap:
    """1 / (sigma_student - sigma_teacher). Source: iCT section 3.1; ECT section 4, which calls them t and r."""

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return 1 / (sigma_student - sigma_teacher)


@weighting("snr")
@dataclass(frozen=True)
class Snr:
    """1 / sigma_student^2. Source: weight schedule `snr` of the CM code."""

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return sigma_student**-2


@weighting("snr_plus_one")
@dataclass(frozen=True)
class SnrPlusOne:
    """1 / sigma_student^2 + 1. Source: weight schedule `snr+1` of the CM code."""

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return sigma_student**-2 + 1


@weighting("truncated_snr")
@dataclass(frozen=True)
class TruncatedSnr:
    """max(1 / sigma_student^2, 1). Source: weight schedule `truncated-snr` of the CM code."""

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return (sigma_student**-2).clamp(min=1)


@weighting("karras")
@dataclass(frozen=True)
class Karras:
    """1 / sigma_student^2 + 1 / sigma_data^2. Source: EDM Table 1 (loss weighting), `karras` of the CM code."""

    sigma_data: SigmaData = 0.5

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return sigma_student**-2 + self.sigma_data**-2
