from __future__ import annotations

import pytest
import torch

import ablate
from ablate.core.errors import SpecError
from ablate.ingredients import lpips
from ablate.planning import planner

x, y = torch.rand(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
WIDTHS = (64, 128, 256, 512, 512)
COUNTS = (2, 2, 3, 3, 3)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with the two files, of random values."""
    folder, g = tmp_path_factory.mktemp("lpips"), torch.Generator().manual_seed(0)
    vgg, inputs, place = {"classifier.0.weight": torch.zeros(1)}, 3, 0
    for width, count in zip(WIDTHS, COUNTS, strict=True):
        for _ in range(count):
            vgg[f"features.{place}.weight"] = (
                torch.randn(width, inputs, 3, 3, generator=g) * (2 / 9 / inputs) ** 0.5
            )
            vgg[f"features.{place}.bias"] = torch.zeros(width)
            inputs, place = width, place + 2
        place += 1
    heads = {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1, generator=g) for i, w in enumerate(WIDTHS)}
    for name, content in zip(lpips.FILES, (vgg, heads), strict=True):
        torch.save(content, folder / name)
    return folder


@pytest.fixture
def found(weights, monkeypatch):
    monkeypatch.setenv(lpips.FOLDER, str(weights))
    return ablate.build("metric", {"name": "lpips", "size": 32})


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.delenv(lpips.FOLDER, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(lpips, "_reachable", lambda url: False)
    return tmp_path


def test_a_distance_of_whole_images(found):
    d = found(x, y)
    assert d.shape == (2,)
    assert (d > 0).all()
    assert torch.equal(found(x, x), torch.zeros(2))
    torch.testing.assert_close(d, found(y, x))


def test_the_equation_stage_by_stage(found, weights):
    """Against convolutions written out, with the pooling that CM trains with."""
    F, (vgg, heads) = torch.nn.functional, (torch.load(weights / n) for n in lpips.FILES)
    mean, std = (torch.tensor(v)[:, None, None] for v in (lpips.MEAN, lpips.STD))
    a, b = (((F.interpolate(e, (32, 32), mode="bilinear") + 1) / 2).expand(-1, 3, -1, -1) for e in (x, y))
    a, b, place, wanted = (a - mean) / std, (b - mean) / std, 0, torch.zeros(2)
    for stage, count in enumerate(COUNTS):
        for _ in range(count):
            w = vgg[f"features.{place}.weight"]
            a, b, place = F.conv2d(a, w, padding=1).relu(), F.conv2d(b, w, padding=1).relu(), place + 2
        gap = (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).square()
        wanted += (gap * heads[f"lin{stage}.model.1.weight"]).sum(1).mean((1, 2))
        a, b, place = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), place + 1
    torch.testing.assert_close(found(x, y), wanted, rtol=1e-4, atol=1e-6)


def test_it_is_differentiable_even_where_the_images_are_equal(found):
    moving = x.clone().requires_grad_()
    found(moving, y).sum().backward()
    assert moving.grad.isfinite().all()
    assert moving.grad.abs().sum() > 0
    moving = torch.zeros_like(x).requires_grad_()
    found(moving, torch.zeros_like(x)).sum().backward()
    assert moving.grad.isfinite().all()


def test_one_network_per_device_without_random_numbers(found):
    before = torch.get_rng_state()
    first = lpips.lpips(x.device, "average")
    assert lpips.lpips(x.device, "average") is first
    assert lpips.lpips(x.device, "max") is not first
    assert torch.equal(before, torch.get_rng_state())
    assert not any(p.requires_grad for p in first.parameters())


def test_missing_weights_are_one_line_that_names_file_and_folder(offline):
    with pytest.raises(SpecError) as caught:
        ablate.build("metric", "lpips").require()
    (line,) = caught.value.problems
    assert "vgg16-397923af.pth" in line
    assert str(offline) in line
    assert lpips.FOLDER in line


def test_a_plan_says_it_before_anything_runs(offline, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nplan:\n  - grid: {metric: [lpips, l1]}\n")
    with pytest.raises(SpecError, match="lpips needs vgg16"):
        planner.load(file)


def test_a_server_that_answers_is_enough_for_a_plan(offline, monkeypatch):
    monkeypatch.setattr(lpips, "_reachable", lambda url: True)
    ablate.build("metric", "lpips").require()


def test_what_can_not_be_downloaded_and_what_is_damaged(offline, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(SpecError, match="lpips needs"):
        ablate.build("metric", "lpips")(x, y)
    monkeypatch.setenv(lpips.FOLDER, str(offline))
    for name in lpips.FILES:
        (offline / name).write_bytes(b"no weights")
    with pytest.raises(SpecError, match="no readable weights"):
        ablate.build("metric", "lpips")(x, y)
