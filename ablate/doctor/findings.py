"""Findings of the checks: measured values, their bounds, and the defects that values out of bounds indicate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ablate.config.recipe import Recipe


@dataclass(frozen=True)
class Finding:
    """One measured value of one check.

    Args:
        check: the number of the check and what it measured.
        bound: the bounds of the value, in words.
        defect: the published defect that a value out of bounds indicates.
        advice: about a choice of values, not correctness: out of bounds, it warns but never stops a run.
        detail: further measurements.
        error: nothing was measured, because the recipe's own code failed.
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
    """A finding that is ok from `low` to `high`."""
    return Finding(check, value, f"{low:g} to {high:g}", low <= value <= high, defect, **more)


def replayed_defects(recipe: Recipe) -> dict[str, str]:
    """Defects that ingredients of the recipe declare to replay on purpose, and the axis of each."""
    return {defect: axis for axis, part in recipe.parts().items() for defect in part.replays}


def with_verdicts(label: str, recipe: Recipe, findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as plain data, each with its verdict: ok, replay, advice, failed or error."""
    replayed, rows = replayed_defects(recipe), []
    for f in findings:
        defect = f.defect if not f.ok else None
        bad = "error" if f.error else "replay" if defect in replayed else "advice" if f.advice else "failed"
        plain: dict[str, Any] = {
            "recipe": label,
            "check": f.check,
            "value": _plain(f.value),
            "bound": f.bound,
            "ok": f.ok,
        }
        plain |= {"defect": defect, "verdict": "ok" if f.ok else bad, "detail": f.detail}
        rows.append(plain | {"axis": replayed.get(defect or "")})
    return rows


def _plain(value: float | str) -> float | str:
    """The value, as text if it is not finite, which JSON cannot represent."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)


def format_finding(row: dict[str, Any]) -> str:
    """One finding as a line for the terminal."""
    value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
    verdict = {
        "ok": "ok",
        "replay": f"warning: {row['defect']}, replayed on purpose by {row['axis']}",
        "advice": f"warning: looks like {row['defect']}" if row["defect"] else "warning",
        "failed": f"FAILED: this is {row['defect']}" if row["defect"] else "FAILED",
        "error": "ERROR",
    }[row["verdict"]]
    detail = f"; {row['detail']}" if row["detail"] else ""
    return f"{row['recipe']}: {row['check']}: {value} ({row['bound']}){detail}: {verdict}"
