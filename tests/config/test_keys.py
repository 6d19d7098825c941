"""The keys of all cells of the shipped experiments are pinned: another key would compute a finished cell again.

`keys.json` has, for every file and profile, the keys of seeds 0 and 1 of each row, in the order of the rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.core import yaml_files
from ablate.planning import planner

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PINNED = json.loads(Path(__file__).with_name("keys.json").read_text())
FILES = sorted({pair.split()[0] for pair in PINNED})


@pytest.fixture(autouse=True)
def _no_archives(monkeypatch, tmp_path):
    """Downloaded images count by their content, so a key depends on whether they are here."""
    monkeypatch.setenv("HOME", str(tmp_path))


def keys(file, profile):
    path = yaml_files.named("profiles").get(profile, EXPERIMENTS / "profiles" / "bench" / f"{profile}.yaml")
    experiment = planner.load(EXPERIMENTS / file, str(path), seeds=[0, 1])
    return [key for row in experiment.rows for key in row.keys]


@pytest.mark.parametrize("file", FILES)
def test_keys_are_what_they_were(file):
    profiles = [pair.split()[1] for pair in PINNED if pair.split()[0] == file]
    assert {p: keys(file, p) for p in profiles} == {p: PINNED[f"{file} {p}"].split() for p in profiles}


def test_a_pinned_key_depends_on_the_recipe_and_the_seed():
    per_row = [PINNED[pair].split() for pair in PINNED]
    assert all(even != odd for found in per_row for even, odd in zip(found[::2], found[1::2], strict=True))
    assert len({key for found in per_row for key in found}) > 1000
