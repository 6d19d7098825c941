"""Check 11: every axis of a recipe is asked, and every field of its ingredients changes something when it changes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ablate.config.recipe import Recipe
from ablate.core.registry import values
from ablate.core.rng import stream
from ablate.doctor.bench import Bench, light, stir
from ablate.doctor.findings import Finding
from ablate.doctor.function import noise
from ablate.doctor.variants import candidates
from ablate.networks import draw_masks
from ablate.training.denoiser import Denoiser
from ablate.training.trainer import build_network

State = str | None  # a hash of all that a training left, None where it failed
INJECTED = ("levels", "curriculum", "noise", "embedding")  # another ingredient may do without these


def asked(bench: Bench) -> Iterator[Finding]:
    """11: construction and a step call the ingredient of every axis."""
    silent = _silent(bench)
    dead = [axis for axis in silent if axis not in INJECTED]
    spare = ", ".join(a for a in silent if a in INJECTED)
    detail = (
        f"{bench.recipe.pairing.name} and {bench.recipe.network.name} never call {spare}" if spare else ""
    )
    yield Finding("11 axes never asked", ", ".join(dead) or "none", "none", not dead, "D16", detail=detail)


@functools.lru_cache(maxsize=1)
def _silent(bench: Bench) -> list[str]:
    """The axes that nobody calls."""
    calls: set[str] = set()
    bench.trainer(watched(bench.heavy, calls)).step()
    return [axis for axis in bench.recipe.parts() if axis not in calls]


def _idle(bench: Bench) -> set[str]:
    """The axes that the recipe's other ingredients can do without: not called, or not given to any of them."""
    given = {f.metadata.get("axis") for p in bench.recipe.parts().values() for f in dataclasses.fields(p)}
    return {axis for axis in INJECTED if axis not in given} | (set(INJECTED) & set(_silent(bench)))


def watched(recipe: Recipe, calls: set[str]) -> Recipe:
    """The same recipe, but its ingredients put their axis into `calls` when they are called."""
    parts = {axis: _watched(axis, part, calls) for axis, part in recipe.parts().items()}
    for axis, part in parts.items():
        held = {f.name: parts[f.metadata["axis"]] for f in dataclasses.fields(part) if "axis" in f.metadata}
        parts[axis] = dataclasses.replace(part, **held) if held else part
    return Recipe(**parts)


def _watched(axis: str, part: Any, calls: set[str]) -> Any:
    kind = type(part)

    def call(self: Any, *args: Any, **more: Any) -> Any:
        calls.add(axis)
        return kind.__call__(self, *args, **more)

    twin: Any = object.__new__(type(kind.__name__, (kind,), {"__call__": call}))
    for field in dataclasses.fields(part):
        object.__setattr__(twin, field.name, getattr(part, field.name))
    return twin


def fields(bench: Bench) -> Iterator[Finding]:
    """11: a field that changes nothing is dead; one that sleeps wakes when another field of its option changes."""
    found: dict[str, list[str]] = {"alive": [], "asleep": [], "unread": [], "untried": [], "dead": []}
    idle = _idle(bench)
    for axis in bench.heavy.parts():
        for field, state in _states(bench, axis).items():
            found["unread" if state == "dead" and axis in idle else state].append(f"{axis}.{field}")
    notes = [f"{len(found['alive'])} alive"]
    notes += [f"{s}: {', '.join(found[s])}" for s in ("asleep", "unread", "untried") if found[s]]
    dead = found["dead"]
    rate = all(name.startswith(("schedule.", "optimizer.")) for name in dead)
    value, detail = ", ".join(dead) or "none", "; ".join(notes)
    # the package's own options are alive by its tests: here one has nothing to act on, which is no reason to stop
    own = all(_own(bench.heavy, name) for name in dead)
    defect = "D17" if rate else "D16"
    yield Finding("11 dead fields", value, "none", not dead, defect, advice=own, detail=detail)


def _own(recipe: Recipe, name: str) -> bool:
    return type(getattr(recipe, name.split(".")[0])).__module__.startswith("ablate.")


