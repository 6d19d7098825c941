"""Extractors as files: named by content, shipped with the package, chosen where they suit the images."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ablate.config.profile import load_profile
from ablate.core.errors import SpecError
from ablate.data.datasets import Images
from ablate.evaluation import classifier, evaluate, extractors, ruler

SHIPPED = sorted(ruler.SHIPPED.glob("*.safetensors"))


@pytest.fixture(scope="module")
def known():
    return next(ruler.candidates((1, 8, 8), 10))


def moved(known, scale):
    """The same extractor with weights of another machine, as far away as `scale` says."""
    generator = np.random.default_rng(0)
    state = {
        name: array
        if array.dtype != np.float32
        else array * (1 + scale * generator.standard_normal(array.shape))
        for name, array in known.state.items()
    }
    return dataclasses.replace(known, state={k: v.astype(known.state[k].dtype) for k, v in state.items()})


def test_shipped_files_are_named_by_their_content_and_small():
    assert sum(file.stat().st_size for file in SHIPPED) < 4e6
    assert len({ruler.header(file).shape for file in SHIPPED}) == len(SHIPPED) == 4
    for file in SHIPPED:
        assert ruler.read(file).label == file.stem == ruler.header(file).label
        assert "epochs by torch" in ruler.header(file).origin


def test_the_docs_show_the_shipped_files():
    page = (Path(__file__).parents[2] / "docs" / "rulers.md").read_text()
    for file in SHIPPED:
        assert f"| `{file.stem}` | {ruler.header(file).accuracy:.1%}".replace("%", " %") in page


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (3, 32, 32)])
def test_the_label_is_that_of_older_versions(shape):
    """They hashed the state in torch's order of parameters."""
    torch.manual_seed(0)
    state = classifier.network(shape, 10).state_dict()
    digest = hashlib.sha256(f"{ruler.ARCHITECTURE} {list(shape)} 10".encode())
    for name, tensor in state.items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    arrays = {name: tensor.contiguous().numpy() for name, tensor in state.items()}
    assert ruler.Ruler(shape, 10, 0.5, arrays).label == f"classifier-{digest.hexdigest()[:8]}"


def test_a_file_says_what_was_written(known, tmp_path):
    ruler.write(dataclasses.replace(known, data="0" * 12), tmp_path / "x.safetensors")
    found = ruler.read(tmp_path / "x.safetensors")
    assert (found.label, found.accuracy, found.data, found.origin) == (
        known.label,
        known.accuracy,
        "0" * 12,
        known.origin,
    )


def test_a_cache_of_an_older_version_is_used(known, digits, tmp_path):
    other = moved(known, 0.01)
    file = classifier.cached(digits, tmp_path).with_suffix(".pt")
    state = {name: torch.from_numpy(array) for name, array in other.state.items()}
    torch.save({"shape": [1, 8, 8], "classes": 10, "state": state, "accuracy": 0.5}, file)
    for _ in range(2):  # the second time from the new file
        assert classifier.train(digits, tmp_path).label == other.label != known.label


def images(digits, **changed) -> Images:
    return dataclasses.replace(digits, fingerprint="another copy", **changed)


def noisy(x, std):
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x.float() + std * z).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    "copy",
    [
        lambda d: images(d),
        lambda d: images(d, test=noisy(d.test, 6)),
        lambda d: images(d, test=d.test[:200], test_labels=d.test_labels[:200]),
        lambda d: images(d, train=d.train[:100], train_labels=d.train_labels[:100]),
    ],
)
def test_copies_of_a_data_set_use_the_shipped_one(copy, digits, known, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "made", lambda *_: pytest.fail("trained"))
    found = classifier.train(copy(digits), tmp_path)
    assert found.label == known.label
    assert found.origin.startswith("shipped, recognises 9")
    assert classifier.train(copy(digits), tmp_path) == found


