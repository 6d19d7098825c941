"""The layers of the package: a folder imports those above it in this list, never those below.

`python tests/helpers/layers.py` prints the tree that CONTRIBUTING shows.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ablate"
LAYERS = (
    "core",
    "networks",
    "ingredients",
    "config",
    "checkpoints",
    "data",
    "training",
    "evaluation",
    "statistics",
    "planning",
    "runs",
    "analysis",
    "report",
    "execution",
    "doctor",
    "study",
    "cost",
    "inference",
    "tracking",
    "cli",
)
OUTSIDE = {  # a library, and the only folder that imports it
    "mlflow": "tracking",
    "yaml": "core",
    "torch_fidelity": "evaluation",
    "lion_pytorch": "ingredients",
    "optuna": "study",
    "pydoe": "statistics",
    "statsmodels": "statistics",
    "ray": "execution",
    "submitit": "execution",
    "datasets": "data",
    "huggingface_hub": "checkpoints",
}


def modules() -> dict[str, Path]:
    """Every module of the package by its full name."""
    files = {
        ".".join(("ablate", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in PACKAGE.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in files.items()}


@functools.cache
def imported(file: Path) -> set[str]:
    """Full names of everything that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def graph() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports."""
    known = modules()

    def module(name: str) -> str:
        return name if name in known else name.rpartition(".")[0]

    return {
        name: {module(n) for n in imported(file) if n.split(".")[0] == "ablate"} - {name}
        for name, file in known.items()
    }


def folder(module: str) -> str:
    """The layer that a module belongs to; empty for the package's own few modules."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else ""


def tree() -> str:
    """A line per layer: its name and the first line of its docstring."""
    width = max(map(len, LAYERS)) + 1
    lines = []
    for name in LAYERS:
        doc = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
        lines.append(f"{name + '/':<{width}}  {doc.splitlines()[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tree())
