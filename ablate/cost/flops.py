"""Parameters and floating-point operations of a network, counted without computing anything."""

from __future__ import annotations

from typing import Any

from ablate.config.recipe import Recipe


def count_flops(recipe: Recipe, profile: Any) -> dict[str, Any]:
    """Parameters of the recipe's network on the profile's images, and its floating-point operations per image.

    Nothing is allocated or computed, unless code of yours reads values; a multiplication and an addition count as two
    operations.
    """
    try:
        return _counted(recipe, profile, "meta")
    except Exception:
        if not recipe.network.foreign:
            raise
        return _counted(recipe, profile, "cpu")


def _counted(recipe: Recipe, profile: Any, device: str) -> dict[str, Any]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ablate.data import datasets

    shape, classes = datasets.shape(profile.data), datasets.classes(profile.data)
    with torch.device(device), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = recipe.network(shape, classes).eval()
        network(torch.zeros(1, *shape), torch.zeros(1), torch.zeros(1, classes) if classes else None)
    forward = int(counter.get_total_flops())
    parameters = sum(p.numel() for p in network.parameters())
    return {"parameters": parameters, "flops_forward": forward, "flops_step": passes(recipe) * forward}


def passes(recipe: Recipe) -> int:
    """A training step in forward passes of the network: the student's, its backward pass as two, and the options'."""
    return 3 + sum(int(part.passes) for part in recipe.parts().values())
