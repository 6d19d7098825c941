"""What the headers of a large set say is kept between commands, and never believed when a file has changed."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import pytest
from PIL import Image

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data import datasets
from ablate.data import survey as module
from ablate.data.sources import SOURCES, huggingface, webdataset

N = 40


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of pictures that were written long ago, as far as the survey knows, and counts what is read."""
    monkeypatch.setattr(module, "CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "MANY", N)
    monkeypatch.setattr(module, "YOUNG_NS", -(10**12))
    for i in range(N):
        file = tmp_path / "pictures" / "ab"[i % 2] / f"{i:02d} \u00e9.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA" if i == 7 else "RGB", (8, 8 + i % 3), (i, 0, 0)).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def read(monkeypatch):
    """The number of images that a later command reads for its survey."""
    count, headers = [0], module.headers

    def counted(files):
        count[0] += len(files)
        return headers(files)

    monkeypatch.setattr(module, "headers", counted)

    def later(path):
        module._kept.clear()
        module._of_archive.cache_clear()
        count[0] = 0
        return module.survey(path, 10**6), count[0]

    later.count = count
    return later


def plain(found):
    return (
        found.headers,
        found.names,
        found.left_out,
        found.content,
        [(n, label) for n, _, label in found.items],
    )


def test_the_second_command_reads_no_image_and_knows_the_same(pictures, read):
    first, n = read(pictures)
    again, m = read(pictures)
    assert (n, m) == (N, 0)
    assert plain(first) == plain(again)


