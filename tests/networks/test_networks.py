"""Networks: published sizes, shapes, start values, conditioning, and masks that student and teacher share."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
import types
import zlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ablate.core.errors import SpecError
from ablate.core.registry import AXES
from ablate.ingredients.embedding import Fourier, Positional
from ablate.ingredients.network import Module, UNet2D
from ablate.networks import Dropout, draw_masks, seed_parameters, teacher_copy
from ablate.networks.blocks import Attention
from ablate.networks.layers import Norm, Resample
from ablate.networks.unet import ADM

NAMES = ["ncsnpp", "ddpmpp", "adm"]
TINY = {"width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [4]}
needs_diffusers = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers is missing: pip install diffusers"
)


def make(name="ncsnpp", shape=(1, 8, 8), classes=0, embedding=None, seed=0, **fields):
    """A network of tiny size unless `fields` say otherwise, with start values of `seed`."""
    option = AXES["network"].build({"name": name, **TINY, **fields})
    network = dataclasses.replace(option, embedding=embedding or Fourier(channels=32))(shape, classes)
    if next(network.parameters()).device.type == "cpu":
        seed_parameters(network, lambda module: zlib.crc32(f"{seed} {module}".encode()))
    return network


def published(name, embedding, shape, classes=0, **fields):
    with torch.device("meta"):
        spec = {"name": name, **fields}
        return dataclasses.replace(AXES["network"].build(spec), embedding=embedding)(shape, classes)


def count(network):
    return sum(p.numel() for p in network.parameters())


def gflop(network, shape, classes=0):
    label = torch.empty(1, classes, device="meta") if classes else None
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *shape, device="meta"), torch.empty(1, device="meta"), label)
    return counter.get_total_flops() / 1e9


def awake(network):
    """The network with last convolutions as large as the others, so that all of it shows in the output."""
    for parameter in network.parameters():
        if 0 < parameter.abs().max() < 1e-3:
            parameter.data.mul_(1e5)
    return network


def batch(size=4, shape=(1, 8, 8)):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, *shape, generator=generator)
    return x, torch.randn(size, generator=generator)


PUBLISHED = [
    ("ncsnpp", Fourier(), (3, 32, 32), 0, 56.4, 97.6, 42.8),
    ("ddpmpp", Positional(), (3, 32, 32), 0, 55.7, 96.9, 42.4),
    ("adm", Positional(192), (3, 64, 64), 1000, 295.9, 495.4, 219.3),
]


@pytest.mark.parametrize(("name", "embedding", "shape", "classes", "size", "deep", "cost"), PUBLISHED)
def test_sizes_and_costs_are_the_published_ones(name, embedding, shape, classes, size, deep, cost):
    network = published(name, embedding, shape, classes)
    assert count(network) / 1e6 == pytest.approx(size, abs=0.05)
    assert gflop(network, shape, classes) == pytest.approx(cost, abs=0.05)
    assert count(published(name, embedding, shape, classes, deep=True)) / 1e6 == pytest.approx(deep, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ((1, 8, 8), {}),
        ((3, 16, 8), {"multipliers": [1, 2, 3], "attention": []}),
        ((2, 6, 6), {"width": 20, "blocks": 2, "attention": [6, 3]}),
        ((1, 5, 7), {"multipliers": [1]}),
    ],
)
def test_shape_is_kept(name, shape, fields):
    network, (x, c_noise) = make(name, shape, **fields), batch(2, shape)
    out = network(x, c_noise)
    assert out.shape == x.shape
    assert out.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_size_that_cannot_be_halved_is_refused(name):
    with pytest.raises(SpecError, match=r"multiples of 2\^\(levels-1\) = 4, but got 6x8"):
        make(name, (1, 6, 8), multipliers=[1, 1, 1])


def test_uneven_heads_are_refused():
    with pytest.raises(SpecError, match="28 channels cannot be split into 3 equal heads"):
        make("adm", width=28, multipliers=[1], head_channels=8)


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"multipliers": []}, {"blocks": 0}, {"dropout": 1.0}, {"attention": [0]}, {"depth": 2}],
)
def test_fields_are_checked(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        AXES["network"].build({"name": "ncsnpp", **wrong})


def test_only_ncsnpp_can_be_divided_by_sigma():
    assert AXES["network"].build({"name": "ncsnpp", "divide_by_sigma": True}).divide_by_sigma
    assert "divide_by_sigma" not in AXES["network"].fields("ddpmpp")


def test_group_norm_has_four_channels_a_group_and_at_most_32_groups():
    assert [Norm(c, 1e-6).num_groups for c in (3, 16, 24, 144, 128, 512)] == [1, 4, 6, 24, 32, 32]


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
def test_resampling_keeps_the_mean_level(taps):
    x = torch.ones(1, 2, 8, 8)
    for up in (False, True):
        inner = Resample(taps, up)(x)[..., 1:-1, 1:-1]
        torch.testing.assert_close(inner, torch.ones_like(inner))


def test_up_is_the_transpose_of_down():
    x, y = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 4, 4)
    for taps in ((1, 1), (1, 3, 3, 1)):
        down, up = (Resample(taps, up=u) for u in (False, True))
        torch.testing.assert_close((down(x) * y).sum() * 4, (x * up(y)).sum())


def test_attention_is_the_softmax_of_scaled_products():
    module, x = Attention(128, ADM), torch.randn(2, 128, 3, 3)
    q, k, v = (t.unflatten(1, (2, 64)).flatten(3) for t in module.qkv(module.norm(x)).chunk(3, dim=1))
    weights = torch.einsum("bhdi,bhdj->bhij", q, k).div(8).softmax(-1)
    mixed = torch.einsum("bhij,bhdj->bhdi", weights, v).reshape(x.shape)
    torch.testing.assert_close(module(x), x + module.last(mixed))


@pytest.mark.parametrize("name", NAMES)
def test_the_output_starts_near_zero(name):
    assert make(name)(*batch()).abs().max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_gradient(name):
    network = awake(make(name, classes=3))
    network(*batch(), F.one_hot(torch.arange(4) % 3, 3)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_small_network_learns_a_batch(name):
    network, (x, c_noise) = make(name), batch(8)
    optimizer, losses = torch.optim.Adam(network.parameters(), 2e-3), []
    for _ in range(30):
        losses.append((network(x, c_noise) - x).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_noise_level_and_label_change_the_output(name):
    network, (x, c_noise) = awake(make(name, classes=3)), batch()
    one, two = (network(x, c_noise, F.one_hot(torch.full((4,), i), 3)) for i in (0, 1))
    plain = network(x, c_noise)
    assert not torch.allclose(one, two)
    assert not torch.allclose(one, plain)
    assert not torch.allclose(network(x, c_noise + 1), plain)
    torch.testing.assert_close(network(x, c_noise, torch.zeros(4, 3)), plain)


def test_a_label_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"\(B, 3\) must hold, but got \(4, 2\)"):
        make(classes=3)(*batch(), torch.zeros(4, 2))


@pytest.mark.parametrize("name", NAMES)
def test_images_do_not_mix(name):
    network, (x, c_noise) = awake(make(name)), batch()
    torch.testing.assert_close(network(x, c_noise)[2:3], network(x[2:3], c_noise[2:3]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_equals_contiguous(name):
    network, (x, c_noise) = awake(make(name, shape=(3, 8, 8), dropout=0.3)), batch(shape=(3, 8, 8))
    outs = []
    for layout in (torch.contiguous_format, torch.channels_last):
        draw_masks(network, torch.Generator().manual_seed(3))
        outs.append(network.to(memory_format=layout)(x.contiguous(memory_format=layout), c_noise))
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-5 * outs[0].abs().max().item())


@pytest.mark.parametrize("name", NAMES)
def test_output_is_float32_under_autocast(name):
    network, (x, c_noise) = awake(make(name, dropout=0.3)).eval(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x, c_noise)
    assert out.dtype == torch.float32
    assert F.cosine_similarity(out.flatten(), network(x, c_noise).flatten(), dim=0) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_gives_the_same_gradients(name):
    gradients = []
    for checkpointing in (False, True):
        network = awake(make(name, dropout=0.3, checkpointing=checkpointing))
        draw_masks(network, torch.Generator().manual_seed(3))
        network(*batch()).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_start_values_agree_where_names_and_shapes_do():
    one = make().state_dict()
    for other in (make(dropout=0.3), make(blocks=2), make(classes=3)):
        theirs = other.state_dict()
        agreeing = [n for n in one if n in theirs and one[n].shape == theirs[n].shape]
        assert len(agreeing) > 0.7 * len(one)
        assert all(torch.equal(one[n], theirs[n]) for n in agreeing)
    assert not torch.equal(one["first.weight"], make(seed=1).state_dict()["first.weight"])


def test_seeding_keeps_the_default_stream():
    network, state = make(), torch.get_rng_state()
    seed_parameters(network, lambda name: 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeding_elsewhere_than_on_the_cpu_is_refused():
    with torch.device("meta"):
        network = make()
    with pytest.raises(SpecError, match="must be on cpu, but got meta"):
        seed_parameters(network, lambda name: 1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_student_and_teacher_read_the_same_masks():
    student, (x, c_noise) = awake(make(dropout=0.5)), batch()
    teacher = teacher_copy(student)
    draw_masks(student, seeded(1))
    with torch.no_grad():
        first = teacher(x, c_noise)
    assert torch.equal(student(x, c_noise), first)
    assert torch.equal(teacher(x, c_noise), first)
    draw_masks(student, seeded(2))
    assert not torch.allclose(student(x, c_noise), first)
    draw_masks(student, seeded(1))
    assert torch.equal(student(x, c_noise), first)


def test_a_teacher_has_parameters_of_its_own():
    student = make(dropout=0.5)
    teacher = teacher_copy(student)
    shared = {id(p) for p in student.parameters()} & {id(p) for p in teacher.parameters()}
    pairs = zip(student.modules(), teacher.modules(), strict=True)
    assert not shared
    assert all((a is b) == isinstance(a, Dropout) for a, b in pairs)


def test_an_ordinary_copy_draws_masks_of_its_own():
    student, (x, c_noise) = awake(make(dropout=0.5)), batch()
    student(x, c_noise)
    other = copy.deepcopy(student)
    draw_masks(student, seeded(2))
    assert not torch.allclose(student(x, c_noise), other(x, c_noise))


def test_dropout_is_the_identity_in_evaluation_and_at_rate_0():
    x = torch.randn(4, 3, 5, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    with pytest.raises(ValueError, match="p=1"):
        Dropout(1)


def test_dropout_keeps_the_mean_and_drops_its_share():
    out = Dropout(0.3)(torch.ones(64, 16, 8, 8))
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.02)


def test_masks_known_from_the_last_step_equal_those_drawn_by_a_pass():
    x = torch.ones(4, 3, 5, 5)
    fresh, used = (nn.Sequential(Dropout(0.5), Dropout(0.2)) for _ in range(2))
    used(torch.ones(4, 3, 5, 5)), used(torch.ones(2, 3, 5, 5))
    for network in (fresh, used):
        draw_masks(network, seeded(1))
    assert torch.equal(fresh(x), used(x))


def test_a_rate_of_0_moves_no_other_stream():
    with_zero, without = (nn.Sequential(Dropout(p), Dropout(0.5)) for p in (0.0, 0.3))
    for network in (with_zero, without):
        draw_masks(network, seeded(1))
        network(torch.ones(4, 3, 5, 5))
    assert torch.equal(with_zero[1].mask, without[1].mask)


@pytest.mark.parametrize("parts", [2, 4])
def test_the_masks_of_parts_are_rows_of_the_whole_batchs(parts):
    network, x = nn.Sequential(Dropout(0.5)), torch.ones(8, 3, 5, 5)
    draw_masks(network, seeded(1))
    whole, rows = network(x), []
    for i in range(parts):
        draw_masks(network, seeded(1), micro_batch=(i, parts))
        rows.append(network(x[: 8 // parts]))
    assert torch.equal(torch.cat(rows), whole)


@pytest.mark.slow
def test_a_compiled_network_reads_the_same_masks():
    student, (x, c_noise) = awake(make(dropout=0.5, multipliers=[1])), batch()
    compiled = torch.compile(student, backend="eager")
    for seed in (1, 2):
        draw_masks(student, seeded(seed))
        torch.testing.assert_close(compiled(x, c_noise), student(x, c_noise))


class Own(nn.Module):
    """A user's network."""

    def __init__(self, shape, classes, embedding, width=4):
        super().__init__()
        self.inner, self.outer = nn.Conv2d(shape[0], width, 1), nn.Conv2d(width, shape[0], 1)

    def forward(self, x, c_noise, label=None):
        return self.outer(self.inner(x))


