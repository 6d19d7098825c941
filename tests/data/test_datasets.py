from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pictures import colours, encoded, packed

from ablate.config.profile import ARCHIVES, Data, load_profile
from ablate.core.errors import SpecError
from ablate.data import datasets


def refused(spec: Data) -> str:
    with pytest.raises(SpecError) as caught:
        datasets.load(spec)
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


def zipped(path: Path, **more: object) -> Data:
    return Data.model_validate({"name": "zip", "path": str(path), **more})


def test_digits_are_split_in_a_fixed_shuffled_order():
    a, b = datasets.load(Data(name="digits")), datasets.load(Data(name="digits", holdout=297, images=100))
    assert a.shape == (1, 8, 8)
    assert a.train.dtype == torch.uint8
    assert a.classes == 10
    assert (len(a.train), len(a.test), len(b.train), len(b.test)) == (1000, 797, 100, 297)
    assert torch.equal(a.train[:100], b.train)
    assert torch.equal(a.test[-297:], b.test)
    assert int(a.train.max()) == 255
    assert len(a.train_labels.unique()) == 10
    assert not torch.equal(a.train_labels, a.train_labels.sort().values)


@pytest.mark.parametrize("prefix", ["", "inner/"])
def test_zip_keeps_pixels_and_labels(tmp_path, prefix):
    images = colours(20)
    labels = [i % 3 for i in range(20)]
    found = datasets.load(zipped(packed(tmp_path / "a.zip", images, labels, prefix)))
    assert (len(found.train), len(found.test), found.classes) == (18, 2, 3)
    assert torch.equal(found.train[4], torch.from_numpy(images[4]).permute(2, 0, 1))
    assert found.train_labels.tolist() + found.test_labels.tolist() == labels


def test_zip_with_a_test_archive_holds_out_nothing_of_train(tmp_path):
    train, test = packed(tmp_path / "a.zip", colours(6)), packed(tmp_path / "b.zip", colours(4))
    found = datasets.load(zipped(train, test_path=str(test), images=5))
    assert (len(found.train), len(found.test), found.classes) == (5, 4, 1)
    assert "test_path" in refused(zipped(train, test_path=str(test), holdout=2))


