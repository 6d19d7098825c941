"""Claims of an experiment file: sentences that its report must answer. One module per kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.core import plugins, section
from ablate.core.errors import SpecError, nearest
from ablate.planning.claims.base import KINDS, Claim, Evidence

__all__ = ["Claim", "Evidence", "kinds", "read"]


def kinds() -> Mapping[str, type[Claim]]:
    """Every kind by the key that a file chooses it with: those here, the installed ones and the imported ones."""
    plugins.load(__name__, "ablate.claims")
    return KINDS


def read(entry: Mapping[str, Any], path: str) -> Claim:
    """An entry of a file's `claims`.

    Raises:
        SpecError: not exactly one kind's key is present, or a key or value is wrong; one line each.
    """
    known = kinds()
    chosen = [key for key in known if key in entry]
    if len(chosen) != 1:
        words = {name for kind in known.values() for name in kind.model_fields}
        unknown = [f"{path}.{key}: unknown key; {nearest(key, words)}" for key in entry if key not in words]
        needed = f"needs exactly one of {', '.join(known)}, but has {', '.join(chosen) or 'none'}"
        raise SpecError(f"{path}: {needed}", *unknown)
    return section.read(known[chosen[0]], entry, path)
