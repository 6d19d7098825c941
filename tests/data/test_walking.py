"""Which files of a folder or an archive are images, and of which class: the same answers for both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pictures import classes, colours, encoded, spread, zipped

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import archives, datasets

ONE = encoded(colours(1)[0])


def specs(place: Path, files: dict[str, bytes], **more) -> list[Data]:
    """The same files as a folder and as an archive."""
    folder, archive = spread(place / "folder", files), zipped(place / "archive.zip", files)
    return [Data(name="folder", path=str(folder), **more), Data(name="zip", path=str(archive), **more)]


def classes_of(spec: Data) -> dict[bytes, int]:
    """Pixels -> class, of all images."""
    found = datasets.load(spec)
    pixels = [*found.train.numpy(), *found.test.numpy()]
    labels = [*found.train_labels.tolist(), *found.test_labels.tolist()]
    return dict(zip(map(bytes, pixels), labels, strict=True))


def counted(spec: Data) -> dict[int, int]:
    """Class -> number of images."""
    found = datasets.load(spec)
    labels = [*found.train_labels.tolist(), *found.test_labels.tolist()]
    return {k: labels.count(k) for k in sorted(set(labels))}


def edm(n=12, kinds=3, prefix="", **more) -> dict[str, bytes]:
    """Shards of EDM's dataset_tool, with the classes in dataset.json."""
    names = [f"{i // 4:05d}/img{i:08d}.png" for i in range(n)]
    labels = [[name, i % kinds] for i, name in enumerate(names)] if kinds else None
    files = {prefix + name: encoded(x) for name, x in zip(names, colours(n), strict=True)}
    return files | {f"{prefix}dataset.json": json.dumps({"labels": labels}).encode()} | more


LAYOUTS = {
    "EDM": (edm(), {0: 4, 1: 4, 2: 4}),
    "EDM in a folder": (edm(prefix="set/"), {0: 4, 1: 4, 2: 4}),
    "EDM without labels": (edm(kinds=0), {0: 12}),
    "class folders": (classes("cat", "dog"), {0: 10, 1: 10}),
    "class folders in a folder": (
        {f"set/all/{k}": v for k, v in classes("cat", "dog").items()},
        {0: 10, 1: 10},
    ),
    "flat": ({f"{i}.png": encoded(x) for i, x in enumerate(colours(10))}, {0: 10}),
    "one class": (classes("cat"), {0: 10}),
    "class folders of shards": (
        {f"{'ab'[i % 2]}/{i // 5}/{i}.png": encoded(x) for i, x in enumerate(colours(20))},
        {0: 10, 1: 10},
    ),
    "hidden": (
        classes("cat", "dog")
        | {".ipynb_checkpoints/x.png": ONE, ".Trash-1000/files/x.png": ONE, "cat/.thumbs/x.png": ONE}
        | {"__MACOSX/cat/x.png": ONE, "dog/__MACOSX/x.png": ONE, "dog/._000.png": b"fork"},
        {0: 10, 1: 10},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_and_an_archive_have_the_same_classes(tmp_path, layout):
    files, right = LAYOUTS[layout]
    folder, archive = specs(tmp_path, files)
    assert counted(folder) == counted(archive) == right
    assert classes_of(folder) == classes_of(archive)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([["cat/000.png", 0]], "has no label for"),
        ([["cat/000.png", "cat"]], "is not a class number"),
        ([["cat/000.png", -1]], "is not a class number"),
        ({"cat/000.png": 0}, "no {'labels'"),
    ],
)
def test_both_refuse_the_same_labels(tmp_path, labels, words):
    files = classes("cat", "dog") | {"dataset.json": json.dumps({"labels": labels}).encode()}
    for spec in specs(tmp_path, files):
        with pytest.raises(SpecError, match=r"dataset\.json") as caught:
            datasets.fingerprint(spec)
        assert words in str(caught.value)


