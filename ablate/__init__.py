"""Ablations of consistency training: swappable ingredients, experiment files, seeds and tables."""

if __doc__ is None:  # python -OO left docstrings out, and those of axes and options are used
    raise SystemExit("error: ablate needs its docstrings: run Python without -OO, and unset PYTHONOPTIMIZE")

import sys

from ablate.core import search_path

if sys.argv[:1] == ["-m"]:  # `python -m ablate` is about to start
    search_path.yours_last()

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
