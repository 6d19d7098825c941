"""Whether a network of other code can be differentiated forwards, as some pairings do in every step."""

from __future__ import annotations

import re
import warnings

from ablate.config.recipe import Recipe
from ablate.core import crashes
from ablate.core.errors import SpecError
from ablate.core.lazy import torch

BATCH = 2  # a batch norm needs more than one image
OPERATION = re.compile(r"(?:forward AD with|derivative for) (\S+)")  # in what torch says


def check(recipe: Recipe, shape: tuple[int, int, int], classes: int = 0) -> None:
    """Raise a SpecError if the pairing needs a derivative that the network lacks; imports torch only for such rows."""
    if recipe.network.foreign and (recipe.pairing.slopes or recipe.pairing.derives):
        for device in ("meta", "cpu"):  # nothing is computed on the first; code that reads values fails there
            if _passed(recipe, shape, classes, device):
                return


def _passed(recipe: Recipe, shape: tuple[int, int, int], classes: int, device: str) -> bool:
    """Whether the network can be called on this device at all; a SpecError if only its derivative fails."""
    from ablate.networks.derivative import along

    pairing, network = recipe.pairing, recipe.network
    quiet = warnings.catch_warnings(action="ignore")  # torch's own, when it first differentiates
    with quiet, torch.device(device), torch.random.fork_rng(devices=[]), crashes.exits_raise():
        try:
            module = network(shape, classes)
            label = torch.zeros(BATCH, classes) if classes else None
            levels = [torch.ones(BATCH)] * (1 + (network.second_level is not None))
            x = torch.ones(BATCH, *shape)
            module(x, levels[0], label, *levels[1:])
        except (Exception, SystemExit):  # the doctor says it, on the device that trains
            return False
        try:
            if pairing.slopes:
                with torch.no_grad():
                    along(lambda x, c: module(x, c, label, *levels[1:]), [x, levels[0]], [x, levels[0]])
            if pairing.derives:
                value, slope = along(lambda c: module(x, levels[0], label, c), levels[1:], levels[1:])
                (value + slope).sum().backward()  # type: ignore[no-untyped-call]
        except (Exception, SystemExit) as error:
            raise _lacking(recipe, error) from None
    return True


def _lacking(recipe: Recipe, error: BaseException) -> SpecError:
    """The message about a derivative that fails: the operation, and where your code calls it."""
    called, said = crashes.raised_by(error), crashes.described(error)
    operation = found[1] if (found := OPERATION.search(said)) else said.rstrip(".")
    what = (
        "the gradient of its forward-mode derivative"
        if recipe.pairing.derives
        else "its forward-mode derivative"
    )
    network = getattr(recipe.network, "path", recipe.network.name)
    law = f"pairing {recipe.pairing.name} needs {what}, which an operation lacks{called and f' at {called}'}"
    way = "change it, or choose a pairing without a derivative, such as ect"
    return SpecError(f"network: {network}: {law} ({operation}); {way}")
