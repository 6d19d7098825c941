from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

import ablate
from ablate.core.errors import nearest, yaml_hint
from ablate.core.registry import AXES, values


def problem(axis, spec):
    with pytest.raises(ablate.SpecError) as caught:
        ablate.build(axis, spec)
    return str(caught.value)


def test_a_name_and_a_mapping_build_the_same():
    assert ablate.build("metric", "l2") == ablate.build("metric", {"name": "l2"})


def test_an_ingredient_is_its_own_spec():
    huber = ablate.build("metric", {"name": "pseudo_huber", "c": 0.3})
    assert ablate.build("metric", huber) is huber


@pytest.mark.parametrize("axis", AXES)
def test_every_option_that_can_be_built_without_more_equals_itself_as_a_spec(axis):
    for name in AXES[axis].options:
        try:
            built = ablate.build(axis, name)
        except ablate.SpecError as error:
            assert "needs" in str(error)  # a package or a value
            continue
        assert ablate.build(axis, {"name": name, **values(built)}) == built


@pytest.mark.parametrize("axis", AXES)
def test_every_option_is_a_frozen_dataclass_with_a_docstring_and_a_contract(axis):
    assert AXES[axis].contract
    for name, option in AXES[axis].options.items():
        assert dataclasses.is_dataclass(option), name
        assert option.__dataclass_params__.frozen, name
        assert AXES[axis].doc(name), name


def test_nearest_word_of_an_option_and_of_a_field():
    assert "did you mean 'pseudo_huber'" in problem("metric", "psuedo_huber")
    assert "did you mean 'p_mean'" in problem("noise", {"name": "lognormal", "p_maen": 1.0})
    assert "did you mean 'metric'" in problem("metrics", "l2")


def test_all_mistakes_of_a_spec_at_once():
    text = problem("noise", {"name": "lognormal", "p_mean": "low", "p_std": -1, "q": 2})
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("wrong", ["1e-4", True, None, [1.0], {"a": 1}, float("nan"), float("inf"), -1, 0])
def test_a_wrong_value_names_path_and_value(wrong):
    if wrong is None:
        assert ablate.build("metric", {"name": "pseudo_huber", "c": None}).c is None
        return
    text = problem("metric", {"name": "pseudo_huber", "c": wrong})
    assert text.startswith("metric.c: ")
    assert len(text.splitlines()) == 1


def test_yaml_hints():
    assert "leave the quotes out" in yaml_hint("1e-4")
    assert "quote" in yaml_hint(False)
    assert [yaml_hint(word) for word in ("plain", "1_6", "nan", "0x1", "1:30", "")] == [""] * 6


def test_off_and_null_as_an_option_are_explained():
    assert "quote the word" in problem("teacher", False)
    assert "null" in problem("teacher", None)


def test_a_user_adds_an_option_in_one_place():
    @ablate.AXES["metric"]("test_scaled_l1")
    @dataclass(frozen=True)
    class Scaled:
        """|x - y| times a scale."""

        scale: float = 2.0

        def __call__(self, x, y):
            return self.scale * (x - y).abs().flatten(1).sum(1)

    try:
        recipe = ablate.apply(ablate.load_recipe("ict"), {"metric": "test_scaled_l1", "metric.scale": 3.0})
        assert recipe.flat()["metric.scale"] == 3.0
        assert "metric" in recipe.sources()  # foreign code is part of the key
    finally:
        del ablate.AXES["metric"].options["test_scaled_l1"]


def test_what_is_no_frozen_dataclass_is_refused():
    with pytest.raises(TypeError, match="frozen"):
        ablate.AXES["metric"]("test_bad")(type("Bad", (), {"__call__": lambda self: None}))


def test_a_name_can_not_be_taken_twice():
    @dataclass(frozen=True)
    class Other:
        def __call__(self, x, y):
            return x

    with pytest.raises(ValueError, match="registered already"):
        ablate.AXES["metric"]("l2")(Other)


def test_nearest_lists_the_words_when_none_is_near():
    assert nearest("zzz", ["alpha", "beta"]) == "there are: alpha, beta"


@pytest.mark.parametrize("axis", AXES)
def test_an_option_that_says_nothing_has_the_answers_of_its_axis(axis):
    @dataclass(frozen=True)
    class Silent:
        def __call__(self):
            return 0

    AXES[axis]("test_silent")(Silent)
    try:
        option = AXES[axis].build("test_silent")
        for base in AXES[axis].base.__mro__[:-1]:
            for name in (n for n in vars(base) if not n.startswith("__")):
                assert getattr(Silent, name) is getattr(AXES[axis].base, name)
        assert option.for_images((1, 8, 8)) is option
        assert (option.require(), option.content(), option.replays) == (None, "", ())
    finally:
        del AXES[axis].options["test_silent"]


def test_an_option_keeps_the_answers_that_it_gives():
    assert AXES["averaging"].options["swapped"].replays == ("D10",)
    assert AXES["averaging"].options["swapped"].update is not AXES["averaging"].base.update
    assert AXES["metric"].options["l1"].whole_image_norm is False


def test_a_page_lists_all_that_an_option_can_answer():
    page = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    asked = {base for axis in AXES.values() for base in axis.base.__mro__[:-1]}
    names = {n for base in asked for n in {**vars(base)} if not n.startswith("__")}
    assert not {name for name in names if f"`{name}`" not in page}


@pytest.mark.parametrize("name", ["", "my metric", "a=b", ".a", "a\nb", "a/b"])
def test_an_option_has_a_name_that_can_be_typed(name):
    @dataclass(frozen=True)
    class Odd:
        def __call__(self):
            return None

    with pytest.raises(ValueError, match="an option's name is"):
        AXES["metric"](name)(Odd)
    assert name not in AXES["metric"].options
