"""Mistakes in a profile: whether its file or `--set` has the value."""

from __future__ import annotations

import pytest

from ablate.config.profile import load_profile
from ablate.core.errors import SpecError

FILE = """
name: mine
data: {name: digits, %s}
batch: 16
images: 320
evaluation: {samples: 64, sigma_mid: [%s]}
"""


@pytest.mark.parametrize(
    ("data", "levels", "typed", "blamed"),
    [
        ("images: x", "1.0", {"data.image": "pixels"}, "mine.yaml: data.images: 'x'"),
        ("images: x", "1.0", {"data.images": "y"}, "--set: profile.data.images: 'y'"),
        ("test_path: [3]", "1.0", {"data.test": "z"}, "mine.yaml: data.test_path: "),
        ("flip: 3", "1.0", {"data.f": 1}, "mine.yaml: data.flip: '3'"),
        ("flip: false", "a", {"evaluation.sigma": 1}, "mine.yaml: evaluation.sigma_mid.0: 'a'"),
        ("flip: false", "1.0", {"evaluation.sigma_mid": ["b"]}, "--set: profile.evaluation.sigma_mid.0: 'b'"),
        ("flip: false", "1.0", {"data": {"images": "c"}}, "--set: profile.data.images: 'c'"),
    ],
)
def test_the_option_is_blamed_only_for_its_own_value(tmp_path, data, levels, typed, blamed):
    (tmp_path / "mine.yaml").write_text(FILE % (data, levels))
    with pytest.raises(SpecError) as caught:
        load_profile(str(tmp_path / "mine.yaml"), typed)
    assert any(line.removeprefix(f"{tmp_path}/").startswith(blamed) for line in caught.value.problems)
