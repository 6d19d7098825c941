"""Checks 4, 6, 8 and 12: one training step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ablate.core.rng import stream
from ablate.doctor.bench import Bench
from ablate.doctor.findings import Finding
from ablate.doctor.function import noise
from ablate.doctor.variants import rebuilt
from ablate.networks import Dropout, compile_blocks, draw_masks
from ablate.training.loss import consistency, noisy
from ablate.training.trainer import Trainer

KINDS = (Dropout, nn.Dropout, nn.Dropout2d)


def masks(bench: Bench) -> Iterator[Finding]:
    """4: teacher and student drop the same activations."""
    rate = bench.recipe.network.dropout
    if not rate:
        yield Finding("4 dropout masks that agree", "no dropout", "1", True)
        return
    share = _shared(bench.trainer(bench.heavy, bench.device))
    if share is None:
        yield Finding("4 dropout masks that agree", "no teacher's pass", "1", True)
        return
    detail = f"on {bench.device}" + (", of a small network of this kind" if bench.shrunk else "")
    yield Finding("4 dropout masks that agree", share, "1", share == 1, "D5", detail=detail)
    shares = {kind: bool(bench.recipe.dropout_sharing(kind)) for kind in ("cpu", "cuda")}
    same = shares["cpu"] == shares["cuda"]
    yield Finding(
        "4 devices that share a mask", ", ".join(k for k, v in shares.items() if v), "all", same, "D4"
    )
    if bench.compiled:
        yield _compiled(bench)


def _shared(trainer: Trainer) -> float | None:
    """The share of activations that the two passes of a step both keep or both drop; None if there is only one."""
    passes: dict[str, list[tuple[Tensor, Tensor]]] = {}
    networks = {id(f.network): f.network for f in (trainer.f, trainer.teacher)}.values()
    dropouts = {
        id(m): (name, m) for net in networks for name, m in net.named_modules() if isinstance(m, KINDS)
    }

    def keep(name: str) -> Any:
        return lambda module, given, out: passes.setdefault(name, []).append((given[0] != 0, out != 0))

    hooks = [module.register_forward_hook(keep(name)) for name, module in dropouts.values()]
    trainer.step()
    for hook in hooks:
        hook.remove()
    if any(len(seen) < 2 for seen in passes.values()):
        return None
    equal = total = 0
    for (had, kept), *others in passes.values():
        for had_too, kept_too in others:
            both = had & had_too  # a zero input shows no difference between kept and dropped
            equal += int(((kept == kept_too) & both).sum())
            total += int(both.sum())
    return equal / max(total, 1)


def _compiled(bench: Bench) -> Finding:
    """Compiled passes without and with a gradient are two graphs, which must use the same mask."""
    network = bench.trainer(bench.heavy, bench.device).network.train()
    compile_blocks(network)  # as training does
    x, c_noise = noise(4, *bench.shape).to(bench.device), noise(4).to(bench.device)
    draw_masks(network, stream(0, "dropout", 0))
    with torch.no_grad():
        first = network(x, c_noise, None)
    gap = float((network(x, c_noise, None).detach() - first).abs().max() / first.abs().max())
    return Finding("4 compiled passes, relative gap", gap, "at most 1e-4", gap <= 1e-4, "D4")


def finite(bench: Bench) -> Iterator[Finding]:
    """6: images, loss, weight and gradient are finite at extreme noise levels, at the first and the last step."""
    trainer, bad = bench.trainer(bench.heavy, bench.device), []
    ends = torch.tensor([1e-6, 1e-3, 0.999, 1 - 1e-6], dtype=torch.float64, device=bench.device)
    for k in (0, bench.K - 1):
        draws = dataclasses.replace(trainer.draws(k), u=ends)
        step = (bench.heavy, trainer.f, trainer.teacher, draws, k, bench.K)
        others = trainer.balance, trainer.denoiser, trainer.average
        terms = consistency(*step, lambda: None, None, *others)
        trainer.network.zero_grad(set_to_none=True)
        terms.loss.backward()  # type: ignore[no-untyped-call]
        images = noisy(draws.x, terms.sigma_student, draws.z, bench.recipe.precision.inputs)
        slopes = [p.grad for p in trainer.network.parameters() if p.grad is not None]
        named = {"image": [images], "loss": [terms.loss], "weight": [terms.weight], "gradient": slopes}
        bad += [
            f"{n} at k={k}" for n, tensors in named.items() if not all(t.isfinite().all() for t in tensors)
        ]
    detail = "a small network of this kind" if bench.shrunk else ""
    overflow = "D7" if any(b.startswith("image") for b in bad) else None  # half precision ends at 65504
    yield Finding("6 not finite", ", ".join(bad) or "none", "none", not bad, overflow, detail=detail)


def averages(bench: Bench) -> Iterator[Finding]:
    """8: one step moves the sampled average toward the model; only the student's pass has a gradient."""
    trainer = bench.trainer(bench.heavy, bench.device)
    before, graded = _flat(trainer.average.network), dict[str, list[bool]](student=[], teacher=[])
    hooks = [
        f.network.register_forward_hook(lambda m, i, out, name=name: graded[name].append(out.requires_grad))
        for name, f in (("student", trainer.f), ("teacher", trainer.teacher))
        if name == "student" or f.network is not trainer.network
    ]
    trainer.step()
    for hook in hooks:
        hook.remove()
    after, model = (_flat(f.network) for f in (trainer.average, trainer.f))
    gap = model - before
    moved = float((after - before) @ gap / (gap @ gap).clamp_min(1e-300))
    first, last = bench.recipe.averaging(0), bench.recipe.averaging(bench.K - 1)
    defect = "D24" if last < first else "D10"
    yield Finding("8 step of the average / distance to the model", moved, "above 0", moved > 0, defect)
    law = "at least 0"
    yield Finding(
        "8 decay after the last step - after the first", last - first, law, last >= first, "D24", advice=True
    )
    through = sum(graded["student"]) + sum(graded["teacher"])
    held = trainer.teacher.network is not trainer.network and any(
        p.grad is not None for p in trainer.teacher.network.parameters()
    )
    passes = f"{through} with a gradient" + (", kept by the teacher" if held else "")
    yield Finding("8 passes of a step", passes, "1 with a gradient", through == 1 and not held)


