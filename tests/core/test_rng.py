from __future__ import annotations

import torch

from ablate.core.rng import number, stream


def test_a_stream_depends_on_seed_purpose_and_place_only():
    drawn = [torch.rand(3, generator=stream(0, "noise", 5)) for _ in range(2)]
    assert torch.equal(*drawn)
    others = [stream(1, "noise", 5), stream(0, "level", 5), stream(0, "noise", 6), stream(0, "noise", 5, 0)]
    assert not any(torch.equal(torch.rand(3, generator=g), drawn[0]) for g in others)


def test_places_can_not_be_confused():
    assert number(1, "noise", 11) != number(11, "noise", 1)
    assert number(0, "noise", 1, 23) != number(0, "noise", 12, 3)
    assert 0 <= number(0, "noise") < 2**63