def test_what_is_left_out_is_counted_by_ending(tmp_path):
    others = {f"c/{i}.bmp": b"x" for i in range(3)} | {"d/1.TIF": b"x", "README": b"x", "a.tar.gz": b"x"}
    for spec in specs(tmp_path, classes("a", "b") | others | {".git/config.txt": b"x"}):
        said = "6 files are not read: 3 .bmp, 1 .gz, 1 .tif, 1 without an ending"
        assert said in datasets.load(spec).source
        assert datasets.remarks(spec) == [f"profile.data: {said}"]
        assert datasets.counts(spec).classes == 2
    for spec in specs(tmp_path / "only", {"a/1.gif": b"x", "a/2.gif": b"x"}):
        with pytest.raises(SpecError, match=r"no images \(.png.*; 2 files are not read: 2 .gif"):
            datasets.fingerprint(spec)
    assert datasets.remarks(specs(tmp_path / "edm", edm())[0]) == []


def test_links_are_entered_once(tmp_path):
    folder = spread(tmp_path / "set", classes("cat"))
    elsewhere = spread(tmp_path / "dogs", {k.removeprefix("dog/"): v for k, v in classes("dog").items()})
    (folder / "dog").symlink_to(elsewhere)
    (folder / "cat" / "again").symlink_to(folder)
    (folder / "also").symlink_to(folder / "cat")
    (elsewhere / "back").symlink_to(elsewhere)
    (elsewhere / "lost.png").symlink_to(tmp_path / "nowhere")
    spec = Data(name="folder", path=str(folder))
    walked = archives.walk(folder)
    assert sorted(f.name for f in walked.files) == [
        f"{k}/{i:03d}.png" for k in ("cat", "dog") for i in range(10)
    ]
    assert datasets.remarks(spec) == ["profile.data: 1 file is not read: 1 broken link"]


def test_names_that_are_no_text_are_read_and_shown(tmp_path):
    folder = os.fsencode(spread(tmp_path / "set", classes("a")))
    os.mkdir(folder + b"/caf\xe9")
    for i, content in enumerate(classes("b", n=12).values()):
        with open(folder + b"/caf\xe9/%d\xff.png" % i, "wb") as out:
            out.write(content)
    spec = Data(name="folder", path=str(tmp_path / "set"), resolution=4, crop="random")
    assert counted(spec) == {0: 10, 1: 12}
    with open(folder + b"/caf\xe9/x\n\xfe.png", "wb") as out:
        out.write(b"no picture")
    with pytest.raises(SpecError) as caught:
        datasets.shape(spec)
    assert str(caught.value).isprintable()
    assert r"caf\udce9/x\n\udcfe.png: not a readable image" in str(caught.value)


def test_a_fingerprint_does_not_depend_on_the_locale(tmp_path):
    files = {f"{k}/{i}\N{SNOWMAN}.png": encoded(x) for k in ("ä", "z") for i, x in enumerate(colours(6))}
    path = spread(tmp_path / "set", files)
    os.rename(path / "z" / "0\N{SNOWMAN}.png", os.fsencode(path) + b"/z/\xe9.png")
    code = "import sys; from ablate.data import datasets; from ablate.config.profile import Data; "
    code += "print(datasets.fingerprint(Data(name='folder', path=sys.argv[1])))"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=os.environ | ascii_only,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == datasets.fingerprint(Data(name="folder", path=str(path)))


def test_a_held_out_class_has_the_number_of_its_folder(tmp_path):
    train = spread(tmp_path / "train", classes("a", "b", "c"))
    test = spread(tmp_path / "test", classes("a", "c"))
    spec = Data(name="folder", path=str(train), test_path=str(test))
    assert datasets.load(spec).test_labels.unique().tolist() == [0, 2]
    spread(test, {"d/1.png": ONE})
    with pytest.raises(SpecError, match="test_path: class 'd'"):
        datasets.fingerprint(spec) and datasets.shape(spec)


