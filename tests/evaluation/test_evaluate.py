from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from unittest import mock

import numpy as np
import pytest
import scipy.linalg
import torch
from helpers.examples import example
from helpers.inception import random_weights
from helpers.made import LIST, Made

from ablate.analysis.results import Results
from ablate.core import plugins
from ablate.core.errors import SpecError
from ablate.evaluation import classifier, evaluate, extractors
from ablate.evaluation.metrics import METRICS
from ablate.report import tables
from ablate.tracking import unsent


@pytest.fixture(scope="module")
def cache(tmp_path_factory, extractor_cache):
    return shutil.copytree(extractor_cache, tmp_path_factory.mktemp("evaluate") / "cache")


@pytest.fixture(scope="module")
def ours(digits, cache) -> evaluate.Extractor:
    return evaluate.extractor("classifier", digits, cache)


@pytest.fixture(scope="module")
def held_out(digits) -> evaluate.Reference:
    return evaluate.reference(digits, 200)


def noisy(x: torch.Tensor, strength: float) -> torch.Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x + strength * noise).clamp(0, 255).round().byte()


def test_more_noise_is_further_away(digits, ours, held_out, cache):
    found = [
        evaluate.measure(noisy(digits.train[:200], s), held_out, ours, cache) for s in (0, 30, 100, 1000)
    ]
    fids, kids = [m["fid"] for m in found], [m["kid"] for m in found]
    assert fids == sorted(fids)
    assert kids == sorted(kids)
    assert fids[-1] > 10 * fids[0]
    assert found[0]["precision"] > 0.5 > found[-1]["precision"]
    assert found[0].n == 200


def test_few_images_repeated_are_further_away_than_real_ones(digits, ours, held_out, cache):
    real = evaluate.measure(digits.train[:200], held_out, ours, cache)
    repeated = evaluate.measure(digits.train[:20].repeat(10, 1, 1, 1), held_out, ours, cache)
    assert repeated["fid"] > 2 * real["fid"]
    assert repeated["recall"] < real["recall"]


def test_fid_is_the_frechet_distance_of_the_features(digits, ours, held_out, cache):
    net = classifier.restore(ours.weights)
    samples = noisy(digits.train[:200], 30)
    with torch.no_grad():
        a, b = (classifier.features(net, x).double().numpy() for x in (samples, held_out.images))
    mixed = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * mixed)
    for batch in (7, 64):
        assert evaluate.measure(samples, held_out, ours, cache, batch=batch)["fid"] == pytest.approx(
            expected, rel=1e-4
        )


def test_features_are_computed_once_and_those_of_the_reference_once_ever(digits, ours, tmp_path):
    seen: list[int] = []
    features = classifier.features
    against = evaluate.reference(digits, 50)
    with mock.patch.object(classifier, "features", lambda net, x: seen.append(len(x)) or features(net, x)):
        cold = evaluate.measure(digits.train[:60], against, ours, tmp_path)
        assert sum(seen) == 110
        assert evaluate.measure(digits.train[:60], against, ours, tmp_path) == cold
        assert sum(seen) == 170


def test_a_damaged_cache_is_mended(digits, ours, tmp_path):
    against = evaluate.reference(digits, 50)
    found = evaluate.measure(digits.train[:50], against, ours, tmp_path)
    for file in sorted((tmp_path / "fidelity").glob("*.pt")):
        file.write_bytes(b"damaged")
        assert evaluate.measure(digits.train[:50], against, ours, tmp_path) == found


def test_other_images_have_another_label(digits, ours):
    a, b = (
        evaluate.reference(digits, 50),
        evaluate.reference(dataclasses.replace(digits, test=255 - digits.test), 50),
    )
    assert a.label != b.label
    assert evaluate._cache_name(a, ours) != evaluate._cache_name(b, ours)
    other = dataclasses.replace(ours, label="classifier-0")
    assert evaluate._cache_name(a, ours) != evaluate._cache_name(a, other)
    assert len(evaluate.reference(digits, 10**6).images) == 797


def test_no_random_state_is_touched(digits, ours, tmp_path):
    def states() -> list[object]:
        return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]

    before = states()
    evaluate.measure(digits.train[:50], evaluate.reference(digits, 50), ours, tmp_path)
    assert states() == before


@pytest.mark.parametrize("rounded", [True, False])
def test_features_are_of_unrounded_products_after_any_training(digits, ours, tmp_path, monkeypatch, rounded):
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    matmul.allow_tf32 = convolution.allow_tf32 = rounded  # every training sets them
    seen, calculate = [], evaluate.calculate

    def watched(request):
        seen.append((matmul.allow_tf32, convolution.allow_tf32))
        return calculate(request)

    monkeypatch.setattr(evaluate, "calculate", watched)
    evaluate.measure(digits.train[:16], evaluate.reference(digits, 16), ours, tmp_path)
    assert seen == [(False, False)]
    assert (matmul.allow_tf32, convolution.allow_tf32) == (rounded, rounded)


def test_real_images_are_measured_once(digits, ours, tmp_path):
    found = evaluate.of_real_images(digits, 100, ours, tmp_path)
    with mock.patch.object(evaluate, "calculate", side_effect=AssertionError("computed again")):
        assert evaluate.of_real_images(digits, 100, ours, tmp_path) == found


