"""What the evaluation lacks is one line before training, by `run`, `--dry-run`, `doctor` and `study` alike."""

from __future__ import annotations

import dataclasses
import urllib.error
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import cli
from helpers.pictures import classes, colours, encoded, spread, zipped
from PIL import Image

from ablate.config.profile import load_profile
from ablate.core.errors import SpecError
from ablate.evaluation import ruler
from ablate.evaluation.preflight import preflight

FLAT = {f"{i}.png": encoded(x) for i, x in enumerate(colours(100))}
COMMANDS = {
    "run": ("run", "one.yaml"),
    "dry-run": ("run", "one.yaml", "--dry-run"),
    "doctor": ("doctor", "one.yaml"),
    "study": ("study", "search.yaml"),
}


def settings(name, path, **more):
    return {"data.name": name, "data.path": str(path), "data.resolution": 8} | {
        k.replace("__", "."): v for k, v in more.items()
    }


def refused(overrides) -> list[str]:
    with pytest.raises(SpecError) as caught:
        preflight(load_profile("digits", overrides))
    return caught.value.problems


@pytest.mark.parametrize("files", [FLAT, classes("only", n=100), {f"a/b/{k}": v for k, v in FLAT.items()}])
def test_a_classifier_needs_two_classes(tmp_path, files):
    for overrides in (
        settings("folder", spread(tmp_path / "set", files)),
        settings("zip", zipped(tmp_path / "set.zip", files)),
    ):
        (line,) = refused(overrides)
        assert "profile.evaluation.extractor: 'classifier': needs images of two or more classes" in line
        assert "inception" in line
        assert "folder" in line


def test_a_label_above_zero_is_still_one_class(tmp_path):
    labels = ", ".join(f'["{name}", 3]' for name in FLAT)
    files = FLAT | {"dataset.json": f'{{"labels": [{labels}]}}'.encode()}
    assert "two or more classes" in refused(settings("folder", spread(tmp_path, files)))[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"data__holdout": 7}, "only 7 images are held out; FID needs 8 or more"),
        ({"data__holdout": 55}, "only 5 images are to train on"),
        ({"data__images": 7}, "only 7 images are to train on"),
        ({"data__holdout": 60}, "none would be left"),
        ({"data__images": 59}, "there are only 54"),
    ],
)
def test_counts_that_fid_needs(tmp_path, more, words):
    folder = spread(tmp_path, classes("a", "b", n=30))
    assert any(words in line for line in refused(settings("folder", folder, **more)))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"data.holdout": 7}, "only 7 images"),
        ({"data.holdout": 1797}, "none would be left"),
        ({"data.images": 1001}, "there are only 1000"),
        ({"data.name": "cifar10", "data.images": 50001}, "there are only 50000"),
    ],
)
def test_counts_of_built_in_sets(overrides, words):
    assert words in refused(overrides)[0]


def test_few_held_out_images_are_said(tmp_path):
    folder = spread(tmp_path, classes("a", "b", n=60))
    (note,) = preflight(load_profile("digits", settings("folder", folder)))
    assert "12 held-out images, fewer than the extractor's 64 features" in note
    assert preflight(load_profile("digits", settings("folder", folder, data__holdout=64))) == []
    assert preflight(load_profile("digits")) == []


@pytest.fixture
def place(tmp_path):
    (tmp_path / "one.yaml").write_text("name: one\nplan:\n  - list: [{label: ict}]\n")
    (tmp_path / "search.yaml").write_text(
        "name: some\nsearch: {metric.c: {low: 0.01, high: 0.1}}\ntrials: 2\n"
    )
    return tmp_path


