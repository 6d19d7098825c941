"""Images are decoded once for all cells: what the cache keeps, shares, mends and refuses."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.pictures import classes, colours, packed, spread
from helpers.tiny_training import SMALL

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.core.files import write_json
from ablate.data import datasets, kept, pictures
from ablate.inference import measure_again
from ablate.inference.intermediate_sigma import TwoStepFid
from ablate.inference.model import load
from ablate.planning import planner
from ablate.runs.store import Store
from ablate.runs.worker import compute


@pytest.fixture
def spec(tmp_path):
    return Data(name="folder", path=str(spread(tmp_path / "set", classes("a", "b", n=20))), holdout=8)


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def decodings(monkeypatch):
    """The number of images of every decoding."""
    seen, fill = [], pictures.fill

    def counted(items, fit, shape):
        seen.append(len(items))
        return fill(items, fit, shape)

    monkeypatch.setattr(pictures, "fill", counted)
    return seen


def same(a: datasets.Images, b: datasets.Images) -> bool:
    tensors = ("train", "train_labels", "test", "test_labels")
    alike = all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors)
    return alike and (a.classes, a.fingerprint, a.source) == (b.classes, b.fingerprint, b.source)


@pytest.mark.parametrize(
    "more",
    [{}, {"resolution": 4}, {"resolution": 6, "crop": "random", "interpolation": "box"}, {"images": 9}],
    ids=str,
)
def test_kept_images_are_those_that_are_decoded_into_memory(tmp_path, spec, cache, decodings, more):
    spec = spec.model_copy(update=more)
    plain, first, second = (datasets.load(spec, cache=c) for c in (None, cache, cache))
    assert same(plain, first)
    assert same(plain, second)
    assert len(decodings) == 2
    assert list(kept.folders(cache)) == [plain.fingerprint]


def test_gray_images_among_coloured_ones_are_kept_alike(tmp_path, cache):
    images = [*colours(10, channels=1), *colours(10)]
    spec = Data(name="zip", path=str(packed(tmp_path / "a.zip", images)))
    assert same(datasets.load(spec), datasets.load(spec, cache=cache))


def test_a_cell_needs_no_file_of_a_set_that_is_kept(spec, cache):
    first = datasets.load(spec, cache=cache)
    gone = spec.model_copy(update={"path": "/nowhere"})
    assert same(first, datasets.load(gone, cache=cache, mark=first.fingerprint))
    with pytest.raises(SpecError, match="no such file or folder"):
        datasets.load(gone, cache=cache, mark="0123456789ab")


def flipped(place: Path) -> None:
    content = bytearray((place / "pixels.npy").read_bytes())
    content[-5] ^= 1
    (place / "pixels.npy").write_bytes(content)


def shortened(place: Path) -> None:
    (place / "pixels.npy").write_bytes((place / "pixels.npy").read_bytes()[:-100])


def older(place: Path) -> None:
    about = json.loads((place / "about.json").read_text())
    (place / "about.json").write_text(json.dumps({**about, "format": 0}))


DAMAGES = {
    "a bit": flipped,
    "cut": shortened,
    "an older format": older,
    "no description": lambda place: (place / "about.json").unlink(),
    "half a description": lambda place: (place / "about.json").write_text('{"format": 1'),
    "no labels": lambda place: (place / "labels.npy").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_images_are_decoded_anew_and_it_is_said(spec, cache, damage, capsys):
    first = datasets.load(spec, cache=cache)
    before = first.train.clone()
    DAMAGES[damage](kept.folder(cache, first.fingerprint))
    second = datasets.load(spec, cache=cache)
    assert torch.equal(second.train, before)
    assert "damaged: its images are decoded anew" in capsys.readouterr().out
    assert [p.name for p in cache.iterdir() if p.is_dir()] == [f"images-{first.fingerprint}"]


@pytest.fixture
def checks(monkeypatch):
    """The files that are read for their checksum; every file is as old as if it were written long ago."""
    seen, checksum = [], kept.checksum
    monkeypatch.setattr(kept, "checksum", lambda path: seen.append(path.name) or checksum(path))
    monkeypatch.setattr(kept, "YOUNG_NS", -(10**18))
    return seen


def test_kept_images_are_read_for_their_checksum_once(spec, cache, checks):
    first = datasets.load(spec, cache=cache)
    checks.clear()
    assert same(first, datasets.load(spec, cache=cache))
    assert checks == []
    shutil.copytree(cache, cache.with_name("copy"))  # other files: nobody has looked at them
    assert same(first, datasets.load(spec, cache=cache.with_name("copy")))
    assert checks == [*kept.FILES]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_after_the_check_is_found_too(spec, cache, damage, checks, capsys):
    first = datasets.load(spec, cache=cache)
    before = first.train.clone()
    time.sleep(0.02)  # a tick of the disk's clock
    DAMAGES[damage](kept.folder(cache, first.fingerprint))
    assert torch.equal(datasets.load(spec, cache=cache).train, before)
    assert "damaged: its images are decoded anew" in capsys.readouterr().out


def test_young_files_and_caches_that_cannot_be_written_are_checked_every_time(
    spec, cache, checks, monkeypatch
):
    monkeypatch.setattr(kept, "YOUNG_NS", 10**18)
    first = datasets.load(spec, cache=cache)
    place = kept.folder(cache, first.fingerprint)
    assert not (place / kept.CHECKED).exists()
    monkeypatch.setattr(kept, "YOUNG_NS", -(10**18))
    (place / kept.CHECKED).mkdir()
    for _ in range(2):
        checks.clear()
        assert same(first, datasets.load(spec, cache=cache))
        assert checks == [*kept.FILES]


def test_of_several_cells_that_start_together_one_decodes(spec, cache, decodings):
    found: list[datasets.Images] = []
    threads = [
        threading.Thread(target=lambda: found.append(datasets.load(spec, cache=cache))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(decodings) == 1
    assert all(same(found[0], other) for other in found)


def test_a_stopped_decoding_leaves_nothing_and_the_next_begins_anew(spec, cache):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.load(spec, cache=cache, on_images=stop)
    assert not [p for p in cache.iterdir() if p.is_dir()]
    (cache / f".images-{datasets.fingerprint(spec)}.killed").mkdir()
    datasets.load(spec, cache=cache)
    assert not [p for p in cache.iterdir() if p.is_dir() and p.name.startswith(".")]


def test_files_that_change_while_they_are_decoded_are_not_kept(spec, cache):
    changed = []

    def change(done, total):
        if not changed:
            changed.append(Path(spec.path, "a", "more.png").write_bytes(b"x"))

    with pytest.raises(SpecError, match="changed while they were read"):
        datasets.load(spec, cache=cache, on_images=change)
    assert not kept.folders(cache)


def test_a_disk_without_room_is_named_before_anything_is_decoded(spec, cache, monkeypatch, decodings):
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"no room for 0\.0 GB of decoded images") as caught:
        datasets.load(spec, cache=cache)
    assert caught.value.errno == errno.ENOSPC
    assert not decodings


def test_removed_images_stay_with_those_who_read_them(spec, cache):
    images = datasets.load(spec, cache=cache)
    before = images.train.clone()
    for place in kept.folders(cache).values():
        kept.remove(place)
    assert not kept.folders(cache)
    assert torch.equal(images.train, before)
    assert same(images, datasets.load(spec, cache=cache))


def test_digits_are_not_kept(cache):
    datasets.load(Data(name="digits"), cache=cache)
    assert not list(cache.iterdir())


def test_only_some_images_are_decoded_ahead_of_those_that_are_written(monkeypatch):
    """Memory stays the same however many images there are."""
    read = [0]
    monkeypatch.setattr(pictures, "AT_ONCE", 100)

    def one():
        read[0] += 1
        return image

    image = colours(1, size=4)[0]
    items = [(f"{i}", one, 0) for i in range(3000)]
    ahead = []
    for n, some in enumerate(pictures.fill(items, pictures.Fit(), (3, 4, 4))):
        time.sleep(0.001)  # a slow disk
        ahead.append(read[0] - (n + 1) * len(some))
    assert read[0] == 3001  # the first one is also asked for its size
    assert max(ahead) <= 6


def test_progress_is_reported_by_tenths():
    lines: list[str] = []
    on_images = kept.tenths(lines.append, 0)
    for done in range(0, 1001, 30):
        on_images(min(done, 1000), 1000)
    on_images(1000, 1000)
    assert len(lines) == 10
    assert lines[-1] == "decoded 1,000 of 1,000 images"
    kept.tenths(lines.append, 60)(5, 5)
    assert len(lines) == 10


def test_a_second_cell_trains_without_the_files_of_the_first(tmp_path, spec, cache, decodings):
    fields = {"data.name": "folder", "data.path": spec.path, "data.holdout": 8}
    fields |= {"images": 160, "evaluation.samples": 16}
    overrides = {f"profile.{k}": v for k, v in fields.items()} | {f"{k}": v for k, v in SMALL.items()}
    (tmp_path / "one.yaml").write_text("name: one\nseeds: [0, 1]\nplan: [{list: [{label: ict}]}]\n")
    first, second = planner.load(tmp_path / "one.yaml", overrides=overrides).cells.values()
    store = Store(tmp_path)  # whose cache is `cache`
    states = [compute(first, store.prepare(first))["state"]]
    shutil.rmtree(spec.path)
    states.append(compute(second, store.prepare(second))["state"])
    assert states == ["finished", "finished"]
    assert len(decodings) == 1
    for key, cell in ((first.key, first), (second.key, second)):
        folder = store.folder(key)
        write_json(folder.record, compute(cell, folder))
        (again,) = measure_again.measure(store, [key], measure_again.Wanted(samples=20))
        assert again.entries["fid"][0]["n"] == 20
        assert len(TwoStepFid(load(store, key), 16, store.cache).reference.images) == 8
    assert len(decodings) == 1
