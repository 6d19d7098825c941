"""Two-level designs: which combinations of k axes a factorial runs, and which effects it cannot tell apart.

A design is an array (runs, k) of levels -1 and 1. Only this module imports pyDOE, and only for fractions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

Term = tuple[int, ...]  # an effect: the axes whose levels it multiplies
RESOLUTIONS = {"III": 3, "IV": 4, "V": 5}
GENERATORS = {  # (axes, runs) -> the added columns of least aberration; Montgomery 2012, table 8.14
    (3, 4): "ab",
    (4, 8): "abc",
    (5, 16): "abcd",
    (5, 8): "ab ac",
    (6, 32): "abcde",
    (6, 16): "abc bcd",
    (6, 8): "ab ac bc",
    (7, 64): "abcdef",
    (7, 32): "abcd abde",
    (7, 16): "abc bcd acd",
    (7, 8): "ab ac bc abc",
    (8, 128): "abcdefg",
    (8, 64): "abcd abef",
    (8, 32): "abc abd bcde",
    (8, 16): "bcd acd abc abd",
    (9, 256): "abcdefgh",
    (9, 128): "acdfg bcefg",
    (9, 64): "abcd acef cdef",
    (9, 32): "bcde acde abde abce",
    (9, 16): "abc bcd acd abd abcd",
    (10, 512): "abcdefghi",
    (10, 256): "abcde abcfgh",
    (10, 128): "abcg bcde acdf",
    (10, 64): "bcdf acdf abde abce",
    (10, 32): "abcd abce abde acde bcde",
    (10, 16): "abc bcd acd abd abcd ab",
}
MOST_AXES = max(axes for axes, _ in GENERATORS)  # of a fraction


def runs(axes: int) -> list[int]:
    """The sizes of the fractions of so many axes, the smallest first."""
    return sorted(size for k, size in GENERATORS if k == axes)


def full(axes: int) -> Any:
    """Every combination, those with the first axis at -1 first."""
    import numpy as np

    return np.array([*itertools.product((-1, 1), repeat=axes)])


def fraction(axes: int, size: int) -> Any:
    """The fraction of `axes` axes in `size` runs; the run with all axes at 1 is always in it."""
    import pydoe

    base = "abcdefghij"[: size.bit_length() - 1]
    return pydoe.fracfact(" ".join([*base, GENERATORS[axes, size]])).astype(int)


def resolution(design: Any) -> int:
    """The length of the shortest word of a fraction's defining relation; of a full design, one more than its axes."""
    words = [terms for terms in _groups(design) if design[:, terms[0]].prod(1).std() == 0]
    return len(words[0][0]) if words else design.shape[1] + 1


def smallest(axes: int, least: int) -> int | None:
    """The runs of the smallest fraction of at least this resolution, None if only the full design has it."""
    return next((size for size in runs(axes) if resolution(fraction(axes, size)) >= least), None)


def alias_sets(design: Any) -> list[list[Term]]:
    """Effects that the design cannot tell apart, the lowest order first; without the constant.

    Each set is headed by its effect of lowest order. A full design has as many sets as effects.
    """
    found = [terms for terms in _groups(design) if design[:, terms[0]].prod(1).std() != 0]
    return sorted(found, key=lambda terms: (len(terms[0]), terms[0]))


def _groups(design: Any) -> list[list[Term]]:
    axes = design.shape[1]
    if len(design) == 2**axes:
        orders = (itertools.combinations(range(axes), n) for n in range(1, axes + 1))
        return [[term] for terms in orders for term in terms]
    import pydoe

    sets, _ = pydoe.fracfact_aliasing(design)
    return [[tuple(ord(letter) - ord("a") for letter in word) for word in line.split(" = ")] for line in sets]


def column(design: Any, term: Sequence[int]) -> Any:
    """The product of the levels of an effect's axes, of every run."""
    return design[:, list(term)].prod(1)
