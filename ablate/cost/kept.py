"""Counts of operations and memory, kept for later commands: counting needs torch, whose import takes seconds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ablate.config.profile import CACHED, Profile
from ablate.config.recipe import Recipe
from ablate.core.files import read_json, write_json
from ablate.data import datasets

CACHE = f"{CACHED}/counts"
CODE = (  # what the counts depend on
    *("networks", "ingredients", "training", "config/recipe.py", "core/registry.py"),
    *("cost/flops.py", "cost/memory.py"),
)
LIBRARIES = ("torch", "diffusers")  # whose layers are counted
DRAWN = ("network", "embedding")  # axes that decide the operations of a network

Counts = dict[str, int]


def flops(recipe: Recipe, profile: Profile) -> Counts:
    """What `count_flops` returns for the recipe's network: `parameters` and `flops_forward`."""

    def count() -> Counts:
        from ablate.cost.flops import count_flops

        return count_flops(recipe, profile)

    about = {axis: recipe.specs()[axis] for axis in DRAWN}
    return _kept(recipe, profile, about, ("parameters", "flops_forward"), count)


def memory(recipe: Recipe, profile: Profile) -> Counts:
    """What `count_memory` returns for the recipe; empty if code of yours cannot be counted, which is not kept."""
    recipe = recipe.from_scratch()
    e, data = profile.evaluation, profile.data
    size = [profile.batch, profile.steps, min(e.batch, e.samples), data.flip, data.label_dropout]

    def count() -> Counts:
        from torch._subclasses import fake_tensor as fake

        from ablate.cost.memory import count_memory

        # what torch raises where content is read; of your own code, which may convert to numpy, it says no more
        needs_content: tuple[type[Exception], ...] = (
            *(fake.DataDependentOutputException, fake.DynamicOutputShapeException),
            *(fake.UnsupportedFakeTensorException, fake.UnsupportedOperatorException, NotImplementedError),
            *((RuntimeError,) if recipe.own_modules() else ()),
        )
        shape, classes = datasets.shape(data), datasets.classes(data)
        # torch warns where the network asks for the content
        with contextlib.suppress(*needs_content), warnings.catch_warnings(action="ignore"):
            return count_memory(recipe, profile, shape, classes)
        return {}

    about = {"specs": recipe.specs(), "size": size}
    return _kept(recipe, profile, about, ("step", "micro_step", "sampling", "operations"), count)


def _kept(
    recipe: Recipe, profile: Profile, about: dict[str, Any], names: Sequence[str], count: Callable[[], Counts]
) -> Counts:
    """The counts with these names that an earlier command kept; else they are counted, and kept where that can be."""
    images = [datasets.shape(profile.data), datasets.classes(profile.data)]
    sources = {axis: found for axis, found in recipe.sources().items() if axis in about or "specs" in about}
    text = json.dumps([about, images, sources, *map(_version, LIBRARIES), _code()], sort_keys=True)
    file = Path(CACHE) / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(RuntimeError):  # no home
        known = read_json(file.expanduser())
        if isinstance(known, dict) and all(type(known.get(name)) is int for name in names):
            return known
    if found := count():
        with contextlib.suppress(OSError, RuntimeError):  # nothing may be written there
            file.expanduser().parent.mkdir(parents=True, exist_ok=True)
            write_json(file.expanduser(), found)
    return found


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


@functools.cache
def _code() -> str:
    """A hash of the modules whose change would change a count."""
    package = Path(__file__).parents[1]
    files = [f for name in CODE for f in sorted((package / name).glob("*.py")) or [package / name]]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
