"""Sets in the formats of the library `datasets`: columns, splits, classes, and what is refused in one line."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import layers
from helpers.pictures import colours, encoded
from PIL import Image

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import datasets, kept
from ablate.data.sources import huggingface
from ablate.planning import planner
from ablate.runs.store import Store
from ablate.runs.worker import compute

library = pytest.importorskip("datasets", reason="needs the extra 'huggingface'")
RGB, LABELS = colours(20), [i % 3 for i in range(20)]


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """The library's own cache, and no word on what it does."""
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    library.disable_progress_bars()


def made(n: int = 20, label: object = None, **columns: object) -> library.Dataset:
    """A set with the columns `img` and, of the first n images, `label`."""
    kind = label or library.ClassLabel(names=["cat", "dog", "fox"])
    features = {"img": library.Image(), "label": kind, **{k: library.Value("string") for k in columns}}
    content = {"img": [Image.fromarray(x) for x in RGB[:n]], "label": LABELS[:n]}
    return library.Dataset.from_dict(content | columns, features=library.Features(features))


def spec(path: Path, **more: object) -> Data:
    return Data.model_validate({"name": "huggingface", "path": str(path), **more})


def refused(data: Data) -> str:
    with pytest.raises(SpecError) as caught:
        datasets.fingerprint(data)
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


def saved(place: Path, form: str, train: library.Dataset, test: library.Dataset | None = None) -> Path:
    """The set in one of the library's forms; the splits are `train` and, if there is one, `test`."""
    parts = {"train": train, **({"test": test} if test else {})}
    if form == "saved":
        library.DatasetDict(parts).save_to_disk(place / "set")
    elif form == "saved split":
        train.save_to_disk(place / "set")
    elif form == "parquet file":
        train.to_parquet(place / "set.parquet")
        return place / "set.parquet"
    else:
        (place / "set").mkdir()
        for name, part in parts.items():
            part.to_parquet(place / "set" / f"{name}.parquet")
    return place / "set"


@pytest.mark.parametrize("form", ["saved", "saved split", "parquet file", "parquet folder"])
def test_every_form_gives_the_same_pixels_labels_and_fingerprint(tmp_path, form):
    data = spec(saved(tmp_path, form, made()), holdout=4)
    found, counts = datasets.load(data), datasets.counts(data)
    assert np.array_equal(torch.cat([found.train, found.test]).numpy(), np.stack(RGB).transpose(0, 3, 1, 2))
    assert torch.cat([found.train_labels, found.test_labels]).tolist() == LABELS
    assert (datasets.shape(data), datasets.fingerprint(data)) == (found.shape, found.fingerprint)
    assert (counts.train, counts.held_out, counts.classes) == (16, 4, 3)
    assert found.source.startswith(f"Hugging Face's {Path(data.path).name}, 16 and 4 images")
    other = saved((tmp_path / "again") if (tmp_path / "again").mkdir() is None else tmp_path, "saved", made())
    assert datasets.fingerprint(spec(other, holdout=4)) == found.fingerprint


def test_the_held_out_split_is_named_and_suggested(tmp_path):
    path = saved(tmp_path, "saved", made(), made(9))
    data = spec(path, test_split="test")
    found = datasets.load(data)
    assert (len(found.train), len(found.test)) == (20, 9)
    assert datasets.remarks(data) == []
    assert datasets.remarks(spec(path)) == [
        "profile.data: it has a split 'test': to hold it out, set profile.data.test_split=test"
    ]
    assert "did you mean 'test'?" in refused(spec(path, test_split="tests"))
    assert "did you mean 'train'?" in refused(spec(path, split="trian"))
    assert "test_split names the held-out images" in refused(spec(path, test_split="test", holdout=2))


