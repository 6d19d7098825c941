"""Ablations of consistency training: swappable ingredients, experiment files, paired seeds, tables."""

from ablate.notebook import load, results
from ablate.recipe import Recipe, apply, diff, load_plugins, load_recipe
from ablate.registry import AXES, SpecError, build

__version__ = "0.1.0"
__all__ = [
    "AXES",
    "Recipe",
    "SpecError",
    "apply",
    "build",
    "diff",
    "load",
    "load_plugins",
    "load_recipe",
    "results",
]
