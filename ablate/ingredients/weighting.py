"""weighting: (sigma_teacher, sigma_student) (B,) -> (B,), the weight of a pair of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option

if TYPE_CHECKING:
    from torch import nn


class Weighting(Option):
    """A weighting may own parameters, which are trained with the network."""

    def balance(self, shape: Sequence[int]) -> nn.Module | None:
        """A module sigma (B,) -> v (B,) for images of `shape` (C, H, W); None: nothing is trained.

        The loss is then the mean of exp(v(sigma_student)) weight distance - v(sigma_student), least where
        exp(-v) is the mean of weight times distance at that level. The optimizer trains its parameters with the
        network's, and checkpoints have them. They are not averaged, clipped or kept with the weights, because
        sampling does not need them.
        """
        return None


weighting = Axis(__doc__, default="inverse_gap", base=Weighting)

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
    """1 / sigma_student^2 + 1 / sigma_data^2, which is 1 / c_out^2 of EDM.

    Source: EDM Table 1 (loss weighting), `karras` of the CM code, `snrpk` of ECT's ImageNet code, `cout_sq` of TCM's.
    """

    sigma_data: SigmaData = 0.5

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return sigma_student**-2 + self.sigma_data**-2


@weighting("inverse_c_out")
@dataclass(frozen=True)
class InverseCOut:
    """sqrt(1 / sigma_student^2 + 1 / sigma_data^2) = 1 / |c_out| of EDM.

    With the metric `l2` an image's gradient with respect to F is then a unit vector: the tangent normalization of sCM
    (arXiv 2410.11081) at c = 0. Source: `cout` of TCM's code (arXiv 2410.14895).
    """

    sigma_data: SigmaData = 0.5

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return (sigma_student**-2 + self.sigma_data**-2).sqrt()


@weighting("flow")
@dataclass(frozen=True)
class Flow:
    """t_student^(2p-1) / (t_student - t_teacher) with the times t = sigma / (1 + sigma) of the linear path.

    With `squared_l2`, p = 0 and the parameterization `flow` the loss is a distance of velocities,
    1 / alpha ||u - u_target||^2, where alpha is the share of t_student between the levels. With `adaptive` and the same
    p it is this distance with the adaptive weight of power p, whose c is multiplied by 1 / t_student.
    Source: alpha-Flow (arXiv 2510.20771), with its second time at 0.

    Args:
        p: the power of the metric `adaptive`; 1/2 also suits `l2` and `pseudo_huber`, 1 `cauchy`.
    """

    p: Annotated[float, Field(ge=0, le=2)] = 0.0
    added_fields: ClassVar[tuple[str, ...]] = ("p",)

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        gap = sigma_student - sigma_teacher  # the difference of the times would lose its digits
        flow = (1 + sigma_student) ** 2 * (1 + sigma_teacher) / (sigma_student * gap)
        return flow * (sigma_student / (1 + sigma_student)) ** (2 * self.p) if self.p else flow


@weighting("learned")
@dataclass(frozen=True)
class Learned:
    """exp(v(sigma_student)) / c_out^2 / d with the term -v in the loss, v trained; an image has d values.

    v is linear in Fourier features (standard deviation 1) of ln(sigma_student) / 4 and starts at 0. In the end every
    level has the same mean loss. With `squared_l2` the distance over c_out^2 is one of network outputs: the loss of
    EDM2 and, with a bounded tangent, of sCM.

    Source: EDM2 (arXiv 2312.02696) equation 21, sCM (arXiv 2410.11081) algorithm 1.

    Args:
        channels: number of features, even.
    """

    sigma_data: SigmaData = 0.5
    channels: Annotated[int, Field(ge=2, multiple_of=2)] = 128

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return sigma_student**-2 + self.sigma_data**-2

    def balance(self, shape: Sequence[int]) -> nn.Module:
        """v(sigma) - ln d."""
        from ablate.ingredients.embedding import Fourier
        from ablate.networks.balance import Balance

        return Balance(Fourier(1.0, self.channels), math.log(math.prod(shape)))


@weighting("doubled_prior")
@dataclass(frozen=True)
class DoubledPrior(Learned):
    """`learned` with its factor 1 / c_out^2 divided by sigma_student, sCM's prior weight.

    Defect D25 (NVlabs/FastGen): the tangent of sCM contains this prior weight already. v has to learn to undo it.
    """

    replays: ClassVar[tuple[str, ...]] = ("D25",)

    def __call__(self, sigma_teacher: torch.Tensor, sigma_student: torch.Tensor) -> torch.Tensor:
        return super().__call__(sigma_teacher, sigma_student) / sigma_student
