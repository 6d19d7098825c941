"""Two-level designs: the textbook's fractions, their resolutions, and which of their effects are confounded."""

from __future__ import annotations

import pydoe
import pytest

from ablate.statistics import designs

TEXTBOOK = {  # Montgomery 2012, table 8.14: (axes, runs) -> resolution
    (3, 4): 3,
    (4, 8): 4,
    (5, 8): 3,
    (5, 16): 5,
    (6, 8): 3,
    (6, 16): 4,
    (6, 32): 6,
    (7, 8): 3,
    (7, 16): 4,
    (7, 32): 4,
    (7, 64): 7,
    (8, 16): 4,
    (8, 32): 4,
    (8, 64): 5,
    (9, 16): 3,
    (9, 32): 4,
    (9, 64): 4,
    (9, 128): 6,
    (10, 16): 3,
    (10, 32): 4,
    (10, 64): 4,
    (10, 128): 5,
}


def aliases(axes, runs):
    """Sets of main effects and two-way interactions, in letters."""
    found = [
        ["".join("ABCDEFG"[i] for i in term) for term in terms if len(term) < 3]
        for terms in designs.alias_sets(designs.fraction(axes, runs))
    ]
    return {frozenset(terms) for terms in found if len(terms) > 1}


@pytest.mark.parametrize(("size", "resolution"), TEXTBOOK.items())
def test_fractions_have_the_textbooks_resolution(size, resolution):
    design = designs.fraction(*size)
    assert design.shape == (size[1], size[0])
    assert designs.resolution(design) == resolution
    assert len({*map(tuple, design.tolist())}) == size[1]
    assert (design == 1).all(1).any()


def test_2_5_minus_2_is_montgomerys():
    """D = AB, E = AC: I = ABD = ACE = BCDE."""
    design = designs.fraction(5, 8)
    a, b, c, d, e = design.T
    assert (d == a * b).all()
    assert (e == a * c).all()
    sets = {"A BD CE", "B AD", "C AE", "D AB", "E AC", "BC DE", "BE CD"}
    assert aliases(5, 8) == {frozenset(names.split()) for names in sets}


def test_2_7_minus_3_is_montgomerys():
    """E = ABC, F = BCD, G = ACD: main effects alone, two-way interactions in threes."""
    a, b, c, d, e, f, g = designs.fraction(7, 16).T
    assert (e == a * b * c).all()
    assert (f == b * c * d).all()
    assert (g == a * c * d).all()
    sets = {"AB CE FG", "AC BE DG", "AD CG EF", "AE BC DF", "AF BG DE", "AG BF CD", "BD CF EG"}
    assert aliases(7, 16) == {frozenset(names.split()) for names in sets}


@pytest.mark.parametrize("size", [(4, 8), (6, 16), (8, 16), (9, 64)])
def test_an_alias_set_is_a_column_and_its_doubles(size):
    design = designs.fraction(*size)
    sets = designs.alias_sets(design)
    assert len(sets) == size[1] - 1  # as many effects as runs, but for the constant
    for terms in sets:
        first = designs.column(design, terms[0])
        assert all((abs(designs.column(design, term) @ first) == size[1]) for term in terms)
        assert first.sum() == 0


@pytest.mark.parametrize("axes", range(3, 11))
@pytest.mark.parametrize("resolution", [3, 4, 5])
def test_the_smallest_fraction_is_as_small_as_pydoes(axes, resolution):
    runs = len(pydoe.fracfact_by_res(axes, resolution))
    assert designs.smallest(axes, resolution) == (runs if runs < 2**axes else None)


@pytest.mark.parametrize("axes", [2, 3, 5])
def test_a_full_design_tells_everything_apart(axes):
    design = designs.full(axes)
    assert {*map(tuple, design.tolist())} == {*map(tuple, pydoe.ff2n(axes).astype(int).tolist())}
    assert [len(terms) for terms in designs.alias_sets(design)] == [1] * (2**axes - 1)
    assert designs.resolution(design) == axes + 1
