"""Ablations of consistency training: swappable ingredients, experiment files, paired seeds and tables."""

from ablate.api import load, results
from ablate.config.recipe import Recipe, apply, diff, load_plugins, load_recipe
from ablate.core.errors import SpecError
from ablate.core.registry import AXES, build

__version__ = "0.2.0"
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
