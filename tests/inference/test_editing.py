from __future__ import annotations

import math

import pytest
import torch
from helpers import untrained
from helpers.small_networks import Zero

import ablate
from ablate.core.errors import SpecError
from ablate.inference import editing, tasks
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import generate, noise

recipe = ablate.load_recipe("ict")
SIGMAS = [80.0, 5.0, 0.5]
COLOUR = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
MEASUREMENTS = {
    "inpaint": editing.inpainting(editing.centre(8, 8)),
    "colorize": editing.colorization(),
    "superres2": editing.superresolution(2),
    "superres4": editing.superresolution(4),
}
each = pytest.mark.parametrize("m", MEASUREMENTS.values(), ids=MEASUREMENTS)


class Perfect:
    """A denoiser that knows the answer."""

    recipe = recipe

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, x, sigma, label=None):
        return self.answer


f = Denoiser(recipe, Zero())


@each
def test_the_transform_is_orthogonal(m):
    torch.testing.assert_close(m.A_inverse(m.A(COLOUR)), COLOUR)
    torch.testing.assert_close(m.A(COLOUR).norm(), COLOUR.norm())


@each
def test_what_is_measured_is_kept(m):
    x = editing.edit(f, COLOUR, m.A, m.A_inverse, m.mask, SIGMAS)
    known = torch.broadcast_to(m.mask, m.A(x).shape) == 0
    torch.testing.assert_close(m.A(x)[known], m.A(COLOUR)[known])
    assert not torch.allclose(x, COLOUR, atol=0.1)


def test_pixels_that_are_measured_are_kept_to_the_bit():
    m = MEASUREMENTS["inpaint"]
    x = editing.edit(f, COLOUR, m.A, m.A_inverse, m.mask, SIGMAS)
    assert torch.equal(x[..., m.mask == 0], COLOUR[..., m.mask == 0])


@each
def test_a_perfect_denoiser_recovers_the_original(m):
    x = editing.edit(Perfect(COLOUR), COLOUR, m.A, m.A_inverse, m.mask, SIGMAS)
    torch.testing.assert_close(x, COLOUR)
    torch.testing.assert_close(editing.denoise(Perfect(COLOUR), COLOUR + 1, 0.5), COLOUR)


@each
def test_what_is_hidden_is_not_read(m):
    other = m.mixed(COLOUR, COLOUR.flip(0))
    found = [editing.edit(f, y, m.A, m.A_inverse, m.mask, SIGMAS) for y in (COLOUR, other)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("sigmas", [SIGMAS[:1], SIGMAS])
def test_where_nothing_is_measured_it_is_sampling(sigmas):
    everything = editing.inpainting(torch.ones(8, 8))
    x = editing.edit(f, COLOUR, everything.A, everything.A_inverse, everything.mask, sigmas, seed=4)
    torch.testing.assert_close(x, generate(f, (3, 8, 8), 3, sigmas, 0.002, seed=4))


def test_the_first_colour_coefficient_is_brightness():
    gray = torch.einsum("bihw,i->bhw", COLOUR, torch.tensor([0.2989, 0.5870, 0.1140]))
    length = math.sqrt(0.2989**2 + 0.5870**2 + 0.1140**2)
    torch.testing.assert_close(MEASUREMENTS["colorize"].A(COLOUR)[:, 0], gray / length)
    torch.testing.assert_close(editing.grayscale(editing.grayscale(COLOUR)), editing.grayscale(COLOUR))


def test_an_image_of_few_pixels_is_given_as_their_means():
    given = MEASUREMENTS["superres2"].given(COLOUR)
    means = torch.nn.functional.avg_pool2d(COLOUR, 2)
    torch.testing.assert_close(given, means.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_images_that_do_not_fit_are_one_line():
    with pytest.raises(SpecError, match="3 channels"):
        MEASUREMENTS["colorize"].A(COLOUR[:, :1])
    with pytest.raises(SpecError, match="not a multiple of 3"):
        editing.superresolution(3).A(COLOUR)


def test_the_great_circle_keeps_ends_and_length():
    a, b = (noise(0, (1, 4, 4), 2, step, "cpu") for step in (0, 1))
    a, b = (4 * z / z.flatten(1).norm(dim=1)[:, None, None, None] for z in (a, b))
    torch.testing.assert_close(editing.slerp(a, b, 0.0), a)
    torch.testing.assert_close(editing.slerp(a, b, 1.0), b)
    for share in (0.3, 0.5):
        torch.testing.assert_close(editing.slerp(a, b, share).flatten(1).norm(dim=1), torch.full((2,), 4.0))
    torch.testing.assert_close(editing.slerp(a, a, 0.5), a)


def test_noise_is_recovered_where_it_can_be():
    wanted = noise(7, (1, 4, 4), 2, 0, "cpu")
    wanted *= 4 / wanted.flatten(1).norm(dim=1)[:, None, None, None]
    linear = Perfect(None)
    linear.__class__ = type("Linear", (Perfect,), {"__call__": lambda self, x, sigma, label=None: x / 160})
    torch.testing.assert_close(editing.latent(linear, wanted / 2), wanted, atol=2e-2, rtol=0)


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    return untrained.store(tmp_path_factory.mktemp("gray"))


@pytest.mark.parametrize(
    ("task", "columns"), [("inpaint", 6), ("superres", 6), ("interpolate", 8), ("denoise", 3)]
)
def test_a_row_is_given_results_original(gray, tmp_path, monkeypatch, task, columns):
    from PIL import Image

    monkeypatch.setattr(editing, "STEPS", 3)
    found = Image.open(tasks.write(gray, "cell", task, [], [], 0, tmp_path / "row.png"))
    assert found.size == (2 + 34 * columns, 2 + 34)


def test_files_are_cut_to_the_network_s_shape(gray, tmp_path):
    from PIL import Image

    half = Image.new("RGB", (40, 20))
    half.paste((255, 255, 255), (20, 0, 40, 20))
    half.save(tmp_path / "half.png")
    pixels = tasks.read(tmp_path / "half.png", (1, 8, 8))
    assert pixels.shape == (1, 8, 8)
    assert pixels[0, :, :3].max() < 30
    assert pixels[0, :, 5:].min() > 225
    assert tasks.read(tmp_path / "half.png", (3, 4, 8)).shape == (3, 4, 8)
    files = [tmp_path / "half.png"] * 2
    with Image.open(tasks.write(gray, "cell", "inpaint", files, [1.0], 0, tmp_path / "o.png")) as rows:
        assert rows.size == (2 + 34 * 6, 2 + 34 * 2)


@pytest.mark.parametrize(
    ("task", "files", "sigmas", "out", "message"),
    [
        ("colorize", [], [], "o.png", "needs 3 channels"),
        ("inpant", [], [], "o.png", "did you mean 'inpaint'"),
        ("inpaint", ["absent.png"], [], "o.png", "absent.png: no such file"),
        ("denoise", [], [2.0, 1.0], "o.png", "needs one level"),
        ("interpolate", [], [2.0], "o.png", "no --sigmas"),
        ("denoise", [], [], "o.text", "--out"),
    ],
)
def test_mistakes_are_one_line(gray, tmp_path, task, files, sigmas, out, message):
    with pytest.raises(SpecError, match=message) as caught:
        tasks.write(gray, "cell", task, [tmp_path / name for name in files], sigmas, 0, tmp_path / out)
    assert "\n" not in str(caught.value)
