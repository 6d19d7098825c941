"""The first weights of a network: from the seed, from a file, from another run."""

from __future__ import annotations

import shutil

import pytest
import torch
from helpers.tiny_training import saved, trainer, weights
from safetensors.torch import save_file

import ablate
from ablate.config.recipe import key
from ablate.core.files import write_json
from ablate.core.registry import AXES, values
from ablate.planning import planner

FILE = """
name: further
seeds: [0]
plan: [{list: [{label: further, set: {init_from: {name: SPEC}}}]}]
"""


def on(spec):
    return ablate.apply(ablate.load_recipe("ict"), {"init_from": spec})


def hashed(recipe):
    return key(recipe, {}, 0)


@pytest.mark.parametrize("base", ["ict", "ct"])
def test_training_starts_from_a_file(base, tmp_path):
    """Student, teacher and average begin with its weights; the draws stay the seed's own."""
    other = trainer(seed=5)
    t = trainer(base=base, init_from={"name": "file", "path": saved(tmp_path, other)})
    for f in (t.f, t.teacher, t.average):
        assert torch.equal(weights(f.network), weights(other.network))
    assert torch.equal(t.draws(0).z, trainer().draws(0).z)


def test_a_folder_and_a_run_are_the_same_as_their_file(tmp_path):
    (tmp_path / "0123456789ab").mkdir()
    path = saved(tmp_path / "0123456789ab", trainer(seed=5))
    specs = [
        {"name": "file", "path": path},
        {"name": "file", "path": str(tmp_path / "0123456789ab")},
        {"name": "run", "key": "0123", "runs": str(tmp_path)},
    ]
    made = [weights(trainer(init_from=spec).network) for spec in specs]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


def test_the_key_knows_what_a_file_holds_and_not_where_it_lies(tmp_path):
    first = saved(tmp_path, trainer(seed=5))
    moved = shutil.copy(first, tmp_path / "moved.safetensors")
    a, b = (hashed(on({"name": "file", "path": str(p)})) for p in (first, moved))
    assert a == b
    assert a != hashed(ablate.load_recipe("ict"))
    saved(tmp_path, trainer(seed=6))
    assert hashed(on({"name": "file", "path": first})) != a


def test_cells_that_start_from_scratch_keep_the_keys_they_had_before_the_axis():
    recipe = ablate.load_recipe("ict")
    assert "init_from" in recipe.flat()
    assert "init_from" not in recipe.keyed()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("file, path: none.safetensors", "init_from.path: 'none.safetensors': there is no "),
        ("file, path: exported", "exported; `ablate export KEY --out FOLDER`, or `ablate convert "),
        ("file, path: .", "init_from.path: '.': there is no model.safetensors"),
        ("file, path: further.yaml", "init_from.path: 'further.yaml': not a safetensors file"),
        ("run, key: abc, runs: empty", "init_from.key: 'abc': no finished cell in "),
        ("run, key: not-a-key", "init_from.key: 'not-a-key'"),
        ("file", "init_from.path: file needs a value here"),
    ],
)
def test_what_is_not_there_is_said_at_load(spec, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "further.yaml").write_text(FILE.replace("SPEC", spec))
    with pytest.raises(ablate.SpecError) as caught:
        planner.load(tmp_path / "further.yaml")
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def test_weights_of_another_network_are_one_line(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(ablate.SpecError) as caught:
        trainer(init_from={"name": "file", "path": str(path)})
    assert "weights of another network" in str(caught.value)
    assert "\n" not in str(caught.value)


SMALL = {
    "unet2d": {
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
    "": {"width": 32, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
}
OTHER = {  # than what the small networks have
    "second_level": "end",
    "width": 64,
    "multipliers": [1, 1],
    "blocks": 3,
    "attention": [],
    "head_channels": 16,
    "block_out_channels": [16, 16],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "dropout": 0.5,
}


def tensors(name, **changes):
    option = AXES["network"].build({"name": name, **SMALL.get(name, SMALL[""]), **changes})
    with torch.device("meta"):
        return {n: tuple(t.shape) for n, t in option((3, 8, 8), 0).state_dict().items()}


@pytest.mark.parametrize("name", sorted({*AXES["network"].options} - {"module"}))
def test_a_field_of_a_network_shows_in_its_tensors_or_is_declared(name):
    if name == "unet2d":
        pytest.importorskip("diffusers")
    option = AXES["network"].option(name)
    for field, value in AXES["network"].fields(name).items():
        start = {field: "gap"} if field == "second_level" else {}  # unset, it shows
        same = tensors(name, **start) == tensors(name, **{field: OTHER.get(field, not value)})
        assert same == (field in (*option.free, *option.unseen)), field
    assert not {*option.unseen} & {*option.free}
    assert {*option.unseen} <= {*AXES["network"].fields(name)}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("ncsnpp", "divide_by_sigma", True),
        ("ddpmpp", "second_level", "end"),
        ("adm", "head_channels", 16),
        ("unet2d", "norm_num_groups", 8),
    ],
)
def test_fields_that_no_tensor_shows_are_compared(name, field, value, tmp_path):
    if name == "unet2d":
        pytest.importorskip("diffusers")
    small = SMALL.get(name, SMALL[""])
    small = {**small, "second_level": "gap"} if field == "second_level" else small
    before = AXES["network"].build({"name": name, **small})
    save_file(before((3, 8, 8), 0).state_dict(), tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"specs": {"network": {"name": name, **values(before)}}})
    start = on({"name": "file", "path": str(tmp_path)})
    start = ablate.apply(start, {"network": {"name": name, **small}, "pairing": "denoising"})
    start.init_from.fits(start.parts(), (3, 8, 8), 0)
    changed = ablate.apply(start, {f"network.{field}": value})
    with pytest.raises(ablate.SpecError, match=f"weights of another network: network.{field} must be "):
        changed.init_from.fits(changed.parts(), (3, 8, 8), 0)


def test_doctor_examines_a_recipe_without_the_weights_it_starts_from(tmp_path):
    from ablate.config.profile import load_profile
    from ablate.doctor import bench

    recipe = on({"name": "file", "path": saved(tmp_path, trainer(seed=5))})
    made = bench.Bench(recipe, load_profile("digits"), (1, 8, 8))
    made.trainer(made.heavy).step()
