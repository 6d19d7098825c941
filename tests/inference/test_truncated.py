"""Below the level of its teacher the model is another cell's network, so a cell is not sampled there."""

from __future__ import annotations

import pytest
from helpers import untrained

from ablate.core.errors import SpecError
from ablate.core.files import read_json
from ablate.inference import intermediate_sigma, tasks
from ablate.inference.measure_again import Wanted
from ablate.inference.model import load

LEVEL = 1.0
TCM = {**untrained.SMALL, "teacher": {"name": "frozen_below", "recipe": "ect_tuned", "level": LEVEL}}
SAID = r"--sigmas 0.5: below teacher.level=1 of cell cell, where the model is another cell's network"


@pytest.fixture
def store(tmp_path):
    return untrained.store(tmp_path, **TCM)


@pytest.fixture
def model(store):
    return load(store, "cell")


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.sample(2, [2.0, 0.5]),
        lambda m: Wanted(sigmas=(2.0, 0.5)).schedules(m.cell),
        lambda m: tasks.inpaint(m, m.sample(2), [80.0, 0.5], 0),
        lambda m: tasks.denoise(m, m.sample(2), [0.5], 0),
    ],
    ids=["sample", "evaluate", "edit", "denoise"],
)
def test_lower_levels_are_refused_by_name(model, use):
    with pytest.raises(SpecError, match=SAID):
        use(model)


def test_levels_from_it_upwards_are_sampled(model):
    assert tasks.denoise(model, model.sample(2), [], 0).shape == (2, 3, 1, 8, 8)  # by default from its level
    assert model.sample(2, [2.0, 1.0]).shape == (2, 1, 8, 8)
    assert Wanted(sigmas=(80.0, 1.0)).schedules(model.cell) == [[80.0, 1.0]]
    assert min(tasks.descent(model)) > LEVEL
    assert min(tasks.descent(load_plain(model))) < 0.1


def load_plain(model):
    """The same model of a recipe without such a teacher."""
    import dataclasses

    import ablate

    recipe = dataclasses.replace(model.cell.recipe, teacher=ablate.build("teacher", "none"))
    return dataclasses.replace(model, cell=dataclasses.replace(model.cell, recipe=recipe))


def test_the_best_second_step_is_searched_above_it(store, monkeypatch):
    asked = []

    class Measure:
        def __init__(self, model, *_):
            self.model, self.n = model, 8
            self.extractor = self.reference = type("Named", (), {"label": "none"})

        def samples(self, seed):
            two = lambda t: asked.append(t) or (t - 0.3) ** 2  # noqa: E731
            two.first = 9.0
            return two

        def fid(self, value):
            return float(value)

    monkeypatch.setattr(intermediate_sigma, "TwoStepFid", Measure)
    found = intermediate_sigma.write(store, "cell")
    assert min(asked) >= LEVEL
    assert found["sigma"] == pytest.approx(LEVEL, rel=0.02)
    assert list(found["fixed"]) == ["1.526"]
    assert min(sigma for sigma, _ in found["curve"]) >= LEVEL
    assert read_json(store.folder("cell").path / "midpoint.json")["fixed"].keys() == {"1.526"}
    assert (store.folder("cell").path / "midpoint.png").exists()
