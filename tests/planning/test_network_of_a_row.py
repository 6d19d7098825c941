"""A network that cannot be built for these images is one line that names file and row, before anything is computed."""

from __future__ import annotations

import json

import pytest
from helpers.cli import call

TYPES = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
SHAPES = [  # known without torch
    (
        "unet2d",
        "network.block_out_channels: height and width must be multiples of 2^(levels-1) = 32, but got 8x8",
    ),
    (
        {"name": "ncsnpp", "multipliers": [1] * 5},
        "network.multipliers: height and width must be multiples of",
    ),
    ({"name": "ddpmpp", "multipliers": [1] * 6}, "= 32, but got 8x8 and 6 levels"),
    ({"name": "adm", "multipliers": [1] * 5}, "= 16, but got 8x8 and 5 levels"),
    (
        {"name": "adm", "width": 28, "multipliers": [1], "head_channels": 8},
        "network.head_channels: 8: 28 channels cannot be split into 3 equal heads",
    ),
]
BUILT = [  # only building them shows it
    ({"name": "unet2d", "block_out_channels": [12, 12], **TYPES}, "num_channels (12) must be divisible by"),
    (
        {"name": "unet2d", "block_out_channels": [32, 32], **TYPES, "down_block_types": ["Block2D"] * 2},
        "Block2D does not exist",
    ),
    (
        {"name": "module", "path": "torch.nn:Conv2dd"},
        "torch.nn has no nn.Module 'Conv2dd'; did you mean 'Conv2d'?",
    ),
    ({"name": "module", "path": "torch.nn:Flatten"}, "got an unexpected keyword argument 'shape'"),
]


def written(place, network, rows=2):
    listed = [{"label": "good", "base": "ict"}, {"label": "mine", "base": "ict", "set": {"network": network}}]
    plan = f"plan:\n  - list: {json.dumps(listed[-rows:])}\n"
    (place / "n.yaml").write_text(f"name: n\nprofile: digits\nseeds: [0]\n{plan}")
    return place


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("network", "said"), SHAPES)
def test_a_shape_that_does_not_suit_it(network, said, rows, tmp_path):
    written(tmp_path, network, rows)
    for words in (("run", "--dry-run"), ("run",), ("run", "--no-doctor"), ("doctor",), ("report",)):
        done = call(words[0], "n.yaml", *words[1:], cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "n.yaml: row 'mine': network." in done.stderr
        assert said in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("network", "said"), BUILT)
def test_what_only_building_it_shows(network, said, tmp_path):
    done = call("run", "n.yaml", "--dry-run", cwd=written(tmp_path, network))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "n.yaml: row 'mine': " in done.stderr
    assert said in done.stderr


def test_a_study_names_the_end_of_its_range(tmp_path):
    text = "name: s\nprofile: digits\nseeds: [0]\nbase: ict\nsearch: {network: [ncsnpp, unet2d]}\ntrials: 2\n"
    (tmp_path / "s.yaml").write_text(text)
    done = call("study", "s.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "s.yaml: search.network: 'unet2d': " in done.stderr
    assert "network.block_out_channels: height and width" in done.stderr
