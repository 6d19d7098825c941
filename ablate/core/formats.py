"""Numbers, durations and counts as text, formatted alike in tables, pages and terminals."""

from __future__ import annotations


def number(value: float) -> str:
    """A FID, with the digits that matter."""
    if value != 0 and abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Seconds as text: `42 s`, `3 min 20 s`, `5 h 04 min`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def count(n: int, noun: str) -> str:
    """A number with its noun: `1 cell`, `2,000 cells`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def size(n: float) -> str:
    """Bytes as text: `12 kB`, `3.4 MB`."""
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if n < 1000:
            break
        n, unit = n / 1000, larger
    return f"{n:.0f} {unit}" if n >= 10 or unit == "bytes" else f"{n:.1f} {unit}"


def age(seconds: float) -> str:
    """How old something is, in its largest unit: `3 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
