"""Arrays, shards and torchvision's sets: what is read from each, and what is refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import examples
from helpers.pictures import classes, colours, encoded, spread
from PIL import Image

from ablate.config.profile import Data, load_profile
from ablate.core.errors import SpecError
from ablate.data import datasets, sources
from ablate.data.sources import SOURCES, Known, torchvision_sets

RGB, LABELS = np.stack(colours(20)), np.arange(20) % 3


def refused(spec: Data) -> str:
    with pytest.raises(SpecError) as caught:
        datasets.shape(spec), datasets.fingerprint(spec), datasets.load(spec)
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


def planned_as_loaded(spec: Data) -> datasets.Images:
    """What `load` gives, after a check that planning said the same."""
    found, counts = datasets.load(spec), datasets.counts(spec)
    assert datasets.shape(spec) == found.shape
    assert datasets.fingerprint(spec) == found.fingerprint
    assert (counts.train, counts.held_out) == (len(found.train), len(found.test))
    assert counts.classes == len(found.train_labels.unique())
    return found


def test_a_name_that_is_no_source_is_refused_with_the_nearest():
    assert "'hugingface': no such data; did you mean 'huggingface'?" in refused(Data(name="hugingface"))
    assert set(SOURCES) >= {"digits", "cifar10", "zip", "folder", "huggingface", "npz", "webdataset", "mnist"}


@pytest.mark.parametrize("name", ["digits", "cifar10", "folder", "npz", "webdataset", "huggingface"])
def test_each_source_refuses_the_keys_that_it_does_not_take(name):
    takes = SOURCES[name].takes
    for key in {"path", "test_path", "config", "split", "test_split", "revision", "image"} - {*takes}:
        line = refused(Data(**{"name": name, "path": "x" if "path" in takes else None, key: "word"}))
        assert line == f"profile.data.{key}: 'word': {name} takes no {key}"


def test_keys_that_only_say_where_images_are_change_no_key():
    plain = load_profile("digits", {}).keyed()
    for key, value in {"split": "train", "image": "x", "revision": "abc", "device_mb": 5}.items():
        assert load_profile("digits", {f"data.{key}": value}).keyed() == plain


# arrays


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "gray", "gray with an axis", "16 bits", "compressed"])
def test_arrays_keep_pixels_and_labels(tmp_path, layout):
    gray = np.stack(colours(20, channels=1))
    images = {
        "NCHW": RGB.transpose(0, 3, 1, 2),
        "gray": gray,
        "gray with an axis": gray[..., None],
        "16 bits": RGB.astype(np.uint16) * 256 + 255,
    }.get(layout, RGB)
    save = np.savez_compressed if layout == "compressed" else np.savez
    save(tmp_path / "a.npz", images=images, labels=LABELS)
    found = planned_as_loaded(Data(name="npz", path=str(tmp_path / "a.npz"), holdout=4))
    right = gray[:, None] if layout.startswith("gray") else RGB.transpose(0, 3, 1, 2)
    assert np.array_equal(torch.cat([found.train, found.test]).numpy(), right)
    assert torch.cat([found.train_labels, found.test_labels]).tolist() == LABELS.tolist()
    assert found.classes == 3


@pytest.mark.parametrize("way", ["into memory", "into the cache", "ahead of the workers"])
def test_no_array_stays_in_memory_after_the_images_are_decoded(tmp_path, way):
    from ablate.data.sources import npz

    spec = Data(name="npz", path=str(saved(tmp_path / "a.npz", images=RGB, labels=LABELS)))
    if way == "ahead of the workers":
        datasets.decode(spec, tmp_path, datasets.fingerprint(spec))
    else:
        datasets.load(spec, cache=tmp_path if way == "into the cache" else None)
    assert npz._array.cache_info().currsize == 0


def test_parts_of_a_file_are_chosen_by_a_word_in_their_names(tmp_path):
    path = saved(tmp_path / "a.npz", x_train=RGB, y_train=LABELS, x_test=RGB[:9], y_test=LABELS[:9, None])
    found = planned_as_loaded(Data(name="npz", path=str(path), split="train", test_split="test"))
    assert (len(found.train), len(found.test)) == (20, 9)
    assert found.test_labels.tolist() == LABELS[:9].tolist()
    named = planned_as_loaded(Data(name="npz", path=str(path), image="x_test", label="y_test"))
    assert len(named.train) + len(named.test) == 9
    assert "x_train (uint8 20x8x8x3)" in refused(Data(name="npz", path=str(path)))
    assert "test_split names the held-out images" in refused(
        Data(name="npz", path=str(path), split="train", test_split="test", holdout=3)
    )


def test_a_reference_batch_without_labels_has_one_class(tmp_path):
    other = saved(tmp_path / "b.npz", arr_0=RGB[:8])
    found = planned_as_loaded(
        Data(name="npz", path=str(saved(tmp_path / "a.npz", arr_0=RGB)), test_path=str(other))
    )
    assert (len(found.train), len(found.test), found.classes) == (20, 8, 1)
    assert found.source == "a.npz and b.npz, 20 and 8 images"


def test_arrays_that_cannot_be_read_are_one_line_each(tmp_path):
    def line(name: str, more: dict[str, str] | None = None, **arrays) -> str:
        return refused(Data(name="npz", path=str(saved(tmp_path / name, **arrays)), **(more or {})))

    assert "name the array of the images" in line("float.npz", images=RGB / 255.0)
    assert "name the array of the images" in line("rgba.npz", images=np.zeros((5, 8, 8, 4), np.uint8))
    assert "name the array of the classes" in line("two.npz", images=RGB, a=LABELS, b=LABELS)
    assert "has -1, which is no class number" in line("minus.npz", images=RGB, labels=LABELS - 1)
    assert "no such array" in line("word.npz", {"image": "picture"}, images=RGB)
    assert "has 20 images, but 'labels' has 7 classes" in line(
        "short.npz", {"label": "labels"}, images=RGB, labels=LABELS[:7]
    )
    (tmp_path / "text.npz").write_text("no archive")
    assert "no readable file of arrays" in refused(Data(name="npz", path=str(tmp_path / "text.npz")))
    whole = saved(tmp_path / "whole.npz", images=RGB)
    held_out = refused(Data(name="npz", path=str(whole), test_path=str(tmp_path / "text.npz")))
    assert held_out.startswith("profile.data.test_path: ")
    content = saved(tmp_path / "cut.npz", images=RGB).read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    assert "no readable file of arrays" in refused(Data(name="npz", path=str(tmp_path / "cut.npz")))


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a pickle was run')",)


def test_pickled_objects_in_arrays_are_never_read(tmp_path):
    for name, arrays in {
        "labels": {"images": RGB, "labels": np.array([Hostile()] * 20)},
        "images": {"images": np.array([Hostile()] * 20)},
    }.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays, allow_pickle=True)
        label = "labels" if name == "labels" else None
        assert "profile.data" in refused(Data(name="npz", path=str(path), label=label))


# shards


def shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as out:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            out.addfile(about, io.BytesIO(content))
    return path


def samples(start: int, n: int = 10, about: str = "cls") -> dict[str, bytes]:
    files = {}
    for i in range(start, start + n):
        files[f"{i:06d}.png"] = encoded(RGB[i])
        number = {"cls": f"{LABELS[i]}", "json": json.dumps({"label": int(LABELS[i]), "caption": "x"})}[about]
        files[f"{i:06d}.{about}"] = number.encode()
    return files


@pytest.mark.parametrize("about", ["cls", "json"])
@pytest.mark.parametrize("given", ["folder", "pattern", "file"])
def test_shards_keep_pixels_and_labels(tmp_path, given, about):
    for i in range(2):
        shard(tmp_path / f"{i:03d}.tar", samples(10 * i, about=about))
    path = {"folder": tmp_path, "pattern": tmp_path / "{000..001}.tar", "file": tmp_path / "001.tar"}[given]
    found = planned_as_loaded(Data(name="webdataset", path=str(path), holdout=4))
    first = 10 if given == "file" else 0
    pixels = torch.cat([found.train, found.test]).numpy()
    assert np.array_equal(pixels, RGB[first:].transpose(0, 3, 1, 2))
    assert torch.cat([found.train_labels, found.test_labels]).tolist() == LABELS[first:].tolist()


def test_a_tar_of_class_folders_is_read_as_an_archive_is(tmp_path):
    files = classes("cat", "dog") | {".git/x.png": b"", "cat/._000.png": b"fork", "README": b"x"}
    spec = Data(name="webdataset", path=str(shard(tmp_path / "a.tar", files)))
    assert planned_as_loaded(spec).classes == 2
    assert datasets.remarks(spec) == ["profile.data: 1 file is not read: 1 without an ending"]


def test_shards_that_cannot_be_read_are_one_line_each(tmp_path):
    def line(name: str, files: dict[str, bytes]) -> str:
        return refused(Data(name="webdataset", path=str(shard(tmp_path / name, files))))

    good = samples(0)
    assert "no class for 000003.png" in line("bare.tar", {k: v for k, v in good.items() if k != "000003.cls"})
    assert "000001.cls: 'two' is no class number" in line("text.tar", good | {"000001.cls": b'"two"'})
    assert "000001.cls: no class" in line("word.tar", good | {"000001.cls": b"two"})
    assert "more than one image" in line("twice.tar", good | {"000001.jpg": encoded(RGB[0], "JPEG")})
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as out:
        out.addfile(tarfile.TarInfo("x"))
    assert "without compression" in refused(Data(name="webdataset", path=str(tmp_path / "a.tar.gz")))
    assert "'{}'".format(tmp_path / "2.tar") in refused(
        Data(name="webdataset", path=str(tmp_path / "{2..3}.tar"))
    )
    assert "without .tar files" in refused(
        Data(name="webdataset", path=str(spread(tmp_path / "no", {"x": b""})))
    )


def test_members_that_lead_elsewhere_are_not_followed(tmp_path):
    path = shard(tmp_path / "a.tar", classes("a", "b"))
    with tarfile.open(path, "a") as out:
        link = tarfile.TarInfo("a/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    assert datasets.counts(Data(name="webdataset", path=str(path))).classes == 2


# torchvision


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def test_mnist_is_read_from_its_own_files(tmp_path, monkeypatch):
    digits = np.random.RandomState(0).randint(0, 256, (12, 28, 28), np.uint8)
    for part, n in (("train", 12), ("t10k", 5)):
        spread(
            tmp_path / "MNIST" / "raw",
            {
                f"{part}-images-idx3-ubyte": idx(digits[:n]),
                f"{part}-labels-idx1-ubyte": idx(np.arange(n, dtype=np.uint8) % 10),
            },
        )
    spec = Data(name="mnist", path=str(tmp_path))
    assert datasets.shape(spec) == (1, 28, 28)
    assert "has 12 and 5 images, not 60,000 and 10,000" in str(refused_load(spec))
    monkeypatch.setattr(torchvision_sets.Mnist, "size", Known((1, 28, 28), 12, 5, 10))
    assert "-ubyte: not the file of MNIST: its MD5 sum is " in refused_load(spec)
    monkeypatch.setattr(torchvision_sets.Mnist, "sums", ())
    found = planned_as_loaded(spec)
    assert np.array_equal(found.train[:, 0].numpy(), digits)
    assert found.source == "torchvision's MNIST"
    assert datasets.load(spec.model_copy(update={"resolution": 14})).shape == (1, 14, 14)


@pytest.mark.parametrize(
    ("name", "of", "says"),
    [
        ("mnist", "mnist", ""),
        ("fashion_mnist", "fashion_mnist", ""),
        ("kmnist", "kmnist", ""),
        ("mnist", "fashion_mnist", "not the file of MNIST: it is that of FashionMNIST"),
        ("fashion_mnist", "mnist", "not the file of FashionMNIST: it is that of MNIST"),
        ("kmnist", "mnist", "not the file of KMNIST: it is that of MNIST"),
        ("mnist", "kmnist", "not the file of MNIST: its MD5 sum is"),
    ],
)
def test_files_of_another_set_with_the_same_names_are_refused(tmp_path, monkeypatch, name, of, says):
    """The sums of made-up files stand for the sets' own, except for `kmnist`, whose sums nobody knows."""
    files = dict[str, dict[str, bytes]]()
    monkeypatch.setattr(torchvision_sets.Ubyte, "size", Known((1, 28, 28), 12, 12, 10))
    for which in ("mnist", "fashion_mnist", "kmnist"):
        images = np.full((12, 28, 28), len(files), np.uint8)
        contents = [idx(images if "images" in n else images[:, 0, 0]) for n in torchvision_sets.UBYTE]
        files[which] = dict(zip(torchvision_sets.UBYTE, contents, strict=True))
        if which != "kmnist":
            sums = tuple(hashlib.md5(content).hexdigest() for content in contents)
            monkeypatch.setattr(type(SOURCES[which]), "sums", sums)
    spread(tmp_path / SOURCES[name].title / "raw", files[of])
    spec = Data(name=name, path=str(tmp_path))
    if says:
        assert says in refused_load(spec)
    else:
        assert len(datasets.load(spec).train) == 12


