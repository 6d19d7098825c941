"""What to know of a recipe before compute is spent: twelve checks, each with the defect that a failure would be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ablate.config.recipe import Recipe


@dataclass(frozen=True)
class Finding:
    """One measured value of one check.

    Args:
        check: the check's number and what of it was measured.
        bound: what the value was held against, in words.
        defect: the public defect that the value would be, where it is out of bounds.
        advice: a matter of values, not of correctness: out of bounds it warns and never stops a run.
        detail: more that was measured.
        error: nothing was measured, for the recipe's own code failed.
    """

    check: str
    value: float | str
    bound: str
    ok: bool
    defect: str | None = None
    advice: bool = False
    detail: str = ""
    error: bool = False


def within(check: str, value: float, low: float, high: float, defect: str | None, **more: Any) -> Finding:
    """A finding that is right from `low` to `high`."""
    return Finding(check, value, f"{low:g} to {high:g}", low <= value <= high, defect, **more)


def declared(recipe: Recipe) -> dict[str, str]:
    """The defects that the recipe's ingredients say they replay, and the axis of each."""
    return {defect: axis for axis, part in recipe.parts().items() for defect in part.replays}


def judged(label: str, recipe: Recipe, findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as plain data, each with its verdict: ok, replay, advice, failed or error."""
    purpose, rows = declared(recipe), []
    for f in findings:
        told = f.defect if not f.ok else None
        out = "error" if f.error else "replay" if told in purpose else "advice" if f.advice else "failed"
        plain: dict[str, Any] = {
            "recipe": label,
            "check": f.check,
            "value": _plain(f.value),
            "bound": f.bound,
            "ok": f.ok,
        }
        plain |= {"defect": told, "verdict": "ok" if f.ok else out, "detail": f.detail}
        rows.append(plain | {"axis": purpose.get(told or "")})
    return rows


def _plain(value: float | str) -> float | str:
    """JSON has no word for what is not finite."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)


def line(row: dict[str, Any]) -> str:
    """One finding for a terminal."""
    value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
    said = {
        "ok": "ok",
        "replay": f"warning: {row['defect']}, replayed on purpose by {row['axis']}",
        "advice": f"warning: looks like {row['defect']}",
        "failed": f"FAILED: this is {row['defect']}" if row["defect"] else "FAILED",
        "error": "ERROR",
    }[row["verdict"]]
    detail = f"; {row['detail']}" if row["detail"] else ""
    return f"{row['recipe']}: {row['check']}: {value} ({row['bound']}){detail}: {said}"
