"""The denoiser f(x, sigma). Training, sampling and export all take c_skip, c_out, c_in and c_noise from here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ablate.config.recipe import Recipe
from ablate.core.lazy import torch

if TYPE_CHECKING:
    Watch = Callable[[torch.Tensor], None]


class Denoiser:
    """f(x, sigma) = c_skip x + c_out F(c_in x, c_noise), the consistency function of a network F.

    A network with a second level also takes `until`, the level at which a step from sigma ends: f(x, sigma, until) is
    x - (sigma - sigma_min) times the mean slope dx/dsigma between the two. It is the consistency function for
    until = sigma_min and a denoiser for until = sigma.

    The coefficients are computed in the precision of sigma and applied in float32; the recipe's autocast covers F only.
    """

    def __init__(self, recipe: Recipe, network: torch.nn.Module, classes: int = 0):
        self.recipe, self.network, self.classes = recipe, network, classes

    def coefficients(self, sigma: torch.Tensor) -> dict[str, torch.Tensor]:
        """c_skip, c_out, c_in, c_noise at sigma (B,), each (B,) in float32."""
        c_skip, c_out = self.recipe.parameterization(sigma)
        c_in, c_noise = self.recipe.input_precond(sigma), self.recipe.noise_precond(sigma)
        named = {"c_skip": c_skip, "c_out": c_out, "c_in": c_in, "c_noise": c_noise}
        return {name: value.float() for name, value in named.items()}

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor,
        label: torch.Tensor | None = None,
        watch: Watch | None = None,
        until: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The estimate of the clean image (B, C, H, W), float32, of x at noise level sigma (B,).

        Args:
            label: one-hot classes (B, classes), or None.
            watch: called in the backward pass with the gradient with respect to F's output (B, C, H, W).
            until: the second level (B,), None: sigma_min; a network with one level ignores it.
        """
        c, second = self.coefficients(sigma), []
        if self.two_levels:
            low = torch.full_like(sigma, self.recipe.levels.sigma_min) if until is None else until
            second.append(self.recipe.noise_precond(low).float())
        with self.recipe.precision(x.device.type):
            scaled = self.recipe.input_precond.apply(x, _wide(c["c_in"]))
            out = self.network(scaled, c["c_noise"], label, *second)
        F: torch.Tensor = out.float()
        if watch and F.requires_grad:
            F.register_hook(watch)  # type: ignore[no-untyped-call]
        F = self.recipe.network.output(F, sigma)
        return _wide(c["c_skip"]) * x + _wide(c["c_out"]) * F

    @property
    def two_levels(self) -> bool:
        """Whether the network takes a second level."""
        return self.recipe.network.second_level is not None

    def with_network(self, network: Any) -> Denoiser:
        """The same function with another network (the teacher, the average)."""
        return Denoiser(self.recipe, network, self.classes)

    def for_sampling(self) -> Denoiser:
        """The same network with the recipe's coefficients for sampling; every sampler uses this denoiser."""
        replaced = self.recipe.sampling_precond(self.recipe.parts())
        return Denoiser(dataclasses.replace(self.recipe, **replaced), self.network, self.classes)

    def labels(self, n: int, device: Any = "cpu", chosen: Sequence[int] = ()) -> torch.Tensor | None:
        """The chosen classes, or all, in turn for n samples, one-hot (n, classes); None if unconditional."""
        if not self.classes:
            return None
        order = torch.tensor(chosen or range(self.classes), device=device)
        return one_hot(order[torch.arange(n, device=device) % len(order)], self.classes)


def derivative(
    f: Denoiser, x: torch.Tensor, t: torch.Tensor, z: torch.Tensor, label: Any = None, until: Any = None
) -> torch.Tensor:
    """d f(x + s z, t + s, until) / ds at s = 0 (B, C, H, W), in one pass."""
    from ablate.networks.derivative import along

    with torch.no_grad():
        return along(lambda x, t: f(x, t, label, until=until), [x, t], [z, torch.ones_like(t)])[1]


def one_hot(label: torch.Tensor, classes: int) -> torch.Tensor:
    """Class numbers (n,) as one-hot rows (n, classes), float32."""
    return torch.nn.functional.one_hot(label, classes).float()


def _wide(c: torch.Tensor) -> torch.Tensor:
    return c[:, None, None, None]