def _flat(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().double().cpu().flatten() for p in network.parameters()])


def ranks(bench: Bench) -> Iterator[Finding]:
    """12: processes agree, since N depends only on the step, and draws only on seed, step and purpose."""
    steps = [round(i * (bench.K - 1) / 8) for i in range(9)]
    again = rebuilt(bench.recipe, "curriculum", {}) or bench.recipe
    counts = [
        [r.curriculum(k, bench.K) for k in order] for r in (bench.recipe, again) for order in _orders(steps)
    ]
    pure = all(c == counts[0] for c in (counts[0], counts[1][::-1], counts[2], counts[3][::-1]))
    yield Finding("12 N(k) twice, backward and of a fresh build", _word(pure), "equal", pure, "D6")
    a, b = (bench.trainer(perturbed=False) for _ in range(2))
    first, same, later = a.draws(1), b.draws(1), a.draws(2)
    equal = all(torch.equal(getattr(first, n), getattr(same, n)) for n in ("x", "z", "u"))
    yield Finding("12 draws of two trainers at one step", _word(equal), "equal", equal, "D20")
    fresh = not torch.equal(first.z, later.z) and bool(torch.pdist(first.z.flatten(1)).min() > 0)
    yield Finding("12 noise of two steps and of every image", _word(not fresh), "different", fresh, "D20")


def _orders(steps: list[int]) -> tuple[list[int], list[int]]:
    return steps, steps[::-1]


def _word(equal: bool) -> str:
    return "equal" if equal else "different"
