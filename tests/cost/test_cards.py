"""Which cards hold a cell, with how many micro-batches, and for how many hours; counts are made up here."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from helpers import cli

from ablate.cost import cards, estimate, kept
from ablate.planning import planner

SMALL = {"profile.images": 512, "profile.evaluation.samples": 64}
GB = 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "CACHE", str(tmp_path / "counts"))


def groups(tmp_path, plan="[{list: [{}]}]", **overrides):
    (tmp_path / "some.yaml").write_text(f"name: some\nseeds: [0, 1]\nplan: {plan}\n")
    return estimate.groups(planner.load(tmp_path / "some.yaml", overrides=SMALL | overrides), tmp_path)


def fits(groups, **counts):
    made = {"step": GB, "micro_step": GB, "sampling": GB, "operations": 1000, **counts}
    with mock.patch.object(kept, "memory", return_value=made):
        return cards.fits(groups)


def test_every_card_has_a_name_memory_and_rates():
    assert [card.memory_gb for card in cards.cards()] == [24, 40, 80, 141]
    assert all(card.bf16 > card.fp32 > 0 and card.name for card in cards.cards())


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (20 * GB, [1, 1, 1, 1]),
        (60 * GB, [4, 2, 1, 1]),  # 1 GB and 59 more at batch 16: 21.6 and 36 GB may be used
        (200 * GB, [8, 8, 4, 2]),
    ],
)
def test_the_fewest_micro_batches_that_fit_are_named(tmp_path, step, expected):
    assert [fit.accumulate for fit in fits(groups(tmp_path), step=step)] == expected


def test_what_never_fits_says_so(tmp_path):
    found = fits(groups(tmp_path), step=90 * GB, micro_step=50 * GB)
    assert [fit.accumulate for fit in found] == [None, None, 2, 1]
    lines = cards.format_fits(found).splitlines()
    assert "does not fit: 50 GB even with the smallest micro-batches" in lines[1]
    assert "--set profile.accumulate=2" in lines[3]
    assert "estimated, not measured" in lines[0]


def test_sampling_counts_whatever_the_micro_batches_are(tmp_path):
    assert [fit.accumulate for fit in fits(groups(tmp_path), sampling=30 * GB)] == [None, 1, 1, 1]


def test_hours_follow_the_rate_of_the_precision_or_the_number_of_operations(tmp_path):
    rows = {p: groups(tmp_path, **{"precision": p}) for p in ("fp32", "bf16")}
    a100 = {p: fits(g, operations=0)[1].hours for p, g in rows.items()}
    assert a100["fp32"] / a100["bf16"] == pytest.approx(312 / 19.5)
    flops = sum(g.missing * (g.training + g.sampling) for g in rows["bf16"])
    assert a100["bf16"] == pytest.approx(flops / (cards.SHARE * 312e12) / 3600)
    busy = fits(rows["bf16"], operations=10**6)[1].hours
    assert busy == pytest.approx(2 * 32 * 10**6 * cards.LAUNCH_S / 3600, rel=0.01)


def test_the_largest_network_of_the_file_decides(tmp_path):
    plan = "[{grid: {network.width: [8, 24, 16]}}, {list: [{set: {network: ddpmpp}}]}]"
    asked = []
    made = {"step": GB, "micro_step": GB, "sampling": GB, "operations": 1}
    with mock.patch.object(kept, "memory", lambda recipe, _: asked.append(recipe.network) or made):
        cards.fits(groups(tmp_path, plan))
    assert sorted((n.name, n.width) for n in asked) == [("ddpmpp", 16), ("ncsnpp", 24)]


def test_a_dry_run_shows_the_cards_if_asked_or_if_a_cpu_would_take_long(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text("name: some\nplan: [{list: [{}]}]\n")
    made = {"step": GB, "micro_step": GB, "sampling": GB, "operations": 1}
    with mock.patch.object(kept, "memory", return_value=made):
        short = cli.call("run", file, "--dry-run", cwd=tmp_path)
        asked = cli.call("run", file, "--dry-run", "--cards", "--json", cwd=tmp_path)
        long = cli.call("run", file, "--dry-run", "--set", "profile.images=112000000", cwd=tmp_path)
    assert "H100" not in short.stdout
    assert [c["card"] for c in json.loads(asked.stdout)["cards"]] == [c.name for c in cards.cards()]
    assert "H100 80GB   fits: " in long.stdout
    assert not (tmp_path / "runs").exists()
