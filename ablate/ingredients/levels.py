"""levels: N -> sigma (N,), ascending, float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from ablate.core.errors import SpecError
from ablate.core.lazy import torch
from ablate.core.registry import Axis, Option


class Levels(Option):
    """Besides the levels, a ladder states its ends as plain numbers, for checks that do without torch."""

    def ends(self, N: int) -> tuple[float, float] | None:
        """The lowest and the highest of N levels; None if only `__call__` knows them."""
        return None


levels = Axis(__doc__, default="karras", base=Levels)

Sigma = Annotated[float, Field(ge=1e-6, lt=1e6)]
LEAST_GAP = (
    1e-3  # in units of sigma_min: least distance above it, so that float32 images at the two levels differ
)


@levels("karras")
@dataclass(frozen=True)
class Karras:
    """sigma_i = (a + (i - 1) / (N - 1) (b - a))^rho with a = sigma_min^(1/rho), b = sigma_max^(1/rho), i = 1..N.

    Source: EDM eq. 5, in CM's ascending order. N >= 2 must hold, and sigma_max must be at least 0.1 % above sigma_min.
    """

    sigma_min: Sigma = 0.002
    sigma_max: Sigma = 80.0
    rho: Annotated[float, Field(ge=0.5, le=100)] = 7.0

    def __post_init__(self) -> None:
        if not self.sigma_min < self.sigma_max:
            law = "sigma_min < sigma_max must hold"
            raise SpecError(f"{law}, but got sigma_min={self.sigma_min}, sigma_max={self.sigma_max}")
        if self.sigma_max < self.sigma_min * (1 + LEAST_GAP):
            law = f"sigma_max >= {1 + LEAST_GAP:g} sigma_min must hold"
            raise SpecError(f"{law}, but got sigma_min={self.sigma_min}, sigma_max={self.sigma_max}")

    def ends(self, N: int) -> tuple[float, float] | None:
        """sigma_min and sigma_max."""
        return self.sigma_min, self.sigma_max

    def at(self, fraction: torch.Tensor) -> torch.Tensor:
        """sigma at a position on the ladder, from 0 (sigma_min) to 1 (sigma_max); float64."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return torch.pow(low + fraction.double() * (high - low), self.rho)

    def slope(self, sigma: torch.Tensor) -> torch.Tensor:
        """d sigma / d position: rho (b - a) sigma^(1 - 1/rho), float64; N levels lie about slope / (N - 1) apart."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        slope: torch.Tensor = self.rho * (high - low) * torch.pow(sigma.double(), 1 - 1 / self.rho)
        return slope

    def __call__(self, N: int) -> torch.Tensor:
        if N < 2:
            raise SpecError(f"N >= 2 must hold, but got N={N}")
        return self.at(torch.linspace(0, 1, N, dtype=torch.float64))


@levels("karras_without_min")
@dataclass(frozen=True)
class KarrasWithoutMin(Karras):
    """The ladder of N + 1 levels without the first: sigma_min, and so the boundary condition, never enters the loss.

    Defect D14 (leakedweights/mincy counts the ladder from index 1).
    """

    replays: ClassVar[tuple[str, ...]] = ("D14",)

    def __call__(self, N: int) -> torch.Tensor:
        return super().__call__(N + 1)[1:]

    def ends(self, N: int) -> tuple[float, float] | None:
        """The second level of N + 1, and sigma_max."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + (high - low) / N) ** self.rho, self.sigma_max
