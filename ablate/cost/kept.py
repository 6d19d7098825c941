"""Counts of operations and memory, kept for later commands: counting needs torch, whose import takes seconds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablate.config.profile import CACHED, Profile
from ablate.config.recipe import Recipe
from ablate.core.files import read_json, write_json
from ablate.data import datasets

CACHE = f"{CACHED}/counts"
CODE = ("networks", "ingredients", "training", "cost/flops.py", "cost/memory.py")  # what the counts depend on
DRAWN = ("network", "embedding")  # axes that decide the operations of a network

Counts = dict[str, int]


def flops(recipe: Recipe, profile: Profile) -> Counts:
    """What `count_flops` returns for the recipe's network: `parameters` and `flops_forward`."""

    def count() -> Counts:
        from ablate.cost.flops import count_flops

        return count_flops(recipe, profile)

    return _kept(recipe, profile, {axis: recipe.specs()[axis] for axis in DRAWN}, count)


def memory(recipe: Recipe, profile: Profile) -> Counts:
    """What `count_memory` returns for the recipe; empty if code of yours cannot be counted."""
    recipe = recipe.from_scratch()
    e = profile.evaluation
    size = [profile.batch, profile.steps, min(e.batch, e.samples)]

    def count() -> Counts:
        from ablate.cost.memory import count_memory

        shape, classes = datasets.shape(profile.data), datasets.classes(profile.data)
        # your own network may read what its tensors contain; torch warns that they have none
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
            return count_memory(recipe, profile, shape, classes)
        return {}

    return _kept(recipe, profile, {"specs": recipe.specs(), "size": size}, count)


def _kept(recipe: Recipe, profile: Profile, about: dict[str, Any], count: Callable[[], Counts]) -> Counts:
    """The counts that an earlier command kept; else they are counted, and kept where the folder can be written."""
    images = [datasets.shape(profile.data), datasets.classes(profile.data)]
    sources = {axis: found for axis, found in recipe.sources().items() if axis in about or "specs" in about}
    text = json.dumps([about, images, sources, version("torch"), _code()], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    with contextlib.suppress(OSError, RuntimeError):  # no home, or nothing may be written there
        file = Path(CACHE).expanduser() / f"{key}.json"
        known = read_json(file)
        if isinstance(known, dict):
            return known
        found = count()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, found)
        return found
    return count()


@functools.cache
def _code() -> str:
    """A hash of the modules whose change would change a count."""
    package = Path(__file__).parents[1]
    files = [f for name in CODE for f in sorted((package / name).glob("*.py")) or [package / name]]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
