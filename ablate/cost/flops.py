"""Parameters and floating-point operations of a network, counted without computing anything."""

from __future__ import annotations

from typing import Any

from ablate.config.recipe import Recipe


def counted(recipe: Recipe, profile: Any) -> dict[str, Any]:
    """Parameters of the recipe's network on the profile's images, and its floating-point operations an image.

    Counted without allocating or computing anything; a multiplication and an addition are two operations. A step
    passes the network forward for teacher and student and backward for the student, which costs twice a forward.
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
    return {"parameters": parameters, "flops_forward": forward, "flops_step": 4 * forward}
