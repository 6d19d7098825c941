"""An evaluation keeps to one device, and the host waits for it only where numbers are read; shown without a GPU."""

from __future__ import annotations

import contextlib
from unittest import mock

import pytest
import torch
from helpers import devices
from helpers.tiny_training import PROFILE, recipe

from ablate.config.profile import Data
from ablate.core.hardware import sent
from ablate.evaluation import classifier, evaluate, extractors
from ablate.ingredients import embedding
from ablate.training.sampling import generate
from ablate.training.trainer import Trainer

SHAPES = [(1, 8, 8), (3, 8, 8), (3, 32, 32)]


@pytest.fixture(autouse=True)
def nothing_kept():
    """No tensor of a device that does not exist stays in a cache."""
    embedding.kept_frequencies.clear()
    yield
    embedding.kept_frequencies.clear()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_training_step_of_the_classifier_waits_for_nothing(shape):
    """Its losses are never read; the optimizer's own numbers are the CPU's."""
    images = devices.images("meta", shape, n=classifier.BATCH)
    net = classifier.network(images.shape, images.classes).to("meta").train()
    here = mock.patch("torch.autocast", return_value=contextlib.nullcontext())  # it knows no `meta`
    with here, devices.Waits() as seen:
        classifier._descend(net, images, 3 * classifier.BATCH)
    assert seen.found == []


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_cuda_the_classifier_has_one_device(shape):
    """Without its backward pass, on the branch that the code takes for a GPU."""
    with devices.absent("cuda"):
        images = devices.images("cuda", shape)
        with torch.device("cuda"):
            net = classifier.network(images.shape, images.classes).train()
        rows = torch.arange(8, device="cpu")
        with devices.Waits() as seen:
            x = sent(images.train[sent(rows, "cuda")], "cuda")
            loss = classifier._loss(net, x, images.train_labels[sent(rows, "cuda")])
        assert (loss.device.type, seen.found) == ("cuda", [])
        with torch.no_grad(), devices.Waits() as seen:
            assert classifier.features(net.eval(), x).device.type == "cuda"
        assert seen.found == []


@pytest.mark.parametrize("kind", [extractors.OURS, extractors.INCEPTION])
def test_the_forward_pass_of_an_extractor_waits_for_nothing(kind):
    if kind == extractors.OURS:
        net = classifier.network((3, 32, 32), 3).to("meta").eval()

        def features(x):
            return classifier.features(net, x)
    else:
        from torch_fidelity import feature_extractor_inceptionv3 as library

        with (
            torch.device("meta"),
            mock.patch.object(library, "load_state_dict_from_url", return_value={}),
            mock.patch.object(library.FeatureExtractorInceptionV3, "load_state_dict"),
        ):
            inception = library.FeatureExtractorInceptionV3(kind, ["2048"])

        def features(x):
            return inception(x)[0]

    x = torch.zeros(4, 3, 32, 32, dtype=torch.uint8, device="meta")
    with torch.no_grad(), devices.Waits() as seen:
        assert len(features(x)) == 4
    assert seen.found == []


@pytest.mark.parametrize("labels", [False, True])
def test_samples_are_read_once_however_many_batches_there_are(labels):
    """Classes are copied to the device before the first batch."""
    data, found = Data(name="digits", labels=labels), []
    with devices.absent("cuda"):
        profile = PROFILE.model_copy(update={"data": data})
        f = Trainer(recipe(), profile, devices.images("cuda", classes=3), 0, "cuda").average
        for batch in (8, 2):
            with devices.Waits() as seen:
                x = generate(f, (1, 8, 8), 8, [80.0, 0.8], 0.002, batch=batch, device="cuda")
            assert x.device.type == "cuda"
            found.append(len(seen.found))
    assert found[0] == found[1]
    assert labels or not found[0]


def test_images_become_bytes_where_they_are():
    with devices.absent("cuda"):
        x = torch.zeros(4, 1, 8, 8, device="cuda")
        with (
            devices.Waits() as seen,
            mock.patch("ablate.evaluation.evaluate.int", return_value=0, create=True),
        ):
            assert evaluate.to_uint8(x).device.type == "cuda"
    assert seen.found == []