@pytest.fixture
def users_file(monkeypatch):
    module = types.ModuleType("users_file")
    module.Own = Own
    monkeypatch.setitem(sys.modules, "users_file", module)


@pytest.mark.usefixtures("users_file")
def test_a_users_class_is_a_network():
    spec = {"name": "module", "path": "users_file:Own", "arguments": {"width": 6}}
    network = AXES["network"].build(spec)((1, 8, 8))
    assert network.inner.out_channels == 6
    assert network(*batch()).shape == (4, 1, 8, 8)


@pytest.mark.usefixtures("users_file")
@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("users_file:Owm", {}, "did you mean 'Own'"),
        ("no_such_file:Own", {}, "No module named 'no_such_file'"),
        ("users_file:Own", {"widht": 3}, "unexpected keyword argument 'widht'"),
    ],
)
def test_a_users_mistake_is_one_line(path, arguments, message):
    with pytest.raises(SpecError, match=message) as caught:
        Module(path, arguments)((1, 8, 8))
    assert "\n" not in str(caught.value)


def test_a_path_without_a_class_is_refused():
    with pytest.raises(SpecError, match=r"package\.module:ClassName"):
        AXES["network"].build({"name": "module", "path": "users_file"})


def test_an_absent_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install -e '\.\[diffusers\]'"):
        AXES["network"].build("unet2d")