@pytest.mark.parametrize(
    "other",
    [
        lambda d: images(d, test=255 - d.test),
        lambda d: images(d, test_labels=d.test_labels.roll(1)),
        lambda d: images(d, test=d.test.flip(3)),
        lambda d: images(d, test=noisy(d.test, 120)),
        lambda d: images(d, classes=11),
    ],
)
def test_another_data_set_of_the_same_shape_does_not(other, digits, tmp_path, monkeypatch):
    made = moved(next(ruler.candidates((1, 8, 8), 10)), 0.02)
    monkeypatch.setattr(classifier, "made", lambda *_: made)
    assert classifier.train(other(digits), tmp_path).label == made.label


def test_an_extractor_is_installed_only_while_nobody_trains_one(known, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "cache").mkdir()
    ruler.write(dataclasses.replace(known, data="0" * 12), tmp_path / "report" / f"{known.label}.safetensors")
    own = ruler.of_data("0" * 12, tmp_path / "cache")
    arguments = (tmp_path / "report", {known.label}, tmp_path / "cache")
    other = threading.Thread(target=ruler.install, args=arguments)
    with ruler.locked(own):
        other.start()
        other.join(0.3)
        assert not own.exists()
    other.join()
    assert ruler.read(own).label == known.label


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine.safetensors", "name it classifier-"),
        ("classifier-00000000.safetensors", "its content is that of classifier-"),
        ("gone.safetensors", "no such file"),
        ("damaged.safetensors", "not a file of an extractor"),
    ],
)
def test_a_wrong_file_is_one_line(name, says, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "damaged.safetensors":
        (tmp_path / name).write_bytes(b"damaged")
    elif name != "gone.safetensors":
        ruler.write(known, tmp_path / name)
    with pytest.raises(SpecError, match=says) as found:
        extractors.check(name)
    assert len(found.value.problems) == 1
    assert found.value.problems[0].startswith(f"profile.evaluation.extractor: '{name}'")


def test_a_file_enters_the_key_by_its_content(known, tmp_path):
    keyed = []
    for folder, scale in (("a", 0.0), ("b", 0.0), ("c", 0.01)):
        (tmp_path / folder).mkdir()
        one = moved(known, scale)
        file = tmp_path / folder / f"{one.label}.safetensors"
        ruler.write(one, file)
        keyed.append(load_profile("digits", {"evaluation.extractor": str(file)}).keyed())
    assert keyed[0] == keyed[1] != keyed[2]


def test_the_file_is_found_again_by_its_name(known, digits, tmp_path):
    other = moved(known, 0.01)
    file = tmp_path / f"{other.label}.safetensors"
    ruler.write(other, file)
    assert evaluate.extractor(str(file), digits, tmp_path / "cache").label == other.label
    file.unlink()
    assert evaluate.extractor(str(file), digits, tmp_path / "cache").label == other.label
    with pytest.raises(SpecError, match="no such file"):
        evaluate.extractor(str(file), digits, tmp_path / "elsewhere")


def test_a_file_of_other_images_is_refused(known, digits, tmp_path):
    colored = next(ruler.candidates((3, 8, 8), 10))
    with pytest.raises(SpecError, match="made for images of 3 x 8 x 8, but these are 1 x 8 x 8"):
        evaluate.extractor(f"{colored.label}.safetensors", digits, tmp_path)


def test_features_of_another_processor_are_in_the_same_column(known, digits, tmp_path, monkeypatch):
    """docs/rulers.md: with one file, features differ by up to 5e-5 between instruction sets, FIDs by 1e-6."""
    by = classifier.train(digits, tmp_path / "a")
    before = classifier.features

    def elsewhere(net, x):
        found = before(net, x)
        return found + 5e-5 * torch.randn(found.shape, generator=torch.Generator().manual_seed(1))

    samples = noisy(digits.train[:300], 20)
    one = evaluate.extractor("classifier", digits, tmp_path / "a")
    a = evaluate.measure(samples, evaluate.reference(digits, 300), one, tmp_path / "a")
    monkeypatch.setattr(classifier, "features", elsewhere)
    other = evaluate.extractor("classifier", digits, tmp_path / "b")
    b = evaluate.measure(samples, evaluate.reference(digits, 300), other, tmp_path / "b")
    assert one.label == other.label == by.label == known.label
    assert a["fid"] != b["fid"]
    assert a["fid"] == pytest.approx(b["fid"], rel=1e-4)
