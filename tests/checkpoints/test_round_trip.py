"""A network written in another project's format and converted back is the same, bit for bit."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from helpers import foreign, untrained
from safetensors.torch import load_file, save_file

from ablate.checkpoints.consistency_models import ConsistencyModels
from ablate.checkpoints.convert import convert
from ablate.checkpoints.edm import EDM
from ablate.inference.export import export

needs_diffusers = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="the extra diffusers is not installed"
)
FOURIER = {"name": "fourier", "scale": 16.0, "channels": 32}
PLAIN = {"name": "positional", "channels": 16}
WIDE = {"name": "positional", "channels": 128}
EDMS = [
    foreign.architecture("ddpmpp"),
    foreign.architecture("ddpmpp", classes=5, multipliers=[2, 1, 3], blocks=2, attention=[8, 2]),
    foreign.architecture("ddpmpp", embedding=FOURIER, attention=[]),
    foreign.architecture("ncsnpp", embedding=FOURIER),
    foreign.architecture("ncsnpp", classes=3, embedding={**FOURIER, "scale": 0.02}, deep=True),
    foreign.architecture("ncsnpp", embedding={**FOURIER, "stored": True}, shape=(1, 16, 16)),
    foreign.architecture("adm", embedding=PLAIN),
    foreign.architecture("adm", classes=4, embedding=PLAIN, multipliers=[2, 1], attention=[8, 4], blocks=2),
    foreign.architecture("adm", embedding={**PLAIN, "channels": 64}, width=64, multipliers=[1, 2]),
]


def rebuilt(found, folder):
    built = found.network.option()(found.network.shape, found.network.classes)
    built.load_state_dict(load_file(folder / "model.safetensors"))
    return built.state_dict()


def same(one, two):
    assert list(one) == list(two)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["pt", "safetensors", "pkl", "bare"])
@pytest.mark.parametrize("made", EDMS, ids=lambda m: f"{m.network['name']}-{m.classes}-{m.levels}")
def test_edm(made, kind, tmp_path):
    ours = foreign.network(made, seed=3).state_dict()
    if "condition.embedding.frequencies" in ours:  # another project's own
        ours["condition.embedding.frequencies"].normal_()
    theirs = EDM().written(made, ours)
    file = tmp_path / f"network.{kind}"
    if kind == "pkl":
        foreign.persistent(file, theirs, loss_fn=None)
    elif kind == "safetensors":
        save_file(theirs, file)
    else:
        names = {n.removeprefix("model.") if kind == "bare" else n: t for n, t in theirs.items()}
        torch.save({"ema": names, "step": 3} if kind == "bare" else names, file)
    found = convert(file, tmp_path / "out")
    same(rebuilt(found, tmp_path / "out"), ours)
    assert found.predicts == "denoiser"
    assert found.network.blocks == made.blocks
    assert (found.network.shape, found.network.classes) == (made.shape, made.classes)


@pytest.mark.parametrize(
    ("classes", "fields"),
    [(0, {}), (4, {"multipliers": [1, 2], "attention": [8, 4]}), (0, {"blocks": 2, "multipliers": [2, 1]})],
)
def test_consistency_models(classes, fields, tmp_path):
    size = {"width": 128, "multipliers": [1], "blocks": 1, "attention": [8], **fields}
    made = foreign.architecture("adm", classes, WIDE, (1, 8, 8), **size)
    ours = foreign.network(made).state_dict()
    torch.save(ConsistencyModels().written(made, ours), tmp_path / "ct.pt")
    found = convert(tmp_path / "ct.pt", tmp_path / "out", resolution=8)
    same(rebuilt(found, tmp_path / "out"), ours)
    assert found.predicts == "consistency"
    assert found.specs["noise_precond"] == {"name": "cm"}


COMPATIBLE = {
    "network": {
        "name": "unet2d",
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
    "embedding": {"name": "positional", "channels": 16},
    "noise_precond": "cm",
}


@needs_diffusers
@pytest.mark.parametrize("endpoint", [False, True])
@pytest.mark.parametrize("form", ["pipeline", "unet", "shards", "sines first"])
def test_diffusers(form, endpoint, tmp_path, monkeypatch):
    from diffusers import UNet2DModel

    monkeypatch.setattr("ablate.inference.model.image_shape", lambda profile: foreign.SHAPE)
    embedding = {**COMPATIBLE["embedding"], "endpoint": endpoint}
    store = untrained.store(tmp_path, foreign.SHAPE, **{**COMPATIBLE, "embedding": embedding})
    source = export(store, "cell", tmp_path / "pipe", diffusers=True)
    ours = load_file(source / "model.safetensors")
    if form != "pipeline":
        unet, source = UNet2DModel.from_pretrained(source / "unet"), source / "unet"
        if form == "shards":
            source = tmp_path / "shards"
            unet.save_pretrained(source, max_shard_size="50KB")
            assert len([*source.glob("*.safetensors")]) > 2
        if form == "sines first":
            linear = unet.time_embedding.linear_1
            linear.weight.data = linear.weight.data.roll(8, 1)
            unet.register_to_config(flip_sin_to_cos=False)
            unet.save_pretrained(source)
    found = convert(source, tmp_path / "out")
    same(rebuilt(found, tmp_path / "out"), {name: ours[name] for name in found.network.blank()})
    assert found.specs["embedding"]["endpoint"] is endpoint


@pytest.mark.parametrize("change", [{}, {"network": "adm", "network.width": 16, "network.head_channels": 8}])
def test_our_own_export(change, tmp_path, monkeypatch):
    monkeypatch.setattr("ablate.inference.model.image_shape", lambda profile: (1, 8, 8))
    small = {**untrained.SMALL, "network.attention": [4], **change}
    source = export(untrained.store(tmp_path, **small), "cell", tmp_path / "exported")
    found = convert(source, tmp_path / "out")
    same(load_file(tmp_path / "out" / "model.safetensors"), load_file(source / "model.safetensors"))
    written = json.loads((source / "config.json").read_text())["specs"]
    assert {axis: found.specs[axis] for axis in ("network", "embedding")} == {
        axis: written[axis] for axis in ("network", "embedding")
    }


def test_the_drawn_frequencies_need_no_place_in_the_weights():
    for scale in (16.0, 0.02, 3.7):
        made = foreign.architecture("ncsnpp", embedding={**FOURIER, "scale": scale})
        theirs = EDM().written(made, foreign.network(made).state_dict())
        found = EDM().described(theirs, {}, None)
        assert (found.embedding["stored"], found.embedding["scale"]) == (False, scale)
    theirs["model.map_noise.freqs"][3] += 1e-3
    assert EDM().described(theirs, {}, None).embedding["stored"]