_known: dict[Any, dict[str, str]] = {}  # an ingredient is examined once, in the first recipe that has it


def _states(bench: Bench, axis: str) -> dict[str, str]:
    """Field -> alive, asleep, dead or untried, of the ingredient of `axis`."""
    part = getattr(bench.heavy, axis)
    key = (axis, type(part), repr(part), bench.recipe.pairing.name, bench.shape, bench.K)
    if key not in _known:
        outcome = _outcomes(bench, axis)
        _known[key] = {field: _state(bench.heavy, axis, field, outcome) for field in values(part)}
    return _known[key]


def _outcomes(bench: Bench, axis: str) -> Callable[[Recipe], State]:
    """What a recipe leads to, computed once for each."""
    known: dict[str, State] = bench.known if axis != "network" else {}

    def outcome(recipe: Recipe) -> State:
        name = repr(recipe)
        if name not in known:
            known[name] = passed(recipe, shape) if axis == "network" else trained(light(recipe), bench)
        return known[name]

    side = min(16, *bench.shape[1:])
    shape = (bench.shape[0], side, side) if bench.shrunk else bench.shape
    return outcome


def _state(recipe: Recipe, axis: str, field: str, outcome: Callable[[Recipe], State]) -> str:
    if not candidates(recipe, axis, field) or getattr(recipe, axis).reads_files:
        return "untried"
    if (lively := _changes(recipe, axis, field, outcome)) is not False:
        return "alive" if lively else "untried"
    for other in values(getattr(recipe, axis)):
        for woken in candidates(recipe, axis, other)[:1] if other != field else ():
            if _changes(woken, axis, field, outcome):
                return "asleep"
    return "dead"


def _changes(recipe: Recipe, axis: str, field: str, outcome: Callable[[Recipe], State]) -> bool | None:
    """Does another value of the field lead elsewhere? None where nothing can be computed."""
    plain = outcome(recipe)
    if plain is None:
        return None
    states = (outcome(candidate) for candidate in candidates(recipe, axis, field))
    return any(state not in (plain, None) for state in states)


def _hash(parts: list[Any]) -> str:
    digest = hashlib.blake2b()
    for part in parts:
        digest.update(
            part.detach().double().cpu().numpy().tobytes()
            if isinstance(part, Tensor)
            else repr(part).encode()
        )
    return digest.hexdigest()


def trained(recipe: Recipe, bench: Bench) -> State:
    """What steps along the whole schedule lead to: the weights of network, teacher and average, and GPU modes."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    kept = matmul.allow_tf32, convolution.allow_tf32
    try:
        trainer = bench.trainer(recipe)
        for trainer.k in (0, 1, 2, 3, 4, 5, bench.K // 2, bench.K - 1):
            trainer.step()
        flags = matmul.allow_tf32, convolution.allow_tf32
    except Exception:  # a value within its bounds that this recipe, device or machine can not do
        return None
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = kept
    functions = (trainer.f, trainer.teacher, trainer.average)
    sampled = trainer.average(noise(2, *bench.shape), torch.tensor([0.1, 2.0], dtype=torch.float64))
    return _hash([flags, sampled, *(p for f in functions for p in f.network.parameters())])


def passed(recipe: Recipe, shape: tuple[int, int, int]) -> State:
    """What a network is and does: shapes, output, and how often its modules ran in a pass forward and back."""
    count: list[int] = []
    try:
        network = stir(build_network(recipe, shape, 0, "cpu")).train()
        draw_masks(network, stream(0, "dropout", 0))
        for module in network.modules():
            module.register_forward_hook(lambda *_: count.append(1))
        sigma = torch.tensor([0.1, 2.0], dtype=torch.float64)
        out = Denoiser(recipe, network)(noise(2, *shape), sigma)
        out.square().sum().backward()  # type: ignore[no-untyped-call]
    except Exception:  # sizes that do not fit
        return None
    return _hash([len(count), *_shapes(network), out])


def _shapes(network: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
