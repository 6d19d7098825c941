from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ablate

GROWING = ["sqrt", "linear", "square", "cosine", "exponential"]


@pytest.mark.parametrize("name", [*GROWING, "constant"])
@settings(max_examples=20, deadline=None)
@given(K=st.integers(20, 5000))
def test_never_falls_and_stays_between_its_ends(name, K):
    curriculum = ablate.build("curriculum", name)
    counts = [curriculum(k, K) for k in range(0, K, max(1, K // 50))]
    assert counts == sorted(counts)
    assert all(isinstance(N, int) and N >= 2 for N in counts)
    assert counts[-1] <= curriculum.s1 + 1


@pytest.mark.parametrize("name", GROWING)
def test_begins_at_s0_intervals(name):
    curriculum = ablate.build("curriculum", {"name": name, "s0": 10, "s1": 1280})
    assert curriculum(0, 400_000) == (10 if name == "sqrt" else 11)


def test_the_doubling_curriculum_of_the_paper():
    curriculum = ablate.build("curriculum", "exponential")
    assert [curriculum(50_000 * i, 400_000) for i in range(8)] == [11, 21, 41, 81, 161, 321, 641, 1281]
    assert curriculum(399_999, 400_000) == 1281


def test_the_square_root_of_cm():
    curriculum, k, K = ablate.build("curriculum", "sqrt"), 300, 1000
    assert curriculum(k, K) == math.ceil(math.sqrt(k / K * (151**2 - 2**2) + 2**2) - 1) + 1
    assert curriculum(0, K) == 2
    assert curriculum(K - 1, K) == 151


@pytest.mark.parametrize(("s1", "K"), [(1, 1), (1, 50), (150, 7), (1280, 1000)])
def test_the_square_root_from_one_interval_has_two_levels_as_in_cms_code(s1, K):
    curriculum = ablate.build("curriculum", {"name": "sqrt", "s0": 1, "s1": s1})

    def cm(k):
        scales = math.ceil(math.sqrt(k / K * ((s1 + 1) ** 2 - 1) + 1) - 1)
        return max(scales, 1) + 1

    assert curriculum(0, K) == 2
    assert [curriculum(k, K) for k in range(K)] == [cm(k) for k in range(K)]


def test_constant_is_the_last_ladder():
    assert ablate.build("curriculum", {"name": "constant", "s1": 18})(7, 10) == 19


def test_families_in_the_middle():
    middle = {n: ablate.build("curriculum", {"name": n, "s0": 10, "s1": 1280})(50, 100) for n in GROWING}
    assert middle["linear"] == 646
    assert middle["cosine"] == pytest.approx(646, abs=1)  # half a cosine is half only up to rounding
    assert middle["square"] == math.floor(10 + 0.25 * 1270) + 1
    assert middle["square"] < middle["linear"] < middle["sqrt"]


def test_a_run_too_short_to_double_gets_the_law():
    with pytest.raises(ablate.SpecError, match=r"K >= log2 floor\(s1/s0\) \+ 1 = 8"):
        ablate.build("curriculum", "exponential")(0, 7)
    assert ablate.build("curriculum", "exponential")(7, 8) == 1281


def test_s0_above_s1_is_refused():
    with pytest.raises(ablate.SpecError, match="s0 <= s1"):
        ablate.build("curriculum", {"name": "linear", "s0": 5, "s1": 4})
