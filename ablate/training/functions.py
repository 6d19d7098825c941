"""The functions that a training step calls: student, teacher, average, and networks of finished cells."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ablate.config.recipe import Recipe
from ablate.core.lazy import torch
from ablate.networks import compile_blocks, teacher_copy
from ablate.networks.dropout import Dropout
from ablate.networks.foreign import adopt
from ablate.training.denoiser import Denoiser
from ablate.training.truncated import Truncated


@dataclass(frozen=True)
class Functions:
    """Each is a `Denoiser`; the teacher is the student itself where no average of it teaches.

    average: in evaluation mode. denoiser: what the direction asks for. frozen: the teacher below its level. The weights
    of these two are other cells', so no checkpoint has them. balance: sigma (B,) -> the logarithm (B,) of the trained
    factor of the weight, if there is one.
    """

    student: Denoiser
    teacher: Denoiser
    average: Denoiser
    denoiser: Denoiser | None = None
    frozen: Denoiser | None = None
    balance: Callable[[torch.Tensor], torch.Tensor] | None = None

    @staticmethod
    def of(recipe: Recipe, build: Callable[[Recipe], Any], classes: int, averaged: bool) -> Functions:
        """Build the networks of a recipe.

        Args:
            build: makes a recipe's network with its first weights.
            averaged: the teacher has weights of its own, an average of the student's.
        """
        network = build(recipe)
        student = Denoiser(recipe, network, classes)

        def finished(weights: Any) -> Any:
            return build(replace(recipe, init_from=weights)).requires_grad_(False)

        teacher = student.with_network(teacher_copy(network)) if averaged else student
        denoiser = frozen = None
        if weights := recipe.direction.weights():
            denoiser = student.with_network(finished(weights).eval())
        if weights := recipe.teacher.weights():
            # with the student's dropout masks
            below = teacher_copy(network).requires_grad_(False)
            below.load_state_dict(finished(weights).state_dict())
            frozen = student.with_network(below)
            teacher = Truncated(teacher, frozen, recipe.teacher.level)
        average = student.with_network(copy.deepcopy(network).requires_grad_(False).eval())
        return Functions(student, teacher, average.for_sampling(), denoiser, frozen)

    def compile(self) -> None:
        """Compile the networks of a training step, last: a copy of a compiled network is not compiled."""
        functions = (self.student, self.teacher, self.denoiser, self.frozen)
        for network in {f.network for f in functions if f}:
            compile_blocks(network)

    @torch.no_grad()
    def know_masks(self, rows: int, shape: tuple[int, ...], device: str) -> None:
        """Pass blank images, so that all masks of the first step, too, are drawn together: also after a resume."""
        network, classes = self.student.network, self.student.classes
        if not any(isinstance(m, Dropout) and m.p for m in network.modules()):
            return
        # the pass may change a network of other code, such as running means
        before = [(buffer, buffer.clone()) for buffer in network.buffers()]
        label = torch.zeros(rows, classes, device=device) if classes else None
        level = torch.ones(rows, dtype=torch.float64, device=device)
        self.student(torch.zeros(rows, *shape, device=device), level, label)
        for buffer, value in before:
            buffer.copy_(value)


def build_network(
    recipe: Recipe, shape: tuple[int, ...], seed: int, device: str, classes: int = 0
) -> torch.nn.Module:
    """The recipe's network for images of `shape` (C, H, W), with initial weights."""
    with torch.random.fork_rng(devices=[]):
        network: torch.nn.Module = recipe.network(shape, classes)
        adopt(network)
        recipe.init_from(network, seed)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
