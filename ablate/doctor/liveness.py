"""Check 11: training calls the ingredient of every axis, and changing a field of an ingredient changes a result."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablate.config.recipe import Recipe
from ablate.core.registry import values
from ablate.core.rng import stream
from ablate.doctor.bench import Bench, light, perturb
from ablate.doctor.findings import Finding
from ablate.doctor.function import noise
from ablate.doctor.variants import beside, candidates, rebuilt
from ablate.networks import draw_masks
from ablate.training.denoiser import Denoiser
from ablate.training.functions import build_network

Outcome = Sequence[str] | None  # a hash of what a recipe has made after each step, None if it failed
Outcomes = Callable[[Recipe, Sequence[str]], Outcome]  # it may end where it differs from the second argument
DEPENDENCIES = (
    "levels",
    "curriculum",
    "noise",
    "embedding",
)  # only other ingredients use them, and some do not


def axes(bench: Bench) -> Iterator[Finding]:
    """11: building a trainer and running a step calls the ingredient of every axis."""
    uncalled = _uncalled(bench)
    dead = [axis for axis in uncalled if axis not in DEPENDENCIES]
    spare = ", ".join(a for a in uncalled if a in DEPENDENCIES)
    detail = (
        f"{bench.recipe.pairing.name} and {bench.recipe.network.name} never call {spare}" if spare else ""
    )
    defect = "D28" if dead == ["coupling"] else "D16"
    yield Finding("11 axes never called", ", ".join(dead) or "none", "none", not dead, defect, detail=detail)


@functools.lru_cache(maxsize=1)
def _uncalled(bench: Bench) -> list[str]:
    """The axes whose ingredients are never called."""
    calls: set[str] = set()
    bench.trainer(recording(bench.heavy, calls)).step()
    return [axis for axis in bench.recipe.parts() if axis not in calls]


def _unused(bench: Bench) -> set[str]:
    """The dependencies that the recipe's ingredients do not use: never called, or no ingredient has them."""
    given = {f.metadata.get("axis") for p in bench.recipe.parts().values() for f in dataclasses.fields(p)}
    return {axis for axis in DEPENDENCIES if axis not in given} | (set(DEPENDENCIES) & set(_uncalled(bench)))


def recording(recipe: Recipe, calls: set[str]) -> Recipe:
    """The same recipe with ingredients that add their axis to `calls` when they are called."""
    parts = {axis: _recording(axis, part, calls) for axis, part in recipe.parts().items()}
    for axis, part in parts.items():
        held = {f.name: parts[f.metadata["axis"]] for f in dataclasses.fields(part) if "axis" in f.metadata}
        parts[axis] = dataclasses.replace(part, **held) if held else part
    return Recipe(**parts)


def _recording(axis: str, part: Any, calls: set[str]) -> Any:
    kind = type(part)

    def call(self: Any, *args: Any, **more: Any) -> Any:
        calls.add(axis)
        return kind.__call__(self, *args, **more)

    twin: Any = object.__new__(type(kind.__name__, (kind,), {"__call__": call}))
    for field in dataclasses.fields(part):
        object.__setattr__(twin, field.name, getattr(part, field.name))
    return twin


def fields(bench: Bench) -> Iterator[Finding]:
    """11: a field is dead if changing it changes nothing, asleep if it does once another field or option is changed."""
    names: dict[str, list[str]] = {"alive": [], "asleep": [], "unread": [], "untried": [], "dead": []}
    unused = _unused(bench)
    for axis in bench.heavy.parts():
        for field, state in _states(bench, axis).items():
            names["unread" if state == "dead" and axis in unused else state].append(f"{axis}.{field}")
    notes = [f"{len(names['alive'])} alive"]
    notes += [f"{s}: {', '.join(names[s])}" for s in ("asleep", "unread", "untried") if names[s]]
    dead = names["dead"]
    rate = all(name.startswith(("schedule.", "optimizer.")) for name in dead)
    value, detail = ", ".join(dead) or "none", "; ".join(notes)
    # tests prove that the fields of the package's own options have effects: here one just has nothing to act on
    own = all(_own(bench.heavy, name) for name in dead)
    defect = "D17" if rate else "D16"
    yield Finding("11 dead fields", value, "none", not dead, defect, advice=own, detail=detail)


def _own(recipe: Recipe, name: str) -> bool:
    return type(getattr(recipe, name.split(".")[0])).__module__.startswith("ablate.")


# by ingredient, which is examined only in the first recipe with it; one that others use, in every recipe
_known: dict[Any, dict[str, str]] = {}


def _states(bench: Bench, axis: str) -> dict[str, str]:
    """Field -> alive, asleep, dead or untried, for the ingredient of `axis`."""
    part = getattr(bench.heavy, axis)
    others = bench.heavy if axis in DEPENDENCIES else bench.recipe.pairing.name
    key = (axis, type(part), repr(part), repr(others), bench.shape, bench.K)
    if key not in _known:
        outcome = _outcomes(bench, axis)
        states = {field: _state(bench, axis, field, outcome) for field in values(part)}
        dead = [field for field, state in states.items() if state == "dead"]
        _known[key] = states | dict.fromkeys(_asleep(bench, axis, dead, outcome), "asleep")
    return _known[key]


