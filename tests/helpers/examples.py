"""The worked examples of CONTRIBUTING, which the tests run as they stand on the page."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def example(heading: str) -> str:
    """The Python code below `### heading`."""
    section = PAGE.read_text().split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(code.splitlines()) < 30, f"{heading}: the example is meant to be short"
    return str(code)
