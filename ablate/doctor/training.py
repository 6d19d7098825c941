"""Checks 4, 6, 8 and 12: one training step."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ablate.core.rng import stream
from ablate.doctor.bench import Bench
from ablate.doctor.findings import Finding
from ablate.doctor.function import noise
from ablate.doctor.variants import rebuilt
from ablate.networks import Dropout, compile_blocks, draw_masks, teacher_copy
from ablate.networks.flat import trained
from ablate.training.loss import consistency, noisy
from ablate.training.trainer import Trainer

ROUNDING = 1e-4  # largest relative gap of two equal passes


def masks(bench: Bench) -> Iterator[Finding]:
    """4: teacher and student drop the same activations, and no other random numbers enter a pass."""
    trainer = bench.trainer(bench.heavy, bench.device)
    calls, gap = _twice(trainer, bench.shape)
    # not a number is no random number: check 6 finds it
    law, repeated = f"at most {ROUNDING:g}", not gap > ROUNDING
    if bench.recipe.network.foreign or not repeated:
        check = "4 equal passes in training, relative gap"
        cause = "it draws random numbers of its own; use nn.Dropout, whose masks are shared and seeded"
        yield Finding(check, gap, law, repeated, detail="" if repeated else cause)
    several = ", ".join(name for name, n in calls.items() if n > 1)
    if several:
        cause = "a mask for each nn.Dropout: its calls drop the same activations"
        yield Finding("4 dropouts called twice in a pass", several, "none", False, advice=True, detail=cause)
    if not calls:
        yield Finding("4 dropout masks that agree", "no dropout" if repeated else "no nn.Dropout", "1", True)
        return
    share = _shared(trainer, calls)
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


@torch.no_grad()
def _twice(trainer: Trainer, shape: tuple[int, int, int]) -> tuple[Counter[str], float]:
    """How often a training pass calls each dropout, and the relative gap to a pass of a copy with the same masks."""
    network, calls = trainer.network, Counter[str]()
    twin = teacher_copy(network)  # not the network again, whose buffers the first pass may change
    hooks = [m.register_forward_hook(lambda *_, n=n: calls.update([n])) for n, m in _dropouts([network])]
    x = noise(4, *shape).to(trainer.device)
    sigma = torch.tensor([0.1, 0.5, 2.0, 10.0], dtype=torch.float64, device=trainer.device)
    first = trainer.f(x, sigma)
    for hook in hooks:
        hook.remove()
    second = trainer.f.with_network(twin)(x, sigma)
    return calls, float((second - first).abs().max() / first.abs().max())


def _dropouts(networks: Iterable[nn.Module]) -> Iterator[tuple[str, Dropout]]:
    """The names and dropouts of networks that may share them, each once, without those that drop nothing."""
    found = {id(m): (name, m) for network in networks for name, m in network.named_modules()}
    return ((name, m) for name, m in found.values() if isinstance(m, Dropout) and m.p)


def _shared(trainer: Trainer, calls: Counter[str]) -> float | None:
    """The share of activations that the two passes of a step both keep or both drop; None if there is only one."""
    passes: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def keep(name: str) -> Any:
        return lambda module, given, out: passes.setdefault(name, []).append((given[0] != 0, out != 0))

    dropouts = _dropouts([trainer.network, trainer.teacher.network])
    hooks = [module.register_forward_hook(keep(name)) for name, module in dropouts]
    trainer.step()
    for hook in hooks:
        hook.remove()
    if any(len(seen) < 2 * calls[name] for name, seen in passes.items()):
        return None
    equal = total = 0
    for name, seen in passes.items():
        for i, (had_too, kept_too) in enumerate(seen[calls[name] :]):
            had, kept = seen[i % calls[name]]
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
    return Finding("4 compiled passes, relative gap", gap, f"at most {ROUNDING:g}", gap <= ROUNDING, "D4")


def finite(bench: Bench) -> Iterator[Finding]:
    """6: images, loss, weight and gradient are finite at extreme noise levels, at the first and the last step."""
    trainer, bad = bench.trainer(bench.heavy, bench.device), []
    ends = torch.tensor([1e-6, 1e-3, 0.999, 1 - 1e-6], dtype=torch.float64, device=bench.device)
    for k in (0, bench.K - 1):
        draws = dataclasses.replace(trainer.draws(k), u=ends)
        terms = consistency(bench.heavy, trainer.functions, draws, k, bench.K)
        trainer.network.zero_grad(set_to_none=True)
        terms.loss.backward()  # type: ignore[no-untyped-call]
        images = noisy(draws.x, terms.sigma_student, draws.z, bench.recipe.precision.inputs)
        slopes = [p.grad for p in trainer.network.parameters() if p.grad is not None]
        named = {"image": [images], "loss": [terms.loss], "weight": [terms.weight], "gradient": slopes}
        bad += [
            f"{n} at k={k}" for n, tensors in named.items() if not all(t.isfinite().all() for t in tensors)
        ]
    detail = "a small network of this kind" if bench.shrunk else ""
    # half precision ends at 65504
    overflow = "D7" if any(b.startswith("image") for b in bad) else None
    yield Finding("6 not finite", ", ".join(bad) or "none", "none", not bad, overflow, detail=detail)


def averages(bench: Bench) -> Iterator[Finding]:
    """8: one step moves the sampled average toward the model, running means too; only the student's pass has a
    gradient."""
    trainer = bench.trainer(bench.heavy, bench.device)
    before, graded = _flat(trainer, trainer.average.network), dict[str, list[bool]](student=[], teacher=[])
    buffers = {name: buffer.clone() for name, buffer in trainer.network.named_buffers()}
    hooks = [
        f.network.register_forward_hook(lambda m, i, out, name=name: graded[name].append(out.requires_grad))
        for name, f in (("student", trainer.f), ("teacher", trainer.teacher))
        if name == "student" or f.network is not trainer.network
    ]
    trainer.step()
    for hook in hooks:
        hook.remove()
    after, model = (_flat(trainer, f.network) for f in (trainer.average, trainer.f))
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
    left = ", ".join(_left(trainer, buffers))
    yield Finding("8 buffers that the average or a checkpoint lacks", left or "none", "none", not left)


def _flat(trainer: Trainer, network: nn.Module) -> Tensor:
    parameters = trained(network, trainer.network)
    return torch.cat([p.detach().double().cpu().flatten() for p in parameters])


def _left(trainer: Trainer, before: dict[str, Tensor]) -> Iterator[str]:
    """The buffers that a step has changed, but not in the averages, or that no file keeps; NaN is equal to itself."""
    saved, model = trainer.network.state_dict(), dict(trainer.network.named_buffers())
    averages = [dict(f.network.named_buffers()) for f in (trainer.average, trainer.teacher)]
    for name, value in model.items():
        follows = all(name in a and torch.allclose(a[name], value, 0, 0, equal_nan=True) for a in averages)
        changed = name not in before or not torch.equal(before[name], value)
        if not follows or (changed and name not in saved):
            yield name


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
