"""`sample`: one picture, or a folder of single images; chosen classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import untrained
from helpers.cli import call
from PIL import Image
from safetensors.torch import save_file

import ablate
from ablate.core.errors import SpecError
from ablate.evaluation.evaluate import to_uint8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("sampling")
    untrained.store(place)
    return place


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A cell that was trained with labels of three classes; its output depends on them."""
    place = tmp_path_factory.mktemp("labelled")
    store = untrained.store(place)
    cell = ablate.load("cell", store.path).cell
    torch.manual_seed(1)
    network = cell.recipe.network((1, 8, 8), 3)
    state = {name: torch.randn_like(value) / 4 for name, value in network.state_dict().items()}
    save_file(state, store.folder("cell").model, {"classes": "3"})
    return place


def sampled(place, *words):
    return call("sample", "cell", *words, cwd=place)


@pytest.mark.parametrize("out", ["singly", "two/levels", "ends.v2"])
def test_a_name_without_an_image_s_ending_is_a_folder_of_single_images(place, out):
    done = sampled(place, "-n", 11, "--out", out)
    assert (done.returncode, done.stdout.strip()) == (0, out)
    assert sorted(p.name for p in (place / out).iterdir()) == [f"{i:04d}.png" for i in range(11)]
    wanted = to_uint8(ablate.load("cell", place / "runs").sample(11))
    for i, image in enumerate(wanted):
        assert np.array_equal(np.asarray(Image.open(place / out / f"{i:04d}.png")), image[0].numpy())


@pytest.mark.parametrize("out", ["a.png", "a.JPG", "a.webp"])
def test_an_image_s_ending_is_one_picture(place, out):
    assert sampled(place, "-n", 4, "--out", out).returncode == 0
    assert Image.open(place / out).size == (70, 70)  # 2 x 2 images, each pixel enlarged by 4


@pytest.mark.parametrize("kept", ["notes.txt", "0000.png", ".hidden"])
def test_a_folder_with_files_is_left_alone(place, kept):
    folder = place / f"full{kept}x"
    folder.mkdir()
    (folder / kept).write_text("mine")
    done = sampled(place, "-n", 2, "--out", folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert kept in done.stderr
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [(kept, "mine")]


def test_a_file_in_the_place_of_the_folder_is_one_line(place):
    (place / "taken").write_text("")
    done = sampled(place, "--out", "taken")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_classes_are_drawn_in_turn(labelled):
    model = ablate.load("cell", labelled / "runs")
    by_class = [model.sample(4, classes=[c]) for c in range(3)]
    assert not torch.equal(by_class[0], by_class[1])
    mixed = model.sample(4, classes=[0, 2, 2])
    for i, c in enumerate((0, 2, 2, 0)):
        torch.testing.assert_close(mixed[i], by_class[c][i])
    torch.testing.assert_close(model.sample(4), model.sample(4, classes=[0, 1, 2]))


@pytest.mark.parametrize(("words", "n"), [([], 3), (["-n", 5], 5)])
def test_there_is_an_image_for_each_class_unless_you_say_how_many(labelled, words, n, tmp_path):
    assert sampled(labelled, "--classes", "0,2,2", *words, "--out", tmp_path / "x").returncode == 0
    assert len([*(tmp_path / "x").iterdir()]) == n


@pytest.mark.parametrize(
    ("classes", "message"),
    [("3", "no class 3; there are 0 to 2"), ("0,-1", "no class -1"), ("cat", "--classes cat: needs whole")],
)
def test_a_wrong_class_is_one_line(labelled, classes, message):
    done = sampled(labelled, "--classes", classes, "--out", "wrong")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert not (labelled / "wrong").exists()


def test_classes_of_a_cell_without_labels_are_refused(place):
    with pytest.raises(SpecError, match="trained without profile"):
        ablate.load("cell", place / "runs").sample(2, classes=[0])
