from __future__ import annotations

import math

import pytest
import torch
from helpers import untrained

from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.evaluation import evaluate
from ablate.inference import intermediate_sigma
from ablate.inference.intermediate_sigma import LADDER, TwoStepFid, search
from ablate.inference.model import load
from ablate.training.sampling import generate


@pytest.mark.parametrize("lowest", [1, 63, 64, 492, 571, 1000, 1279])
def test_a_valley_is_found_to_the_point(lowest):
    found = search(lambda i: abs(i - lowest) ** 0.5)
    assert min(found, key=found.get) == lowest


def test_the_deeper_of_two_valleys_is_found():
    found = search(lambda i: min((i - 200) ** 2 + 500, (i - 1010) ** 2))
    assert min(found, key=found.get) == 1010


def test_no_point_costs_twice_and_the_ends_cost_nothing():
    asked = []
    found = search(lambda i: asked.append(i) or math.cos(i))
    assert len(asked) == len(set(asked)) == len(found) == 31
    assert min(asked) > 0
    assert max(asked) < LADDER - 1


TWO_LEVELS = {
    "network": "ddpmpp",
    **untrained.SMALL,
    "network.second_level": "gap",
    "pairing": "mean_flow",
}


@pytest.fixture(params=[{}, TWO_LEVELS], ids=["one level", "two levels"])
def judge(tmp_path, monkeypatch, request):
    extractor = evaluate.Extractor("none", "none", None, "0")
    monkeypatch.setattr(evaluate, "extractor", lambda *_: extractor)
    store = untrained.store(tmp_path, **request.param)
    return TwoStepFid(load(store, "cell"), 24, store.cache)


@pytest.mark.parametrize("t", [0.002, 0.821, 40.0])
def test_cached_samples_are_those_of_the_sampler(judge, t):
    wanted = generate(judge.model.f, (1, 8, 8), 24, [80.0, t], 0.002, seed=3)
    torch.testing.assert_close(judge.samples(3)(t), wanted)
    torch.testing.assert_close(
        judge.samples(3).first, generate(judge.model.f, (1, 8, 8), 24, [80.0], 0.002, seed=3)
    )


def test_what_is_found_is_judged_by_seeds_that_the_search_did_not_see(judge, monkeypatch, tmp_path):
    seeds, level = [], {}

    def samples(seed):
        seeds.append(seed)
        level["seed"] = seed
        two_step = lambda t: torch.tensor((math.log(t) - math.log(2)) ** 2 + seed)  # noqa: E731
        two_step.first = torch.tensor(99.0)
        return two_step

    monkeypatch.setattr(judge, "samples", samples)
    monkeypatch.setattr(judge, "fid", float)
    found = intermediate_sigma.best_sigma(judge)
    assert seeds == [0, 1, 2, 3]
    assert found["sigma"] == pytest.approx(2, rel=0.01)
    assert found["searched"] == pytest.approx(0, abs=1e-4)
    assert found["fid"] == pytest.approx(2, abs=1e-4)
    assert found["by_seed"]["best"] == pytest.approx([1, 2, 3], abs=1e-4)
    assert found["one_step"] == 99
    assert set(found["fixed"]) == {"0.821", "1.526"}
    assert [s for s, _ in found["curve"]] == sorted(s for s, _ in found["curve"])
    intermediate_sigma.draw(found, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "one step" in intermediate_sigma.format_result(found)


def test_the_result_stands_beside_the_record(tmp_path, monkeypatch):
    store, n = untrained.store(tmp_path), []
    measured = evaluate.Measured(16, {"fid": {"value": 5.0}})
    monkeypatch.setattr(evaluate, "extractor", lambda *_: evaluate.Extractor("none", "none", None, "0"))
    monkeypatch.setattr(evaluate, "measure", lambda x, *_: n.append(len(x)) or measured)
    found = intermediate_sigma.write(store, "cell", 16)
    assert set(n) == {16}
    assert len(n) == 31 + 3 * 4
    assert read_json(store.folder("cell").path / "midpoint.json") == found
    assert (store.folder("cell").path / "midpoint.png").exists()


def test_other_images_are_refused(tmp_path):
    store = untrained.store(tmp_path)
    model = load(store, "cell")
    object.__setattr__(model.cell, "fingerprint", "another")
    with pytest.raises(SpecError, match="images changed"):
        TwoStepFid(model, 16, store.cache)
