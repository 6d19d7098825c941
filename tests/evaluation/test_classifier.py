from __future__ import annotations

import dataclasses

import pytest
import torch

from ablate.core.errors import SpecError
from ablate.data import datasets
from ablate.evaluation import classifier, ruler


@pytest.fixture(scope="module")
def trained(digits, extractor_cache):
    return classifier.train(digits, extractor_cache)


def few(shape: tuple[int, int, int], n: int = 24) -> datasets.Images:
    x = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % 2
    return datasets.Images(x, y, x[:8], y[:8], 2, "few")


def test_digits_are_recognised(trained):
    assert ruler.read(trained.weights).accuracy > 0.95


def test_features_are_white_on_the_training_images(digits, trained):
    with torch.no_grad():
        found = classifier.features(classifier.restore(trained.weights), digits.train).double()
    assert found.shape == (1000, classifier.FEATURES)
    variances = torch.linalg.eigvalsh(torch.cov(found.T))
    assert found.mean(0).abs().max() < 1e-3
    assert variances.min() > 0.2
    assert variances.max() < 1.01


def test_the_same_labels_twice_are_trained_once(digits, trained, monkeypatch):
    monkeypatch.setattr(classifier, "_fit", lambda images: pytest.fail("trained again"))
    assert classifier.train(digits, trained.weights.parent) == trained


def test_training_is_the_same_wherever_it_runs(tmp_path):
    before = torch.get_rng_state()
    a = classifier.train(few((1, 8, 8)), tmp_path / "a")
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    b = classifier.train(few((1, 8, 8)), tmp_path / "b")
    other = few((1, 8, 8))
    other.train = other.train.flip(0)
    c = classifier.train(other, tmp_path / "c")
    assert a.label == b.label != c.label
    assert a.label.startswith("classifier-")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64)])
def test_every_size_gives_64_features(shape):
    net = classifier.network(shape, 3).eval()
    with torch.no_grad():
        x = torch.zeros(2, *shape, dtype=torch.uint8)
        assert classifier.features(net, x).shape == (2, 64)


def test_only_bytes_are_taken():
    with pytest.raises(ValueError, match="uint8"):
        classifier.features(classifier.network((1, 8, 8), 2), torch.zeros(2, 1, 8, 8))


def test_a_shift_moves_by_an_eighth_at_most_and_grays_are_not_mirrored():
    x = torch.zeros(200, 1, 16, 16, dtype=torch.uint8)
    x[:, :, 8, 4] = 255
    found = classifier._augment(x, torch.Generator().manual_seed(0))
    _, _, rows, columns = found.nonzero(as_tuple=True)
    assert set(rows.tolist()) == {6, 7, 8, 9, 10}
    assert set(columns.tolist()) == {2, 3, 4, 5, 6}
    coloured = classifier._augment(x.expand(-1, 3, -1, -1), torch.Generator().manual_seed(0))
    assert coloured.nonzero()[:, 3].max() > 8


def test_a_damaged_file_is_trained_again(tmp_path):
    found = classifier.train(few((1, 8, 8)), tmp_path)
    found.weights.write_bytes(b"damaged")
    with pytest.raises(SpecError, match="no weights"):
        classifier.restore(found.weights)
    assert classifier.train(few((1, 8, 8)), tmp_path) == found


def test_one_class_is_no_task(tmp_path):
    with pytest.raises(SpecError, match="two or more classes"):
        classifier.train(dataclasses.replace(few((1, 8, 8)), classes=1), tmp_path)