SMALL = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


@needs_diffusers
def test_unet2d_has_the_size_of_its_example():
    assert count(published("unet2d", Positional(), (3, 32, 32))) / 1e6 == pytest.approx(113.7, abs=0.05)


@needs_diffusers
def test_unet2d_shares_masks_and_reads_noise_and_label():
    student, (x, c_noise) = UNet2D(**SMALL, dropout=0.5, embedding=Fourier())((1, 8, 8), classes=3), batch()
    teacher, label = teacher_copy(student), F.one_hot(torch.arange(4) % 3, 3)
    out = student(x, c_noise, label)
    assert out.shape == x.shape
    assert torch.equal(teacher(x, c_noise, label), out)
    assert not torch.allclose(student(x, c_noise), out)
    assert not torch.allclose(student(x, c_noise + 1, label), out)
    assert not any(isinstance(m, nn.Dropout) for m in student.modules())


@needs_diffusers
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"up_block_types": ("UpBlock2D",)}, "one type per entry"),
        ({"up_block_types": ("UpBlock2D", "NoBlock2D")}, "NoBlock2D"),
        ({"norm_num_groups": 5}, "must be divisible by num_groups"),
    ],
)
def test_unet2d_refuses_in_one_line(fields, message):
    with pytest.raises(SpecError, match=message) as caught:
        UNet2D(**{**SMALL, **fields}, embedding=Fourier())((1, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("multipliers", [[1, 2], [2, 3], [3, 1], [2]])
def test_only_adm_multiplies_the_channels_of_its_first_convolution(multipliers):
    """DhariwalUNet of EDM and UNetModel of CM do; SongUNet has the width."""
    for name in NAMES:
        network, (x, c_noise) = make(name, multipliers=multipliers), batch()
        assert network.first.weight.shape[0] == 16 * (multipliers[0] if name == "adm" else 1)
        assert network(x, c_noise).shape == x.shape


@pytest.mark.parametrize("name", ["ncsnpp", "ddpmpp", "adm"])
def test_double_norm_bounds_scale_and_shift_and_has_a_derivative(name):
    """In float64, against finite differences along the embedding and the image."""
    from dataclasses import replace

    from ablate.networks import blocks, unet

    style = replace(getattr(unet, name.upper()), adaptive=True, double_norm=True)
    block = blocks.Block(8, 16, 12, replace(style, head_channels=None), blocks.Size(8, [1], 1, [])).double()
    g = torch.Generator().manual_seed(0)
    image, way = torch.randn(2, 4, 8, 4, 4, generator=g, dtype=torch.float64)
    embedded, turn = torch.randn(2, 4, 12, generator=g, dtype=torch.float64)
    _, found = torch.func.jvp(block, (image, embedded), (way, turn))
    e = 1e-6
    up, down = (block(image + s * way, embedded + s * turn) for s in (e, -e))
    torch.testing.assert_close(found, (up - down) / (2 * e), rtol=1e-6, atol=1e-8)
    x, offset = torch.randn(4, 16, 4, 4, generator=g).double(), torch.randn(4, 32, 1, 1, generator=g).double()
    once, more = block.modulated(x, offset), block.modulated(x, 1000 * offset)
    torch.testing.assert_close(once, more, rtol=1e-2, atol=1e-2)
    scale, shift = (v / v.square().mean(1, keepdim=True).sqrt() for v in offset.chunk(2, dim=1))
    torch.testing.assert_close(once, block.norm1(x) * scale + shift, rtol=1e-3, atol=1e-3)