def test_order_by_class_is_mixed_before_it_is_split(tmp_path):
    found = datasets.load(
        zipped(packed(tmp_path / "a.zip", colours(40), [i // 10 for i in range(40)]), holdout=20)
    )
    assert len(found.train_labels.unique()) == len(found.test_labels.unique()) == 4


def test_folder_takes_sub_folders_as_classes(tmp_path):
    for i, pixels in enumerate(colours(8, channels=1)):
        (tmp_path / "cd"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "cd"[i % 2] / f"{i}.png").write_bytes(encoded(pixels))
    found = datasets.load(Data(name="folder", path=str(tmp_path), holdout=2))
    assert found.shape == (1, 8, 8)
    assert found.classes == 2
    by_label = dict(zip(map(bytes, found.train.numpy()), found.train_labels.tolist(), strict=True))
    assert all(by_label.get(bytes(x), i % 2) == i % 2 for i, x in enumerate(colours(8, channels=1)))


def test_one_coloured_image_makes_all_rgb(tmp_path):
    images = [*colours(3, channels=1), *colours(2)]
    assert datasets.load(zipped(packed(tmp_path / "a.zip", images))).shape == (3, 8, 8)


def test_resolution_crops_the_centre_and_averages(tmp_path):
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 200
    found = datasets.load(zipped(packed(tmp_path / "a.zip", [wide, wide]), resolution=4))
    assert found.shape == (3, 4, 4)
    assert found.train.unique().tolist() == [200]
    line = refused(zipped(packed(tmp_path / "b.zip", [*colours(2), *colours(1, size=6)])))
    assert "img00000000" in line
    assert "img00000002" in line
    assert "6x6" in line


def test_fingerprint_is_of_the_content_and_the_cut_not_of_the_place(tmp_path):
    labels = [0, 1, 0, 1]
    a = packed(tmp_path / "a.zip", colours(4), labels)
    b = packed(tmp_path / "b.zip", colours(4), labels)
    c = packed(tmp_path / "c.zip", colours(4), [1, 1, 0, 1])
    assert (
        datasets.fingerprint(zipped(a))
        == datasets.fingerprint(zipped(b))
        == datasets.load(zipped(a)).fingerprint
    )
    others = [zipped(c), zipped(a, holdout=2), zipped(a, resolution=4), zipped(a, test_path=str(c))]
    assert len({datasets.fingerprint(s) for s in [zipped(a), *others]}) == 5
    assert datasets.fingerprint(zipped(a)) == datasets.fingerprint(zipped(a, flip=True))


def test_fingerprint_of_a_folder_sees_its_bytes(tmp_path):
    marks = []
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(bytes([value] * 10))
        marks.append(datasets.fingerprint(Data(name="folder", path=str(tmp_path / name))))
    assert marks[0] == marks[1] != marks[2]


def test_fingerprint_needs_no_torch():
    code = "import sys; from ablate.data import datasets; from ablate.config.profile import Data; "
    code += "datasets.fingerprint(Data(name='digits')); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wrong_paths_are_one_line_each(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    empty = packed(tmp_path / "empty.zip", [])
    assert "profile.data.path: zip needs a path" in refused(Data(name="zip"))
    assert "no such file" in refused(zipped(tmp_path / "missing.zip"))
    assert "not a readable zip" in refused(zipped(tmp_path / "text.zip"))
    assert "no images" in refused(zipped(empty))
    assert "no images" in refused(Data(name="folder", path=str(tmp_path)))
    assert "a folder" in refused(zipped(tmp_path))
    assert "takes no path" in refused(Data(name="digits", path="x"))


def test_wrong_counts_name_what_there_is(tmp_path):
    path = packed(tmp_path / "a.zip", colours(6))
    assert "of 6 images" in refused(zipped(path, holdout=6))
    assert "only 4" in refused(zipped(path, holdout=2, images=5))


def test_damaged_images_are_named(tmp_path):
    whole = encoded(colours(1, size=64)[0])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("good.png", whole)
        out.writestr("short.png", whole[: len(whole) // 2])
    assert "short.png: not a readable image" in refused(zipped(tmp_path / "a.zip"))


def test_images_that_explode_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    flat = packed(tmp_path / "a.zip", [np.zeros((64, 64, 3), np.uint8)] * 2)
    line = refused(zipped(flat, max_pixels=4000))
    assert "64x64 is 4,096 pixels" in line
    assert "max_pixels" in line
    monkeypatch.setattr("ablate.data.survey.LARGEST", 1000)
    large = packed(tmp_path / "b.zip", colours(2, size=64))
    assert "allows files of 3,000" in refused(zipped(large, max_pixels=1000))


@pytest.mark.parametrize(
    "text", ['{"labels": 3}', "[]", "no", '{"labels": [["x.png", -1]]}', '{"labels": [["x.png", "a"]]}']
)
def test_wrong_labels_are_refused(tmp_path, text):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("x.png", encoded(colours(1)[0]))
        out.writestr("dataset.json", text)
    assert "dataset.json" in refused(zipped(tmp_path / "a.zip"))


def test_a_missing_label_is_named(tmp_path):
    with zipfile.ZipFile(packed(tmp_path / "a.zip", colours(2), [0, 1]), "a") as out:
        out.writestr("extra.png", encoded(colours(1)[0]))
    assert "no label for extra.png" in refused(zipped(tmp_path / "a.zip"))


def test_cifar10_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "download", lambda self: (_ for _ in ()).throw(OSError("unreachable")))
    line = refused(Data(name="cifar10", path=str(tmp_path)))
    assert ARCHIVES[0] in line
    assert "cifar-10-python.tar.gz" in line
    assert str(tmp_path) in line


def test_cifar10_is_the_archives_that_lie_in_its_folder_under_their_own_name(tmp_path):
    for name, n in zip(ARCHIVES, (12, 4), strict=True):
        packed(tmp_path / name, colours(n), [i % 3 for i in range(n)])
    asked = {"data": {"name": "cifar10", "path": str(tmp_path)}}
    spec = load_profile("digits", asked).data
    assert (spec.name, spec.test_path) == ("zip", str(tmp_path / ARCHIVES[1]))
    found = datasets.load(spec)
    assert (len(found.train), len(found.test)) == (12, 4)
    assert ARCHIVES[0] in found.source
    assert "12 and 4 images of kind .png" in found.source
    (tmp_path / ARCHIVES[1]).unlink()  # half of it is not the data set
    assert load_profile("digits", asked).data.name == "cifar10"


def test_interpolation_and_crop_are_read_and_are_part_of_the_content(tmp_path):
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 16, (8, 1))
    file = packed(tmp_path / "a.zip", [ramp, ramp])
    found = {
        (interpolation, crop): datasets.load(
            zipped(file, resolution=4, interpolation=interpolation, crop=crop, holdout=1)
        )
        for interpolation, crop in (("bicubic", "center"), ("nearest", "center"), ("bicubic", "random"))
    }
    assert len({f.fingerprint for f in found.values()}) == 3
    pixels = [f.train.flatten().tolist() for f in found.values()]
    assert pixels[0] != pixels[1]
    assert pixels[0] != pixels[2]
