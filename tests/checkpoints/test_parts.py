"""Weights in EDM's layout give here what the layout means there, computed by hand from its own tensors."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import foreign
from torch.nn import functional as F

import ablate
from ablate.checkpoints.convert import convert
from ablate.checkpoints.edm import EDM
from ablate.checkpoints.layout import SWAP_COLUMNS, SWAP_ROWS, TRANSPOSE, heads_first
from ablate.training.denoiser import Denoiser

CLASSES = 3
C_NOISE = torch.tensor([-1.55, -0.3, 0.0, 1.1])
PLAIN = {"name": "positional", "channels": 64}
MADE = {
    "ddpmpp": foreign.architecture("ddpmpp", CLASSES),
    "ncsnpp": foreign.architecture("ncsnpp", CLASSES, {"name": "fourier", "channels": 32, "stored": True}),
    "adm": foreign.architecture("adm", CLASSES, PLAIN, width=64, multipliers=[2, 1], attention=[8, 4]),
}


def layout(made):
    """Random tensors with the names and shapes of EDM's, its label layers and its augmentation layer included."""
    theirs = EDM().written(made, foreign.network(made).state_dict())
    if made.network["name"] != "adm":
        channels = made.embedding["channels"]
        theirs |= {"model.map_augment.weight": torch.randn(channels, 9)}
        theirs["model.map_label.bias"] = torch.randn(channels)
    if made.embedding["name"] == "fourier":
        theirs["model.map_noise.freqs"] = 16 * torch.randn(made.embedding["channels"] // 2)
    return theirs


def converted(made, theirs, folder):
    torch.save(theirs, folder / "net.pt")
    found = convert(folder / "net.pt", folder / "out")
    built = found.network.option()(found.network.shape, found.network.classes).eval()
    built.load_state_dict(found.tensors)
    return found, built


def song(t, c_noise, label):
    """Sines first; a linear map of the label with a bias, which is there for any label; two layers."""
    if "map_noise.freqs" in t:
        phase = c_noise.outer(2 * math.pi * t["map_noise.freqs"])
    else:
        half = t["map_layer0.weight"].shape[1] // 2
        phase = c_noise.outer((1 / 10000) ** (torch.arange(half) / (half - 1)))
    embedded = torch.cat([phase.sin(), phase.cos()], 1)
    embedded = embedded + F.linear(label * math.sqrt(CLASSES), t["map_label.weight"], t["map_label.bias"])
    embedded = F.silu(F.linear(embedded, t["map_layer0.weight"], t["map_layer0.bias"]))
    return F.silu(F.linear(embedded, t["map_layer1.weight"], t["map_layer1.bias"]))


def dhariwal(t, c_noise, label):
    """Cosines first; the label behind the two layers."""
    half = t["map_layer0.weight"].shape[1] // 2
    phase = c_noise.outer((1 / 10000) ** (torch.arange(half) / half))
    embedded = torch.cat([phase.cos(), phase.sin()], 1)
    embedded = F.silu(F.linear(embedded, t["map_layer0.weight"], t["map_layer0.bias"]))
    embedded = F.linear(embedded, t["map_layer1.weight"], t["map_layer1.bias"])
    return F.silu(embedded + F.linear(label, t["map_label.weight"]))


@pytest.mark.parametrize("name", MADE)
def test_halves_and_folds_give_their_embedding(name, tmp_path):
    theirs = layout(MADE[name])
    found, built = converted(MADE[name], theirs, tmp_path)
    bare = {n.removeprefix("model."): t for n, t in theirs.items()}
    for label in (F.one_hot(torch.arange(4) % CLASSES, CLASSES).float(), torch.zeros(4, CLASSES)):
        wanted = (dhariwal if name == "adm" else song)(bare, C_NOISE, label)
        torch.testing.assert_close(built.condition(C_NOISE, label), wanted, rtol=2e-5, atol=2e-5)
    if name != "adm":
        assert "map_augment.weight: unused without augmentation labels" in found.dropped
        assert any(line.startswith("map_label.bias: added") for line in found.dropped)


@pytest.mark.parametrize(
    ("name", "block"), [("ddpmpp", "4x4_in0"), ("ncsnpp", "4x4_in0"), ("adm", "8x8_block1")]
)
def test_their_order_of_queries_keys_and_values(name, block, tmp_path):
    theirs = layout(MADE[name])
    _, built = converted(MADE[name], theirs, tmp_path)
    module = (built.middle[0] if block == "4x4_in0" else built.up[1].blocks[1]).attention
    weights = {kind: theirs[f"model.dec.{block}.qkv.{kind}"] for kind in ("weight", "bias")}
    channels = len(weights["bias"]) // 3
    heads = channels // 64 if name == "adm" else 1
    x = torch.randn(2, channels, 3, 3)
    qkv = F.conv2d(module.norm(x), weights["weight"], weights["bias"])
    q, k, v = qkv.reshape(2 * heads, channels // heads, 3, 9).unbind(2)
    mixed = torch.einsum("nqk,nck->ncq", (q.mT @ k / math.sqrt(channels // heads)).softmax(2), v)
    out = F.conv2d(
        mixed.reshape(x.shape),
        theirs[f"model.dec.{block}.proj.weight"],
        theirs[f"model.dec.{block}.proj.bias"],
    )
    scale = 1.0 if name == "adm" else math.sqrt(0.5)
    torch.testing.assert_close(module(x), (x + out) * scale, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("change", [SWAP_ROWS, SWAP_COLUMNS, TRANSPOSE, heads_first(None), heads_first(2)])
def test_every_change_has_its_inverse(change):
    for shape in ((12, 4), (24, 8, 1, 1)):
        t = torch.randn(shape)
        if len(shape) == 2 or change is not TRANSPOSE:
            assert torch.equal(change.read(change.write(t)), t)
            assert torch.equal(change.write(change.read(t)), t)


def test_a_head_has_its_own_three():
    """(head, channel, q/k/v) of two heads of two channels."""
    order = heads_first(2).read(torch.arange(12)[:, None])[:, 0].tolist()
    assert order == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


def denoising(f, x, z, sigma):
    """EDM's loss, weighted so that a network that knows nothing but the variance has 1 at each level."""
    sigma = torch.full((len(x),), sigma)
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    with torch.no_grad():
        return float(
            (weight[:, None, None, None] * (f(x + sigma[:, None, None, None] * z, sigma) - x) ** 2).mean()
        )


LEVELS = (0.002, 0.05, 0.3, 1.0, 5.0, 80.0)


def as_written(found, built):
    """A converted network as what it was trained to be."""
    return Denoiser(ablate.apply(ablate.load_recipe("ict"), dict(found.specs)), built)


def test_a_network_without_an_output_has_loss_1_on_normal_images(tmp_path):
    """D = c_skip x is the best denoiser of them; c_skip of a consistency function is not."""
    made = foreign.architecture("ddpmpp")
    theirs = EDM().written(made, foreign.network(made).state_dict())
    for kind in ("weight", "bias"):
        theirs[f"model.dec.8x8_aux_conv.{kind}"].zero_()
    f = as_written(*converted(made, theirs, tmp_path))
    x, z = 0.5 * torch.randn(400, 3, 8, 8), torch.randn(400, 3, 8, 8)
    assert [denoising(f, x, z, s) for s in LEVELS] == pytest.approx([1.0] * len(LEVELS), abs=0.03)


def test_a_trained_denoiser_keeps_its_loss_at_each_level(tmp_path):
    """Two constant images: with EDM's coefficients a trained network knows them, and still does when converted."""
    made = foreign.architecture("ddpmpp", shape=(1, 4, 4), width=8, multipliers=[1])
    torch.manual_seed(0)
    network = made.option()(made.shape, 0)
    coefficients = {**EDM.inputs, "network": made.network, "embedding": made.embedding}
    f = Denoiser(ablate.apply(ablate.load_recipe("ict"), coefficients), network)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    images = torch.tensor([-0.5, 0.5])[:, None, None, None].expand(2, 1, 4, 4)
    for _ in range(60):
        x, z = images[torch.randint(2, (32,))], torch.randn(32, 1, 4, 4)
        sigma = (torch.randn(32) * 1.2 - 1.2).exp()
        weight = ((sigma**2 + 0.25) / (0.5 * sigma) ** 2)[:, None, None, None]
        loss = (weight * (f(x + sigma[:, None, None, None] * z, sigma) - x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    theirs = EDM().written(made, network.state_dict())
    x, z = images[torch.arange(200) % 2], torch.randn(200, 1, 4, 4)
    g = as_written(*converted(made, theirs, tmp_path))
    before, after = ([denoising(one, x, z, s) for s in LEVELS] for one in (f, g))
    assert after == pytest.approx(before, rel=1e-5)
    assert max(after[2:4]) < 0.6  # it knows more than the variance