def test_an_archive_too(pictures, read, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted(pictures.rglob("*.png")):
            archive.write(file, file.relative_to(pictures))
    first, n = read(tmp_path / "all.zip")
    again, m = read(tmp_path / "all.zip")
    assert (n, m) == (N, 0)
    assert plain(first) == plain(again)


def shards(place, pixels):
    """Two shards of webdataset."""
    place.mkdir(exist_ok=True)
    for k in range(2):
        with tarfile.open(place / f"{k}.tar", "w") as out:
            for i, content in list(enumerate(pixels))[k::2]:
                for name, data in ((f"{i:03d}.png", content), (f"{i:03d}.cls", b"%d" % (i % 2))):
                    about = tarfile.TarInfo(name)
                    about.size = len(data)
                    out.addfile(about, io.BytesIO(data))


def table(place, pixels):
    """A parquet file with two columns of images."""
    import datasets as library

    kinds = {"img": library.Image(), "other": library.Image(), "label": library.Value("int64")}
    content = {
        "img": [{"bytes": p, "path": None} for p in pixels],
        "other": [{"bytes": p, "path": None} for p in pixels[::-1]],
        "label": [i % 2 for i in range(len(pixels))],
    }
    place.mkdir(exist_ok=True)
    made = library.Dataset.from_dict(content, features=library.Features(kinds))
    made.to_parquet(place / "train.parquet")


@pytest.mark.parametrize("name", ["webdataset", "huggingface"])
def test_the_other_sources_of_files_are_read_once_too(pictures, read, tmp_path, name, monkeypatch):
    if name == "huggingface":
        library = pytest.importorskip("datasets", reason="needs the extra 'huggingface'")
        monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hub")
        library.disable_progress_bars()
    write, source = (shards, webdataset) if name == "webdataset" else (table, huggingface)
    pixels = [file.read_bytes() for file in sorted(pictures.rglob("*.png"))]
    write(tmp_path / "set", pixels)
    spec = Data(name=name, path=str(tmp_path / "set"), image="img" if name == "huggingface" else None)

    def later(spec):
        source._survey.cache_clear()
        read.count[0] = 0
        (found,) = SOURCES[name].surveys(spec)
        return plain(found), read.count[0]

    (first, n), (again, m) = later(spec), later(spec)
    assert (n, m) == (N, 0)
    assert first == again
    if name == "huggingface":
        assert later(spec.model_copy(update={"image": "other"}))[1] == N
    write(tmp_path / "set", pixels[::-1])
    after, n = later(spec)
    assert n == N
    assert after != first


@pytest.mark.parametrize("change", ["content", "name", "more", "fewer", "same size", "touched"])
def test_any_change_is_seen(pictures, read, change):
    before, _ = read(pictures)
    file = sorted(pictures.rglob("*.png"))[3]
    if change == "content":
        Image.new("RGB", (9, 9)).save(file)
    elif change == "name":
        file.rename(file.with_name("other.png"))
    elif change == "more":
        Image.new("RGB", (8, 8)).save(pictures / "a" / "more.png")
    elif change == "fewer":
        file.unlink()
    elif change == "same size":
        os.replace(file, file.with_suffix(".old"))
        file.write_bytes(file.with_suffix(".old").read_bytes()[::-1])
        os.unlink(file.with_suffix(".old"))
    else:
        os.utime(file)
    after, n = read(pictures)
    assert n == len(after.items)
    assert (before.content == after.content) == (change == "touched")


def test_young_files_are_not_believed(pictures, read, monkeypatch):
    monkeypatch.setattr(module, "YOUNG_NS", 10**15)
    assert [read(pictures)[1] for _ in range(2)] == [N, N]


def test_small_sets_leave_no_file(pictures, read, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MANY", N + 1)
    assert [read(pictures)[1] for _ in range(2)] == [N, N]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff\xfe\n{}", "cut", "bit"])
def test_a_damaged_cache_is_ignored_and_written_anew(pictures, read, tmp_path, damage):
    first, _ = read(pictures)
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    bit = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    file.write_bytes({"cut": whole[:-10], "bit": bit}.get(damage, damage))
    again, n = read(pictures)
    assert (n, plain(again)) == (N, plain(first))
    assert read(pictures)[1] == 0


def test_a_cache_that_cannot_be_written_costs_nothing(pictures, read, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert [read(pictures)[1] for _ in range(2)] == [N, N]


def test_a_picture_that_cannot_be_read_is_looked_at_every_time(pictures, read):
    sorted(pictures.rglob("*.png"))[0].write_bytes(b"no picture")
    assert [read(pictures)[1] for _ in range(2)] == [N, N]


def test_the_oldest_files_go(pictures, read, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FILES", 2)
    for i in range(4):
        Image.new("RGB", (8, 8)).save(pictures / "a" / f"more{i}.png")
        read(pictures)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def zipped(path, files):
    """An archive of pictures; its time of change differs from that of the one before."""
    before = path.stat().st_ctime_ns if path.exists() else 0
    while not path.exists() or path.stat().st_ctime_ns == before:
        with zipfile.ZipFile(path, "w") as archive:
            for name, colour in files.items():
                content = io.BytesIO()
                Image.new("RGB", (8, 8), colour).save(content, "PNG")
                archive.writestr(name, content.getvalue())
    return path


@pytest.fixture
def walks(monkeypatch):
    """The paths that are walked."""
    done, walk = [], module.archives.walk
    monkeypatch.setattr(module.archives, "walk", lambda path: done.append(path) or walk(path))
    module._of_archive.cache_clear()
    module._kept.clear()
    return done


NINE = {f"{c}/{i}.png": (i, 0, 0) for c in "ab" for i in range(9)}


def test_an_archive_is_walked_once_whatever_is_asked_of_it(tmp_path, walks, monkeypatch):
    monkeypatch.setattr(module, "YOUNG_NS", -(10**18))
    train, test = zipped(tmp_path / "train.zip", NINE), zipped(tmp_path / "test.zip", NINE)
    spec = Data(name="zip", path=str(train), test_path=str(test), labels=True)
    for _ in range(3):
        assert datasets.shape(spec) == (3, 8, 8)
        assert datasets.counts(spec) == datasets.Counts(18, 18, 2)
        assert datasets.classes(spec) == 2
        assert datasets.remarks(spec) == []
        datasets.fingerprint(spec)
    assert walks == [train, test]


@pytest.mark.parametrize("change", ["content", "more", "replaced", "link"])
def test_a_changed_archive_is_walked_again(tmp_path, walks, monkeypatch, change):
    monkeypatch.setattr(module, "YOUNG_NS", -(10**18))
    path = zipped(tmp_path / "a.zip", NINE)
    if change == "link":
        path.rename(tmp_path / "real.zip")
        path.symlink_to(tmp_path / "real.zip")
    before = module.survey(path, 10**6)
    assert module.survey(path, 10**6) is before
    if change == "content":  # of the same size
        zipped(path, NINE | {"a/0.png": (77, 0, 0)})
    elif change == "more":
        zipped(path, NINE | {"a/9.png": (9, 0, 0)})
    else:
        path.unlink(missing_ok=change == "replaced")
        other = zipped(tmp_path / "other.zip", NINE | {"a/0.png": (77, 0, 0)})
        path.symlink_to(other) if change == "link" else other.rename(path)
    after = module.survey(path, 10**6)
    assert after.content != before.content
    assert len(walks) == 2


def test_another_limit_of_pixels_looks_again(tmp_path, walks, monkeypatch):
    monkeypatch.setattr(module, "YOUNG_NS", -(10**18))
    monkeypatch.setattr(module, "LARGEST", 1)
    path = zipped(tmp_path / "a.zip", NINE)
    module.survey(path, 10**6)
    with pytest.raises(SpecError, match="max_pixels=1 allows"):
        module.survey(path, 1)


def test_an_archive_that_may_change_unseen_is_walked_every_time(tmp_path, walks, monkeypatch):
    monkeypatch.setattr(module, "YOUNG_NS", 10**18)
    path = zipped(tmp_path / "a.zip", NINE)
    module.survey(path, 10**6), module.survey(path, 10**6)
    assert len(walks) == 2


def test_the_shape_is_found_once_for_the_same_files_and_anew_for_others(pictures, monkeypatch):
    """Rows, profiles and reports of one command ask again; an error is found every time."""
    cut, asked = datasets._cut, []
    monkeypatch.setattr(datasets, "_cut", lambda spec, found: asked.append(spec) or cut(spec, found))
    monkeypatch.setattr(datasets, "_shapes", {})

    def shape(n, **fields):
        found = datasets.shape(Data(name="folder", path=str(pictures), **fields))
        assert len(asked) == n
        return found

    assert [shape(1, resolution=8), shape(1, resolution=8)] == [(3, 8, 8)] * 2
    assert shape(2, resolution=4) == (3, 4, 4)
    for n in (3, 4):
        with pytest.raises(SpecError, match="resolution"):
            shape(n)
    for file in pictures.rglob("*.png"):
        Image.new("L", (6, 6)).save(file)
    assert [shape(5), shape(5)] == [(1, 6, 6)] * 2
    assert shape(6, resolution=8) == (1, 8, 8)
