"""Text for tables, pages and terminals."""

from __future__ import annotations

import pytest

from ablate.core import formats


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(40, "40 s"), (99.94, "99.9 s"), (720, "12 min 00 s"), (3900, "1 h 05 min"), (7500, "2 h 05 min")],
)
def test_durations(seconds, said):
    assert formats.duration(seconds) == said