def refused_load(spec: Data) -> str:
    with pytest.raises(SpecError) as caught:
        datasets.load(spec)
    return caught.value.problems[0]


@pytest.mark.parametrize("name", ["mnist", "cifar100", "svhn", "stl10"])
def test_sets_that_cannot_be_downloaded_say_what_to_put_where(tmp_path, monkeypatch, name):
    import torchvision.datasets

    def unreachable(*arguments: object, **more: object) -> None:
        raise OSError("unreachable")

    title = SOURCES[name].title.replace("-", "")
    monkeypatch.setattr(torchvision.datasets, title, unreachable)
    line = refused_load(Data(name=name, path=str(tmp_path)))
    assert f"'{name}': cannot be downloaded (unreachable): put " in line
    assert str(tmp_path) in line


def test_a_foreign_pickle_in_place_of_cifar10_is_not_opened(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    names = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list] + ["batches.meta"]
    spread(tmp_path / CIFAR10.base_folder, {name: pickle.dumps(Hostile()) for name in names})
    (tmp_path / CIFAR10.filename).write_bytes(gzip.compress(b"another file"))
    monkeypatch.setattr(CIFAR10, "download", lambda self: None)
    assert "cannot be downloaded" in refused_load(Data(name="cifar10", path=str(tmp_path)))