def sets(path, **more):
    found = {"images": 320, "evaluation.samples": 64, "data.name": "folder", "data.path": path}
    found |= {"data.resolution": 8} | more
    return [word for k, v in found.items() for word in ("--set", f"profile.{k}={v}")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_the_same_before_a_step(place, command):
    spread(place / "flat", FLAT)
    done = cli.call(*COMMANDS[command], *sets("flat"), cwd=place)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "two or more classes" in done.stderr
    assert not list(place.glob("runs/*/metrics.jsonl"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_weights_that_are_missing(place, command, monkeypatch):
    monkeypatch.setenv("ABLATE_INCEPTION_WEIGHTS", "/no/such.pth")
    spread(place / "set", classes("a", "b", n=60))
    done = cli.call(*COMMANDS[command], *sets("set", **{"evaluation.extractor": "inception"}), cwd=place)
    assert (done.returncode, done.stderr.count("error:")) == (2, 1)
    assert "/no/such.pth: no such file" in done.stderr
    assert not (place / "runs").exists()


@pytest.mark.parametrize("runs", ["runs", "elsewhere"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_finds_an_extractor_that_only_the_cache_has(place, command, runs, monkeypatch):
    """`fetch` puts it there, and workers look there."""
    from ablate.doctor import gate
    from ablate.execution import runner
    from ablate.study import search

    known = next(ruler.candidates((1, 8, 8), 10))
    other = dataclasses.replace(known, state={k: v + 1 if v.ndim else v for k, v in known.state.items()})
    words = [*COMMANDS[command], "--set", f"profile.evaluation.extractor={other.label}.safetensors"]
    assert "no such file; reports have" in cli.call(*words, "--runs-dir", runs, cwd=place).stderr
    (place / runs / "cache").mkdir(parents=True)
    ruler.write(other, place / runs / "cache" / f"{other.label}.safetensors")
    read, here = [], ruler.read
    monkeypatch.setattr(ruler, "read", lambda file: read.append(file) or here(file))
    for module, name in ((gate, "command"), (gate, "admit"), (runner, "missing"), (search, "open_study")):
        monkeypatch.setattr(module, name, mock.Mock(side_effect=SystemExit(0)))  # they come after the check
    done = cli.call(*words, "--runs-dir", runs, cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read) == 1


@pytest.mark.parametrize("name", ["inception", "clip-vit-b-32", "dinov2-vit-s-14", "vgg16"])
def test_weights_that_cannot_be_downloaded_are_one_line(name, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.delenv("ABLATE_INCEPTION_WEIGHTS", raising=False)
    (line,) = refused({"evaluation.extractor": name})
    assert repr(name) in line
    assert "downloaded" in line
    assert str(tmp_path) in line


def test_damage_and_mixtures_are_found_by_every_command(place):
    files = classes("a", "b", n=60) | {"b/torn.png": FLAT["0.png"][:60], "a/far.jpg": b""}
    files["a/large.jpg"] = encoded(Image.new("RGB", (600, 400)), "JPEG")
    spread(place / "set", files)
    said = {
        command: sorted(
            line.partition("yaml: ")[2]
            for line in cli.call(
                *words, *sets("set", **{"data.max_pixels": 9999}), cwd=place
            ).stderr.splitlines()
        )
        for command, words in COMMANDS.items()
    }
    assert len(set(map(tuple, said.values()))) == 1
    assert len(said["run"]) == 2
    assert not list(place.glob("runs/*/metrics.jsonl"))


def test_what_is_left_out_is_said_when_planning(place):
    spread(place / "set", classes("a", "b", n=400) | {f"c/{i}.bmp": b"x" for i in range(3)})
    for command in ("dry-run", "study"):
        words = [*COMMANDS[command], "--dry-run"] if command == "study" else COMMANDS[command]
        done = cli.call(*words, *sets("set"), cwd=place)
        assert "note: profile.data: 3 files are not read: 3 .bmp\n" in done.stdout
        assert done.returncode == 0


def test_gray_and_coloured_are_planned_in_colour(place):
    files = classes("a", "b", n=60, channels=1) | {"b/colour.png": encoded(np.zeros((8, 8, 3), np.uint8))}
    spread(place / "set", files)
    assert cli.call(*COMMANDS["dry-run"], *sets("set"), cwd=place).returncode == 0
