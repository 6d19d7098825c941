"""Model cards: README.md with a head of YAML, which hubs show beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def card(head: Mapping[str, Any], title: str, sections: Sequence[str]) -> str:
    """A model card.

    Args:
        head: fields that hubs know, such as `license` and `tags`.
    """
    lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items())  # JSON is YAML
    return "\n\n".join([f"---\n{lines}\n---", f"# {title}", *sections]) + "\n"