def test_columns_are_found_by_type_or_asked_for(tmp_path):
    features = library.Features(
        {
            "img": library.Image(),
            "small": library.Image(),
            "fine": library.ClassLabel(names=list("abc")),
            "coarse": library.ClassLabel(names=list("ab")),
            "caption": library.Value("string"),
        }
    )
    images = [Image.fromarray(x) for x in RGB]
    content = {"img": images, "small": images[::-1], "fine": LABELS, "coarse": [k // 2 for k in LABELS]}
    part = library.Dataset.from_dict(content | {"caption": list("xyxy" * 5)}, features=features)
    path = saved(tmp_path, "saved", part)
    listed = "img (images), small (images), fine (3 classes), coarse (2 classes), caption (string)"
    assert refused(spec(path)) == f"profile.data.image: name the column of the images: {listed}"
    assert refused(spec(path, image="img")) == f"profile.data.label: name the column of the classes: {listed}"
    assert "no such column; there are: img" in refused(spec(path, image="image"))
    assert "'caption': holds no images" in refused(spec(path, image="caption", label="fine"))
    by = {k: datasets.load(spec(path, image="small", label=k)) for k in ("fine", "coarse", "caption")}
    assert [found.classes for found in by.values()] == [3, 2, 2]
    assert len({found.fingerprint for found in by.values()}) == 3
    assert np.array_equal(by["fine"].train[0].numpy(), RGB[-1].transpose(2, 0, 1))


def test_columns_without_the_library_s_types_are_read_too(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"picture": [encoded(x) for x in RGB], "kind": ["b", "a"] * 10})
    frame.to_parquet(tmp_path / "a.parquet")
    found = datasets.load(spec(tmp_path / "a.parquet", image="picture", label="kind"))
    assert found.train_labels[:2].tolist() == [1, 0]
    structs = [{"bytes": encoded(x), "path": None} for x in RGB]
    pd.DataFrame({"image": structs}).to_parquet(tmp_path / "b.parquet")
    assert datasets.load(spec(tmp_path / "b.parquet")).shape == (3, 8, 8)


def test_a_set_without_classes_or_with_missing_ones(tmp_path):
    bare = made().remove_columns("label")
    assert datasets.load(spec(saved(tmp_path, "saved", bare))).classes == 1
    (tmp_path / "b").mkdir()
    unlabelled = made(9)
    path = saved(tmp_path / "b", "saved", made(), library.concatenate_datasets([unlabelled]))
    assert datasets.counts(spec(path, test_split="test")).held_out == 9
    (tmp_path / "c").mkdir()
    hidden = library.Dataset.from_dict(
        {"img": [Image.fromarray(x) for x in RGB], "label": [-1] * 20},
        features=library.Features({"img": library.Image(), "label": library.Value("int64")}),
    )
    path = saved(tmp_path / "c", "saved", hidden)
    assert "image 0 has -1, which is no class number" in refused(spec(path, label="label"))


def test_an_image_that_is_missing_or_damaged_is_named(tmp_path):
    structs = [{"bytes": encoded(x), "path": None} for x in RGB]
    for i, (bad, words) in enumerate(
        [(None, "no value"), ({"bytes": b"text", "path": None}, "another kind")]
    ):
        part = library.Dataset.from_dict(
            {"img": [*structs[:7], bad, *structs[8:]]}, features=library.Features({"img": library.Image()})
        )
        (tmp_path / f"{i}").mkdir()
        with pytest.raises(SpecError, match="train 00000007: not a readable image") as caught:
            datasets.shape(spec(saved(tmp_path / f"{i}", "saved", part)))
        assert words in str(caught.value)


def test_changed_files_are_read_again(tmp_path):
    path = saved(tmp_path, "parquet file", made())
    before = datasets.fingerprint(spec(path))
    made(12).to_parquet(path)
    assert datasets.fingerprint(spec(path)) != before
    assert datasets.counts(spec(path)).train == 11


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "cannot be read" in refused(spec(tmp_path / "empty"))
    (tmp_path / "a.txt").write_text("x")
    assert ".parquet, .arrow files are read" in refused(spec(tmp_path / "a.txt"))
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    assert "cannot be read" in refused(spec(tmp_path / "a.parquet"))
    path = saved(tmp_path, "parquet folder", made())
    assert "profile.data.config" in refused(spec(path, config="other"))
    assert "huggingface needs a path" in refused(Data(name="huggingface"))


def test_without_a_network_a_name_of_the_hub_says_what_to_do(monkeypatch):
    def unreachable(*arguments: object, **more: object) -> None:
        raise ConnectionError("Couldn't reach 'user/pictures' on the Hub")

    monkeypatch.setenv(huggingface.OFFLINE, "1")
    monkeypatch.setattr(library, "load_dataset", unreachable)
    assert refused(spec(Path("user/pictures"))) == (
        "profile.data.path: 'user/pictures': no such file or folder, and the hub cannot be reached: where it can, run "
        "datasets.load_dataset('user/pictures').save_to_disk('pictures'), copy that folder here, and name it in "
        "profile.data.path"
    )


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        (None, ("huggingface.co", 443)),
        ("", ("huggingface.co", 443)),
        ("http://mirror", ("mirror", 80)),
        ("http://mirror/hub/", ("mirror", 80)),
        ("https://mirror:8443/hub", ("mirror", 8443)),
        ("http://user:word@mirror:8080", ("mirror", 8080)),
        ("http://[::1]", ("::1", 80)),
        ("mirror", ("mirror", 443)),
        ("http://mirror:x", None),
    ],
)
def test_a_mirror_is_asked_at_the_port_of_its_address(endpoint, asked, monkeypatch):
    called = []
    monkeypatch.setattr(
        "socket.create_connection", lambda address, patience: called.append(address) or io.BytesIO()
    )
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    if endpoint is not None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert huggingface._hub_answers() == (asked is not None)
    assert called == [asked] * (asked is not None)