def _outcomes(bench: Bench, axis: str) -> Outcomes:
    """A function from a recipe to its outcome, computed once per recipe."""
    known: dict[str, Outcome] = bench.known if axis != "network" else {}

    def outcome(recipe: Recipe, like: Sequence[str]) -> Outcome:
        name = repr(recipe)
        if name in known:
            return known[name]
        made = passed(recipe, shape) if axis == "network" else trained(light(recipe), bench, like)
        if not like or made is None or len(made) == len(like):
            known[name] = made
        return made

    side = min(16, *bench.shape[1:])
    shape = (bench.shape[0], side, side) if bench.shrunk else bench.shape
    return outcome


def _state(bench: Bench, axis: str, field: str, outcome: Outcomes) -> str:
    """Alive, untried, or dead in this recipe as it is."""
    recipe = bench.heavy
    tried = candidates(recipe, axis, field)
    if not tried or getattr(recipe, axis).reads_files:
        return "untried"
    if (axis, field) == (
        "optimizer",
        "clip",
    ):  # the others may all be above the norms of this recipe, or all below
        bounds = [factor * norm for norm in _gradient_norm(bench) for factor in (0.1, 10)]
        tried += [r for bound in bounds if (r := rebuilt(recipe, axis, {field: bound}))]
    changes = _changes(recipe, tried, outcome)
    return "untried" if changes is None else "alive" if changes else "dead"


def _asleep(bench: Bench, axis: str, dead: list[str], outcome: Outcomes) -> list[str]:
    """Those of the dead fields that have an effect once another field is changed, another option, or both."""
    recipe, woken = bench.heavy, dict[str, Recipe]()
    fields = values(getattr(recipe, axis))
    for field in [*dead, *dead]:  # again, since a field may sleep until a later one does something
        if field in woken:
            continue
        siblings = (r for other in fields if other != field for r in candidates(recipe, axis, other)[:1])
        both = (r for other, changed in woken.items() for r in candidates(changed, axis, other)[:1])
        for changed in itertools.chain(siblings, both, beside(recipe, axis)):
            if _changes(changed, candidates(changed, axis, field), outcome):
                woken[field] = changed
                break
    return [*woken]


def _changes(recipe: Recipe, tried: list[Recipe], outcome: Outcomes) -> bool | None:
    """Whether one of the recipes has another outcome than `recipe`; None if that cannot be computed."""
    plain = outcome(recipe, ())
    return None if plain is None else any(outcome(other, plain) not in (plain, None) for other in tried)


def _gradient_norm(bench: Bench) -> list[float]:
    """The norm of the first step's gradient, unless it cannot be computed or is 0."""
    optimizer = dataclasses.replace(bench.light.optimizer, clip=math.inf)  # trainers measure it to clip
    try:
        norm = bench.trainer(dataclasses.replace(bench.light, optimizer=optimizer)).step().grad_norm
    except Exception:  # as in `trained`
        return []
    return [float(norm)] if norm else []


def _hash(parts: list[Any]) -> str:
    digest = hashlib.blake2b()
    for part in parts:
        digest.update(
            part.detach().double().cpu().numpy().tobytes()
            if isinstance(part, Tensor)
            else repr(part).encode()
        )
    return digest.hexdigest()


def trained(recipe: Recipe, bench: Bench, like: Sequence[str] = ()) -> Outcome:
    """The outcome of steps over the schedule: weights of network, teacher and average, names, samples, GPU modes.

    Args:
        like: the outcome of another recipe; training ends after the first step that differs.
    """
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    kept, made = (matmul.allow_tf32, convolution.allow_tf32), list[str]()
    try:
        recipe.pairing.check(bench.K)  # planning refuses what it refuses
        trainer = bench.trainer(recipe)
        functions = (trainer.f, trainer.teacher, trainer.average)
        for trainer.k in (0, 1, 2, 3, 4, 5, bench.K // 2, bench.K - 1):
            trainer.step()
            flags = matmul.allow_tf32, convolution.allow_tf32
            sampled = trainer.average(noise(2, *bench.shape), torch.tensor([0.1, 2.0], dtype=torch.float64))
            weights = (p for f in functions for p in f.network.parameters())
            made.append(_hash([flags, sampled, *_shapes(trainer.f.network), *weights]))
            if like and made[-1] != like[len(made) - 1]:
                break
    except Exception:  # a value within its bounds that this recipe or machine does not support
        return None
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = kept
    return made


def passed(recipe: Recipe, shape: tuple[int, int, int]) -> Outcome:
    """The outcome of a network: shapes, output, and how many modules ran in a forward and backward pass."""
    count: list[int] = []
    try:
        network = perturb(build_network(recipe, shape, 0, "cpu")).train()
        draw_masks(network, stream(0, "dropout", 0))
        for module in network.modules():
            module.register_forward_hook(lambda *_: count.append(1))
        sigma = torch.tensor([0.1, 2.0], dtype=torch.float64)
        out = Denoiser(recipe, network)(noise(2, *shape), sigma)
        out.square().sum().backward()  # type: ignore[no-untyped-call]
    except Exception:  # sizes that do not fit
        return None
    return [_hash([len(count), *_shapes(network), out])]


def _shapes(network: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