def test_a_changed_file_is_seen_at_once(tmp_path):
    path = spread(tmp_path / "set", classes("a", "b"))
    spec, marks = Data(name="folder", path=str(path)), []
    for change in (
        lambda: None,
        lambda: (path / "a" / "new.png").write_bytes(ONE),
        lambda: (path / "a" / "new.png").write_bytes(encoded(colours(2)[1])),
        lambda: os.utime(path / "a" / "new.png", (0, 0)),
        lambda: (path / "a" / "new.png").rename(path / "b" / "new.png"),
        lambda: shutil.rmtree(path / "b"),
    ):
        change()
        marks.append(datasets.fingerprint(spec))
    assert marks[3] == marks[2]
    assert len(set(marks)) == 5


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = spread(tmp_path / "set", classes("a", "b"))
    stack = datasets.pictures.stack

    def late(items, fit, shape):
        (path / "a" / "new.png").write_bytes(ONE)
        return stack(items, fit, shape)

    monkeypatch.setattr(datasets.pictures, "stack", late)
    with pytest.raises(SpecError, match="changed while they were read"):
        datasets.load(Data(name="folder", path=str(path)))


def test_sets_that_0_1_0_read_alike_keep_their_fingerprints(tmp_path):
    files = {f"{k}/{i}.png": f"{k}{i}".encode() for k in ("ä", "b") for i in range(6)}
    files |= {"notes.txt": b"n", "b/._0.png": b"f"}
    labels = json.dumps({"labels": [[name, 0] for name in files if name.endswith("png")]}).encode()
    spread(tmp_path / "folder", files)
    zipped(tmp_path / "edm.zip", files | {"dataset.json": labels})
    zipped(tmp_path / "flat.zip", {name.replace("/", ""): v for name, v in files.items()})
    cut = {"resolution": 8, "crop": "random", "holdout": 3, "images": 5}
    kept = {
        ("folder", "folder"): "da1e0f741615",
        ("zip", "edm.zip"): "1fa1fb25bd51",
        ("zip", "flat.zip"): "b2e50c7c58e2",
    }
    found = {k: datasets.fingerprint(Data(name=k[0], path=str(tmp_path / k[1]))) for k in kept}
    assert found == kept
    assert datasets.fingerprint(Data(name="folder", path=str(tmp_path / "folder"), **cut)) == "8b16f1e29654"
    assert datasets.fingerprint(Data(name="digits")) == "f32872304289"


def test_sets_that_it_read_otherwise_have_others(tmp_path):
    """Every line is a change of pixels or labels, without a change of what 0.1.0 hashed."""
    labelled = {"dataset.json": json.dumps({"labels": [["a/000.png", 1], ["b/001.png", 0]]}).encode()}
    files = classes("a", "b", n=1)
    folder, archive = specs(tmp_path / "plain", files)
    also_labelled, _ = specs(tmp_path / "labelled", files | labelled)
    assert datasets.fingerprint(folder) != datasets.fingerprint(also_labelled)
    flat = zipped(tmp_path / "flat.zip", {"a/000.png": files["a/000.png"], "a/001.png": files["b/001.png"]})
    assert archives.reading(*_read(Path(archive.path))) != []
    assert archives.reading(*_read(flat)) == []
    hidden = zipped(tmp_path / "hidden.zip", {"a.png": ONE, ".x/a.png": ONE, "b/__MACOSX/a.png": ONE})
    assert archives.reading(*_read(hidden)) == ["without hidden folders"]


def _read(path: Path):
    walked = archives.walk(path)
    return archives.labelled(walked, path), walked


def test_files_are_read_once_in_a_process(tmp_path, monkeypatch):
    path = spread(tmp_path / "set", classes("a", "b"))
    spec, reads = Data(name="folder", path=str(path)), []
    monkeypatch.setattr("ablate.data.survey.YOUNG_NS", -(10**18))  # these files are younger than a second
    read = archives._read
    monkeypatch.setattr(archives, "_read", lambda path: reads.append(path) or read(path))
    for _ in range(3):
        datasets.fingerprint(spec), datasets.shape(spec), datasets.counts(spec)
    assert len(reads) == 20
