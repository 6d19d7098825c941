"""Training as a generator of steps; its consumer logs, evaluates, saves and stops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ablate.config.profile import Profile
from ablate.config.recipe import Recipe
from ablate.core.hardware import give_back, sent
from ablate.core.rng import Purpose, stream
from ablate.data.datasets import Images
from ablate.networks import draw_masks
from ablate.networks.flat import Flat, copy_state, trained
from ablate.training.batches import Batches
from ablate.training.denoiser import one_hot
from ablate.training.distributed import ALONE, Ranks
from ablate.training.functions import Functions, build_network
from ablate.training.loss import Draws, Terms, consistency


@dataclass(frozen=True)
class Step:
    """The result of one optimizer step. Tensors stay on the device to avoid synchronization."""

    k: int  # number of steps done, 1 after the first
    images: int
    N: int
    loss: torch.Tensor  # ()
    terms: Terms
    grad_norm: torch.Tensor | None
    lr: float


class Trainer:
    """The state of one training: network, teacher, average, optimizer and the number of steps done.

    Every random draw depends on (seed, purpose, step) only, so the state has no generator. The ranks of a distributed
    training differ only in the micro-batches that they process.
    """

    def __init__(
        self,
        recipe: Recipe,
        profile: Profile,
        images: Images,
        seed: int,
        device: str = "cpu",
        ranks: Ranks = ALONE,
    ):
        self.recipe, self.profile, self.seed = recipe, profile, seed
        self.device, self.ranks = device, ranks
        self.data, self.labels = images.train, images.train_labels
        classes = images.classes if profile.data.labels else 0
        self.k, self.K = 0, profile.steps
        self.batches = Batches(images, seed, profile.batch, self.K)
        averaged = recipe.teacher(recipe.curriculum(0, self.K)) > 0

        def build(of: Recipe) -> torch.nn.Module:
            return self._built(of, images.shape, classes)

        balance = recipe.weighting.balance(images.shape)
        self.balance = balance if balance is None or device == "cpu" else balance.to(device)
        functions = replace(Functions.of(recipe, build, classes, averaged), balance=self.balance)
        self.functions, self.f, self.teacher = functions, functions.student, functions.teacher
        self.average, self.network, self.micro_batch = functions.average, self.f.network, (0, 1)
        self.flat = Flat(trained(self.network, self.network), gradients=True)
        self.weights = self.flat.vector
        self.averaged = Flat(trained(self.average.network, self.network)).vector
        self.teacher_weights = Flat(trained(self.teacher.network, self.network)).vector if averaged else None
        # the package's own networks keep only constants beside their weights
        self.copies = (self.average.network, self.teacher.network) if recipe.network.foreign else ()
        self.balanced = [] if self.balance is None else [*self.balance.parameters()]
        groups = [{"params": [self.weights]}, {"params": self.balanced, "weight_decay": 0.0}]
        self.optimizer = recipe.optimizer(groups if self.balanced else [self.weights])
        if profile.compile:
            functions.compile()
        give_back()  # the parameters are now in one vector per network; free the tensors they were built in
        scaled = recipe.precision.scales_loss and device != "cpu"
        self.scaler = torch.amp.GradScaler(device, enabled=scaled)
        if torch.device(device).type != "cpu":
            rows = profile.batch // ranks.share(profile.accumulate)[0]
            functions.know_masks(rows, images.shape, device)

    def _built(self, recipe: Recipe, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
        return build_network(recipe, shape, self.seed, self.device, classes)

    def __iter__(self) -> Iterator[Step]:
        """Do the remaining steps, one at a time."""
        while self.k < self.K:
            yield self.step()

    def step(self) -> Step:
        """One optimizer step on one batch."""
        k, recipe = self.k, self.recipe
        lr = recipe.optimizer.lr * recipe.schedule(k, self.K)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.shares = recipe.dropout_sharing(torch.device(self.device).type)
        self.optimizer.zero_grad()
        terms = self._backward(self.draws(k))
        norm = self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        N = recipe.curriculum(k, self.K)
        self._update_averages(N)
        self.k += 1
        return Step(self.k, self.k * self.profile.batch, N, terms.loss, terms, norm, lr)

    def _backward(self, draws: Draws) -> Terms:
        """Add up the gradients of n micro-batches; the loss of each is a mean, so it counts 1 / n."""
        n, own = self.ranks.share(self.profile.accumulate)
        if n > 1:
            # couple the whole batch first: each micro-batch of an optimal coupling is optimally coupled
            x, z = self.recipe.coupling(draws.x, draws.z)
            draws = replace(draws, x=x, z=z)
        # the shares of a micro-batch and of an image in the gradient
        share, unit = (
            self.scaler.scale(torch.full((), 1 / parts, device=self.device))
            for parts in (n, self.profile.batch)
        )
        results, micro_batches = [], draws.split(n)
        for i in own:
            self.micro_batch = (i, n)
            self._mask("dropout" if self.shares else "teacher_dropout")
            terms, norms = self._terms(micro_batches[i])
            loss = terms.loss
            loss.backward(share.to(loss.dtype))  # type: ignore[no-untyped-call]
            self.flat.gather_gradients()
            results.append(terms.detach(norms[0] / unit))
        for parameter in (self.weights, *self.balanced):
            self.ranks.add_gradients(parameter)
        return self.ranks.gather(Terms.joined(results))

    def _terms(self, draws: Draws) -> tuple[Terms, list[torch.Tensor]]:
        """The loss terms of a micro-batch, and a list that its backward pass fills with the gradient norms (B,)."""
        norms: list[torch.Tensor] = []

        def watch(gradient: torch.Tensor) -> None:
            norms.append(gradient.flatten(1).norm(dim=1))

        return consistency(self.recipe, self.functions, draws, self.k, self.K, self._between, watch), norms

    def draws(self, k: int) -> Draws:
        """The images, noise and level numbers of step k; they depend on the seed, not on the recipe."""
        batch, shape = self.profile.batch, self.data.shape[1:]
        flips = self._stream("flip", k)
        x = self._flipped(self.batches(k), flips)
        z = torch.randn(batch, *shape, generator=self._stream("noise", k), device=self.device)
        u = torch.rand(batch, generator=self._stream("level", k), device=self.device, dtype=torch.float64)
        pairing, ends = self.recipe.pairing, self._stream("until", k)
        v, w = (
            torch.rand(batch, generator=ends, device=self.device, dtype=u.dtype) if used else None
            for used in (pairing.two_levels, pairing.uses_w)
        )
        draws = Draws(x / 127.5 - 1, z, u, self._label(k), v=v, w=w)
        more = self.recipe.direction.more
        return replace(draws, among=self._among(draws, k, more, flips)) if more else draws

    def _flipped(self, x: torch.Tensor, flips: torch.Generator) -> torch.Tensor:
        """Images (n, C, H, W), each mirrored with probability 1/2 if the profile asks for it."""
        if not self.profile.data.flip:
            return x
        coin = torch.rand(len(x), generator=flips, device=self.device) < 0.5
        return torch.where(coin[:, None, None, None], x.flip(3), x)

    def _among(
        self, draws: Draws, k: int, more: int, flips: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The images and labels of a step, then those of `more` images of the next steps."""
        x, indices = self.batches.following(k, more)
        x = self._flipped(x, flips)
        images = torch.cat([draws.x, x.float() / 127.5 - 1])
        if draws.label is None:
            return images, None
        labels = one_hot(self.labels[sent(indices, self.labels.device)], self.f.classes)
        return images, torch.cat([draws.label, labels])

    def _label(self, k: int) -> torch.Tensor | None:
        """The images' classes, one-hot (B, classes), with dropped labels all zeros; None without labels."""
        if not self.f.classes:
            return None
        label = one_hot(self.labels[sent(self.batches.indices(k), self.labels.device)], self.f.classes)
        coin = torch.rand(len(label), generator=self._stream("label", k), device=self.device)
        return label * (coin >= self.profile.data.label_dropout)[:, None]

    def _stream(self, purpose: Purpose, k: int) -> torch.Generator:
        return stream(self.seed, purpose, k, device=self.device)

    def _between(self) -> None:
        """After the teacher's pass: draw new dropout masks if the recipe does not share them."""
        if not self.shares:
            self._mask("dropout")

    def _mask(self, purpose: Purpose) -> None:
        """Draw the dropout masks of the next passes, with seeds from the CPU to avoid synchronization."""
        draw_masks(self.network, stream(self.seed, purpose, self.k), self.micro_batch)

    def _clip(self) -> torch.Tensor | None:
        """Clip the gradient and return its norm; None if it is neither clipped nor about to be logged."""
        bound = self.recipe.optimizer.clip
        logged = (self.k + 1) % self.profile.log_every == 0
        if bound is None and not logged:
            return None
        self.scaler.unscale_(self.optimizer)
        if bound is None:
            return torch.nn.utils.get_total_norm([self.weights.grad])  # type: ignore[list-item]
        return torch.nn.utils.clip_grad_norm_(self.weights, bound)

    @torch.no_grad()
    def _update_averages(self, N: int) -> None:
        """Move the sampled weights and the teacher's towards the student's; copy its state, such as running means."""
        self.recipe.averaging.update(self.averaged, self.weights, self.k)
        if self.teacher_weights is not None:
            self.teacher_weights.lerp_(self.weights, 1 - self.recipe.teacher(N))
        for network in self.copies:
            copy_state(self.network, network)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain data."""
        state = {
            "k": self.k,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.teacher_weights is not None:
            state["teacher"] = self.teacher.network.state_dict()
        if self.balance is not None:
            state["balance"] = self.balance.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where `state_dict` was taken; on a CPU, bit for bit."""
        self.k = state["k"]
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.teacher_weights is not None:
            self.teacher.network.load_state_dict(state["teacher"])
        if self.balance is not None:
            self.balance.load_state_dict(state["balance"])
