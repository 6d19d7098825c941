"""Names of metrics that MLflow accepts, whatever text they are made of."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection

LONGEST = 250  # characters


def accepted(names: Collection[str]) -> dict[str, str]:
    """A name that MLflow accepts for each name: as it is where possible, and never the same for two."""
    cleaned = {name: _cleaned(name) for name in names}
    counts = Counter(cleaned.values())
    return {
        name: clean if len(clean) <= LONGEST and counts[clean] == 1 else _marked(name, clean)
        for name, clean in cleaned.items()
    }


def _cleaned(name: str) -> str:
    """Letters, digits, spaces and `_-.:/` alone, and no part between slashes that a path would not have."""
    parts = re.sub(r"[^\w.: /-]", "_", name).split("/")
    return "/".join(part if part.strip(" .") else "_" for part in parts)


def _marked(name: str, clean: str) -> str:
    """`clean` cut to length, with a hash of the whole name."""
    mark = "-" + hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:8]
    return clean[: LONGEST - len(mark)].rstrip("/ ") + mark
