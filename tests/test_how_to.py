"""The files, commands and code of docs/how-to.md, in a folder of 300 pictures; training is short."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pytest
from helpers import layers
from helpers.cli import call
from PIL import Image

from ablate.config.profile import load_profile

PAGE = (layers.PACKAGE.parent / "docs" / "how-to.md").read_text()
PREFIX = ".venv/bin/python -m ablate "
SHORT = [
    "--seeds",
    "0",
    "--no-doctor",
    "--set",
    "profile.images=320",
    "--set",
    "profile.evaluation.samples=32",
]
FILES = {
    name: text
    for _, text in re.findall(r"```(yaml|python)\n(.*?)```", PAGE, re.DOTALL)
    for name in re.findall(r"\A# (\w+\.\w+)", text)
}
COMMANDS = [
    line.split("  #")[0].strip().removeprefix(PREFIX)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, warmed):
    """The page's files beside 300 pictures, and the cells of its first experiment after ten steps."""
    place = warmed(tmp_path_factory.mktemp("how_to"))
    rng = np.random.default_rng(0)
    for i in range(300):
        file = place / "pictures" / "ab"[i % 2] / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (18, 20, 3), np.uint8) + np.uint8(120 * (i % 2))
        Image.fromarray(pixels).save(file)
    for name, text in FILES.items():
        (place / name).write_text(text)
    done = call("run", "first.yaml", *SHORT, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "held-out images, fewer" not in done.stdout + done.stderr
    key = next((place / "runs").glob("*/model.safetensors")).parent.name
    assert call("export", key, "--out", "exported", cwd=place).returncode == 0
    return place, key


def test_the_page_has_files_and_commands():
    assert {"mine.yaml", "first.yaml", "network.yaml", "my_net.py", "baseline.yaml", "start.yaml"} <= set(
        FILES
    )
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line, place):
    folder, key = place
    words = [key if word == "KEY" else word for word in shlex.split(line)]
    if "--out" in words:
        shutil.rmtree(folder / "samples", ignore_errors=True)
    if words[0] == "run" and "--dry-run" not in words:
        words += SHORT
    if words[0] == "doctor":  # the option itself is what this page is about; examining it takes long
        words = ["run", words[1], "--dry-run"]
    done = call(*(word for word in words if word != "--time"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("name", sorted(name for name in FILES if "plan:" in FILES[name]))
def test_every_experiment_plans(name, place):
    done = call("run", name, "--dry-run", cwd=place[0])
    assert done.returncode == 0, done.stderr
    assert "fewer than the extractor" not in done.stdout


def test_fewer_held_out_images_than_the_page_says_are_named(place):
    done = call("run", "first.yaml", "--dry-run", "--set", "profile.data.holdout=63", cwd=place[0])
    assert "even real images get a FID far above 0" in done.stdout
    assert "hold out 64 or more" in done.stdout


def test_the_profile_is_as_long_as_the_page_says(place):
    assert load_profile(str(place[0] / "mine.yaml")).steps == 1000


def test_the_network_trains(place):
    done = call("run", "network.yaml", *SHORT, cwd=place[0])
    assert done.returncode == 0, done.stderr


def test_the_code_at_the_end_works(place, monkeypatch):
    monkeypatch.chdir(place[0])
    code = re.findall(r"```python\n(import ablate.*?)```", PAGE, re.DOTALL)[-1]
    shown = {}
    exec(code, shown)
    assert tuple(shown["images"].shape) == (16, 3, 16, 16)
    assert "fid" in shown["table"]