def test_wrong_samples_are_refused(digits, ours, held_out, cache):
    for wrong in (digits.train.float(), digits.train[:, :, :4], digits.train[:3]):
        with pytest.raises(ValueError, match=r"uint8|n >= 8"):
            evaluate.measure(wrong, held_out, ours, cache)


def test_to_uint8_rounds_clamps_and_refuses_what_is_not_finite():
    x = torch.tensor([-1.0, 1.0, 0.0, 300.0, -300.0, 1 - 1.4 / 127.5]).reshape(6, 1, 1, 1)
    assert evaluate.to_uint8(x).flatten().tolist() == [0, 255, 128, 255, 0, 254]
    every = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    assert torch.equal(evaluate.to_uint8(every / 127.5 - 1), every)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(evaluate.NotFinite):
            evaluate.to_uint8(x * bad)


def test_entries_say_how_a_value_was_measured(ours, held_out):
    metrics = {"fid": {"value": 1.0, "halves": [1.1, 1.2]}, "kid": {"value": 0.1, "std": 0.01}}
    found = evaluate.entries(2, (80, 0.8), evaluate.Measured(200, metrics), ours, held_out)
    same = {"nfe": 2, "n": 200, "sigmas": [80.0, 0.8], "weights": "ema"}
    same |= {"extractor": ours.label, "reference": held_out.label}
    plain = {name: entry.model_dump(exclude_none=True) for name, entry in found.items()}
    assert plain == {name: {**same, **values} for name, values in metrics.items()}


def test_every_metric_is_measured(digits, ours, held_out, cache):
    found = evaluate.measure(digits.train[:50], held_out, ours, cache)
    assert list(found.metrics) == list(METRICS) == ["fid", "kid", "precision", "recall"]


def test_a_metric_in_one_file_is_measured_and_has_a_column(
    digits, ours, held_out, cache, tmp_path, monkeypatch
):
    (tmp_path / "mean_distance.py").write_text(example("A metric"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mean_distance", raising=False)
    point = EntryPoint("mean_distance", "mean_distance", "ablate.metrics")
    monkeypatch.setattr(plugins, "_installed", lambda: EntryPoints([point]))
    plugins.load.__wrapped__("ablate.evaluation.metrics", "ablate.metrics")
    try:
        found = evaluate.measure(noisy(digits.train[:60], 30), held_out, ours, cache)
        net = classifier.restore(ours.weights)
        with torch.no_grad():
            means = [
                classifier.features(net, x).mean(0) for x in (noisy(digits.train[:60], 30), held_out.images)
            ]
        assert found["mean_distance"] == pytest.approx(float((means[0] - means[1]).norm()), rel=1e-4)
        made = Made(tmp_path, LIST).put(0, 300.0)
        assert "mean_distance_1step" in tables.csv(Results(made.experiment, made.store)).splitlines()[0]
        assert unsent.results({"mean_distance": [{"nfe": 1, "value": 2.0}]}) == {"mean_distance_1step": 2.0}
    finally:
        del METRICS["mean_distance"]


def test_names_are_checked_without_torch():
    code = (
        "import sys; from ablate.evaluation.evaluate import check; check('classifier'); check('inception'); "
    )
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    evaluate.check("dinov2-vit-b-14")
    with pytest.raises(SpecError, match="did you mean 'inception'"):
        evaluate.check("inceptoin")


def test_missing_weights_say_where_to_put_them(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv(extractors.WEIGHTS, raising=False)
    unreachable = mock.patch.object(torch.hub, "download_url_to_file", side_effect=OSError("unreachable"))
    with unreachable, pytest.raises(SpecError) as caught:
        evaluate.extractor("inception", digits, tmp_path)
    (line,) = caught.value.problems
    assert "weights-inception-2015" in line
    assert str(tmp_path / "checkpoints") in line
    assert extractors.WEIGHTS in line


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no such file"), (b"", "no readable"), (b"x", "no readable")]
)
def test_wrong_weights_are_one_line(digits, tmp_path, monkeypatch, content, reason):
    monkeypatch.setenv(extractors.WEIGHTS, str(tmp_path / "w.pth"))
    if content is not None:
        (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(SpecError, match=reason) as caught:
        evaluate.extractor("inception", digits, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_inception_runs_on_gray_images(digits, tmp_path, monkeypatch):
    monkeypatch.setenv(extractors.WEIGHTS, str(random_weights(tmp_path / "w.pth")))
    found = evaluate.extractor("inception", digits, tmp_path)
    assert found.layer == "2048"
    assert found.label.startswith("inception-")
    metrics = evaluate.measure(digits.train[:12], evaluate.reference(digits, 12), found, tmp_path)
    assert metrics.n == 12
    assert np.isfinite(metrics["fid"])


def test_halves_are_the_fid_of_either_half(digits, ours, held_out, cache):
    samples = digits.train[:400]
    found = evaluate.measure(samples, held_out, ours, cache).metrics["fid"]
    alone = [evaluate.measure(samples[i::2], held_out, ours, cache)["fid"] for i in (0, 1)]
    assert found["halves"] == pytest.approx(alone, rel=1e-4)
    assert min(found["halves"]) > found["value"]  # fewer samples, more bias
    assert not list((cache / "fidelity").glob("samples-*"))
