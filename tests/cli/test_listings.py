from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.cli import call

import ablate
from ablate.cli import listings
from ablate.config.profile import load_profile
from ablate.core.registry import AXES


def test_the_list_has_contract_fields_and_doc_of_every_option():
    plain = json.loads(json.dumps(listings.plain(list(AXES))))
    assert plain["metric"]["options"]["pseudo_huber"]["fields"] == {"c": None}
    assert plain["noise"]["options"]["lognormal"]["fields"] == {"p_mean": -1.1, "p_std": 2.0}
    assert plain["metric"]["contract"].startswith("x, y (B, C, H, W) -> (B,)")
    for axis in plain.values():
        assert all(option["doc"] for option in axis["options"].values())


def test_the_networks_of_the_paper_are_counted():
    profile = load_profile("cifar10-paper")
    ict = ablate.load_recipe("ict")
    counted = listings.count_flops(ict, profile)
    assert counted["parameters"] == pytest.approx(56.4e6, rel=0.01)
    assert counted["flops_forward"] == pytest.approx(42.8e9, rel=0.02)
    assert counted["flops_step"] == pytest.approx(171e9, rel=0.02)
    spec = {"network": "ddpmpp", "embedding": {"name": "positional", "channels": 128}}
    assert listings.count_flops(ablate.apply(ict, spec), profile)["parameters"] == pytest.approx(
        55.7e6, rel=0.01
    )


def test_the_network_of_imagenet_is_counted_without_its_images():
    shown = listings.described("ict", "imagenet64-paper", {}, Path("runs"))
    assert shown["recipe"]["network"] == "adm"
    assert shown["parameters"] == pytest.approx(296e6, rel=0.01)
    assert shown["flops_forward"] == pytest.approx(219.3e9, rel=0.02)
    assert shown["steps"] == 800_000


def test_a_difference_is_a_table_and_equality_is_said():
    ict = ablate.load_recipe("ict")
    assert "same recipe" in listings.changes("a", "b", ablate.diff(ict, ict))
    table = listings.changes("ict", "ct", ablate.diff(ict, ablate.load_recipe("ct")))
    assert "teacher" in table
    assert "adaptive" in table


@pytest.mark.parametrize(("a", "b"), [("ict", "sct"), ("sct", "ict"), ("ct", "meanflow"), ("edm", "tcm")])
def test_the_fields_of_an_axis_stand_together_in_the_order_of_the_axes(a, b, tmp_path):
    found = json.loads(call("diff", a, b, "--json", cwd=tmp_path).stdout)
    assert {k: tuple(v) for k, v in found.items()} == plain(ablate.diff(*map(ablate.load_recipe, (a, b))))
    axes = [field.split(".")[0] for field in found]
    assert axes == sorted(axes, key=list(AXES).index)
    text = call("diff", a, b, cwd=tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in text[1:]] == list(found)


def plain(found):
    return {k: tuple(list(v) if isinstance(v, tuple) else v for v in pair) for k, pair in found.items()}
