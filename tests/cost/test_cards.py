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


def decided(tmp_path, rows, weight):
    """Memory and hours on each card, where the step of a recipe takes `weight` of it, in GB."""

    def memory(recipe, profile):
        step = int(weight(recipe) * GB)
        return {"step": step, "micro_step": step, "sampling": 1, "operations": 10 * step // GB}

    with mock.patch.object(kept, "memory", memory):
        found = cards.fits(groups(tmp_path, f"[{{list: [{', '.join(rows)}]}}]"))
    return [(round(fit.gb, 2), pytest.approx(fit.hours)) for fit in found]


@pytest.mark.parametrize(
    ("light", "heavy"),
    [
        ("precision: bf16", "precision: fp32"),
        ("pairing: {name: ect}", "pairing: {name: mean_flow}, network.second_level: gap"),
        ("network.width: 8", "network.width: 24"),
        ("network: ddpmpp", "network: ncsnpp"),
        # these compute the same, and only one of them is counted
        ("teacher: none", "teacher: adaptive"),
        ("network.dropout: 0.0", "network.dropout: 0.2"),
        ("network.checkpointing: true", "network.checkpointing: false"),
        ("optimizer: lion", "optimizer: radam"),
    ],
)
def test_the_heaviest_cell_decides_in_any_order(tmp_path, light, heavy):
    """And every cell takes the hours of its own operations."""
    rows = [f"{{label: light, set: {{{light}}}}}", f"{{label: heavy, set: {{{heavy}}}}}"]
    (planned,) = [planner.load(written(tmp_path, rows[1:]), overrides=SMALL)]
    specs = next(iter(planned.cells.values())).recipe.specs()

    def weight(recipe):
        return 5 if recipe.specs() == specs else 2

    alone = [decided(tmp_path, [row], weight) for row in rows]
    for ordered in (rows, rows[::-1]):
        together = decided(tmp_path, ordered, weight)
        assert [gb for gb, _ in together] == [gb for gb, _ in alone[1]]
        assert [gb for gb, _ in alone[0]] != [gb for gb, _ in alone[1]]


def written(tmp_path, rows):
    file = tmp_path / "one.yaml"
    file.write_text(f"name: one\nseeds: [0, 1]\nplan: [{{list: [{', '.join(rows)}]}}]\n")
    return file


def test_hours_are_those_of_each_row_by_its_own_precision_and_operations(tmp_path):
    rows = ["{label: a, set: {precision: bf16}}", "{label: b, set: {precision: fp32}}"]

    def hours(rows, operations):
        def memory(recipe, _):
            n = operations if recipe.precision.name == "fp32" else 0
            return {"step": 1, "micro_step": 1, "sampling": 1, "operations": n}

        with mock.patch.object(kept, "memory", memory):
            return [f.hours for f in cards.fits(groups(tmp_path, f"[{{list: [{', '.join(rows)}]}}]"))]

    for operations in (0, 10**6):
        parts = [hours([row], operations) for row in rows]
        for ordered in (rows, rows[::-1]):
            assert hours(ordered, operations) == pytest.approx([a + b for a, b in zip(*parts, strict=True)])


@pytest.mark.parametrize(
    ("planned", "batch", "step", "expected"),
    [
        (4, 16, 20 * GB, [4, 4, 4, 4]),  # it would fit in one part too
        (2, 16, 60 * GB, [4, 2, 2, 2]),
        (3, 12, 60 * GB, [3, 3, 3, 3]),  # no power of two
        (3, 12, 200 * GB, [4, 3, 3, 3]),
        (5, 15, 20 * GB, [5, 5, 5, 5]),  # of an odd batch no smaller part is counted
        (16, 16, 200 * GB, [16, 16, 16, 16]),
    ],
)
def test_the_profiles_own_micro_batches_are_kept_where_they_fit(tmp_path, planned, batch, step, expected):
    some = groups(tmp_path, **{"profile.accumulate": planned, "profile.batch": batch, "profile.images": 480})
    found = fits(some, step=step)
    assert [fit.accumulate for fit in found] == expected
    for fit, line in zip(found, cards.format_fits(found).splitlines()[1:], strict=True):
        named = f" with --set profile.accumulate={fit.accumulate}:"
        assert (named in line) == (fit.accumulate != planned)
        assert "--set" not in line or named in line


def test_memory_and_hours_are_those_of_the_profiles_own_micro_batches(tmp_path):
    one, four = (
        fits(groups(tmp_path, **{"profile.accumulate": n}), step=17 * GB, operations=10**6) for n in (1, 4)
    )
    assert [fit.gb for fit in one] == pytest.approx([17] * 4, rel=0.01)
    assert [fit.gb for fit in four] == pytest.approx([1 + 16 * (1 / 4 - 1 / 16) / (1 - 1 / 16)] * 4, rel=0.01)
    assert four[0].hours / one[0].hours == pytest.approx(4, rel=0.01)


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
