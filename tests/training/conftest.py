"""What several tests of training share."""

from __future__ import annotations

import pytest
from helpers.flow_maps import wide

from ablate.training import loss


@pytest.fixture
def double(monkeypatch):
    """Noisy images in float64, where a difference of neighbours keeps its digits."""
    monkeypatch.setattr(loss, "noisy", lambda x, s, z, _: x + wide(s) * z)
