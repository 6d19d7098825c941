from __future__ import annotations

import itertools

import torch

import ablate

x, z = torch.randn(2, 5, 1, 3, 3, generator=torch.Generator().manual_seed(0))


def test_independent_leaves_the_noise():
    assert ablate.build("coupling", "independent")(x, z) is z


def test_minibatch_ot_is_the_cheapest_permutation():
    paired = ablate.build("coupling", "minibatch_ot")(x, z)
    costs = [
        sum(float((x[i] - z[j]).square().sum()) for i, j in enumerate(p))
        for p in itertools.permutations(range(5))
    ]
    assert abs(float((x - paired).square().sum()) - min(costs)) < 1e-4
    assert sorted(map(float, paired.flatten(1).sum(1))) == sorted(map(float, z.flatten(1).sum(1)))
