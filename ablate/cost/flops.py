"""Parameters and floating-point operations of a network, counted without computing anything."""

from __future__ import annotations

from typing import Any

from ablate.config.recipe import Recipe


def count_flops(recipe: Recipe, profile: Any) -> dict[str, Any]:
    """Parameters of the recipe's network on the profile's images, and its floating-point operations per image.

    Nothing is allocated or computed; a multiplication and an addition count as two operations.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ablate.data import datasets

    shape, classes = datasets.shape(profile.data), datasets.classes(profile.data)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = recipe.network(shape, classes).eval()
        network(torch.zeros(1, *shape), torch.zeros(1), torch.zeros(1, classes) if classes else None)
    forward = int(counter.get_total_flops())
    parameters = sum(p.numel() for p in network.parameters())
    return {"parameters": parameters, "flops_forward": forward, "flops_step": passes(recipe) * forward}


def passes(recipe: Recipe) -> int:
    """A training step in forward passes of the network: the student's, its backward pass as two, and the options'."""
    return 3 + sum(int(part.passes) for part in recipe.parts().values())