def test_a_revision_of_the_hub_is_passed_on_and_recorded(monkeypatch):
    asked = []
    part = made()
    part.info.download_checksums = {"hf://datasets/user/pictures@0123456789abcdef/train.parquet": {}}

    def hub(path, config=None, revision=None):
        asked.append((path, config, revision))
        return library.DatasetDict({"train": part})

    monkeypatch.setenv(huggingface.OFFLINE, "1")
    monkeypatch.setattr(library, "load_dataset", hub)
    data = spec(Path("user/pictures"), config="small", revision="v1")
    assert "user/pictures at 0123456789ab, 18 and 2 images" in datasets.load(data).source
    assert set(asked) == {("user/pictures", "small", "v1")}
    assert datasets.remarks(data) == []
    (line,) = datasets.remarks(spec(Path("user/pictures")))
    assert "revision 0123456789abcdef" in line


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "run pip install -e '.[huggingface]'" in refused(spec(tmp_path / "x"))


# the command of diffusers' README

PAGE = (layers.PACKAGE.parent / "docs" / "script.md").read_text()
FILES = dict(re.findall(r"```yaml\n# (\w+\.yaml)\n(.*?)```", PAGE, re.DOTALL))


def test_the_command_of_the_script_s_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "saved", library.concatenate_datasets([made()] * 4), made(16)).rename("cifar10")
    for name, text in FILES.items():
        Path(name).write_text(text)
    (line,) = re.findall(r"-m ablate run (readme\S*)", PAGE)
    short = {"profile.data.images": 80, "profile.images": 32, "profile.evaluation.samples": 16}
    short |= {"profile.evaluation.every": 16, "profile.data.resolution": 8}
    # instead of what needs a GPU, and of a network of 114 million parameters
    short |= {"optimizer": "adamw", "optimizer.lr": 0.0001, "precision": "fp32", "embedding.channels": 8}
    small = {"name": "ncsnpp", "width": 8, "multipliers": [1], "blocks": 1, "attention": []}
    experiment = planner.load(line, overrides={**short, "network": small})
    (cell,) = experiment.cells.values()
    record = compute(cell, Store.writable("runs").prepare(cell))
    assert record["state"] == "finished"
    assert [entry["nfe"] for entry in record["fid"]] == [1, 2]
    assert record["provenance"]["data"].startswith("Hugging Face's cifar10, 80 and 16 images")
    assert record["provenance"]["images"] == "on the device"
    assert list(kept.folders(Store("runs").cache)) == [cell.fingerprint]
    planned = {name: experiment.rows[0].recipe.specs()[name]["name"] for name in ("averaging", "schedule")}
    assert planned == {"averaging": "warmup", "schedule": "constant"}
