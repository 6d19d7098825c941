"""Archives and folders that other programs, or a slip, made: read as a person expects, or refused in one line."""

from __future__ import annotations

import json
import zipfile

import pytest
from helpers.cli import call
from helpers.pictures import colours, encoded, spread
from PIL import Image

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import datasets

PICTURES = [encoded(c) for c in colours(24)]


def archive(place, names, system=3, **more):
    path = place / f"{system}.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, content in [*zip(names, PICTURES, strict=False), *more.items()]:
            member = zipfile.ZipInfo(name)
            member.create_system = system
            made.writestr(member, content)
    return Data(name="zip", path=str(path))


def test_folders_of_a_program_for_windows_are_classes(tmp_path):
    names = [f"{'ab'[i % 2]}\\{i:02d}.png" for i in range(24)]
    found = datasets.load(archive(tmp_path, names, system=0))
    assert found.classes == 2
    names = [name.replace("\\", "/") for name in names]
    assert datasets.load(archive(tmp_path, names)).classes == 2


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png", "a/00.png"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_leads_out_or_is_in_it_twice_is_refused(name, tmp_path):
    names = [f"{'ab'[i % 2]}/{i:02d}.png" for i in range(20)]
    with pytest.raises(SpecError, match=r"leads out of the archive|is in it twice") as caught:
        datasets.shape(archive(tmp_path, [*names, name]))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("more", [["a/00.png", 1], ["b/01.png", 0], ["a/00.png", 7]])
def test_two_labels_of_one_picture_are_refused(more, tmp_path):
    files = {f"{'ab'[i % 2]}/{i:02d}.png": PICTURES[i] for i in range(20)}
    labels = [[name, i % 2] for i, name in enumerate(files)]
    about = json.dumps({"labels": [*labels, more]}).encode()
    folder = spread(tmp_path / "pics", files | {"dataset.json": about})
    with pytest.raises(SpecError, match="two different labels"):
        datasets.shape(Data(name="folder", path=str(folder)))
    (folder / "dataset.json").write_text(json.dumps({"labels": [*labels, labels[0]]}))
    assert datasets.load(Data(name="folder", path=str(folder))).classes == 2


def test_a_picture_that_no_limit_allows_is_refused_with_advice(tmp_path):
    folder = spread(tmp_path / "pics", {f"a/{i}.png": PICTURES[i] for i in range(12)})
    Image.new("1", (20_000, 18_000)).save(folder / "a" / "giant.png")
    with pytest.raises(SpecError, match=r"giant.png: not a readable image: .*make it smaller"):
        datasets.shape(Data(name="folder", path=str(folder), resolution=8))


@pytest.mark.parametrize("path", ["", "x" * 300, f"~/{'y' * 300}", f"{'z/' * 3000}"])
def test_a_path_that_cannot_be_one_is_refused_before_anything(path, tmp_path):
    (tmp_path / "one.yaml").write_text("name: one\nplan: [{list: [{label: a}]}]\n")
    (tmp_path / "pics.png").write_bytes(PICTURES[0])
    sets = ["profile.data.name=folder", "profile.data.resolution=8", f"profile.data.path={path}"]
    done = call("run", "one.yaml", "--dry-run", *(w for s in sets for w in ("--set", s)), cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, len(line) < 300) == (2, True), line
    assert "needs a path" in line or "file name too long" in line