# ImageNet


def center_crop(image: Image.Image, size: int) -> np.ndarray:
    """What `dataset_tool.py --transform=center-crop` of EDM describes: the central square, then Lanczos."""
    pixels = np.asarray(image.convert("RGB"))
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(("width", "height"), [(50, 37), (31, 48), (64, 64), (17, 90)])
def test_imagenet_is_cut_as_edm_cuts_it(tmp_path, width, height):
    noise = np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)
    kinds = {
        "n01440764/n01440764_10026.JPEG": encoded(noise, "JPEG"),
        "n01443537/n01443537_16.JPEG": encoded(noise, "PNG"),  # ImageNet has a PNG with this ending
        "n02100735/n02100735_8.JPEG": encoded(Image.fromarray(noise).convert("CMYK"), "JPEG"),
        "n02100735/n02100735_9.JPEG": encoded(noise, "JPEG"),
    }
    spec = Data(
        name="folder",
        path=str(spread(tmp_path / "train", kinds)),
        resolution=16,
        interpolation="lanczos",
        holdout=1,
    )
    found = datasets.load(spec)
    assert found.classes == 3
    right = {
        center_crop(Image.open(io.BytesIO(content)), 16).transpose(2, 0, 1).tobytes()
        for content in kinds.values()
    }
    assert {bytes(x) for x in torch.cat([found.train, found.test]).numpy()} == right


def test_the_source_of_the_page_is_one_file(monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", dict(SOURCES))
    exec(examples.example("A source of images"), {"__name__": "stripes"})
    found = planned_as_loaded(Data(name="stripes"))
    assert (len(found.train), len(found.test), found.shape, found.classes) == (900, 100, (1, 8, 8), 2)
    assert found.source == "made-up stripes"
    assert "stripes takes no path" in refused(Data(name="stripes", path="x"))
