"""Extractors, which turn images into features: the in-domain classifier, Inception, or any of torch-fidelity's."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core.errors import SpecError, nearest
from ablate.core.files import typed_path
from ablate.core.lazy import LazyModule, torch
from ablate.data.datasets import Images
from ablate.evaluation import classifier, ruler
from ablate.evaluation.ruler import Ruler

torch_fidelity: Any = LazyModule("torch_fidelity")

KEY = "profile.evaluation.extractor"
OURS = "ablate-classifier"  # name of the in-domain extractor in torch-fidelity
INCEPTION = "inception-v3-compat"
SHORT = {"classifier": OURS, "inception": INCEPTION}
WEIGHTS = "ABLATE_INCEPTION_WEIGHTS"  # environment variable: the file of the Inception weights
PATIENCE = 20.0  # seconds to wait for a server


@dataclass(frozen=True)
class Extractor:
    """A network that turns images into features.

    name: in torch-fidelity; label: in tables, with a hash of the weights if their file is known; weights: that file;
    layer: the output that all metrics use; origin: where the weights come from, for people.
    """

    name: str
    label: str
    weights: Path | None
    layer: str
    origin: str = ""


def check(name: str, where: str = KEY) -> None:
    """Check that `name` is an extractor, without looking for weights; fast for `classifier`, `inception` and files.

    Raises:
        SpecError: there is no such extractor, or a file is not named by its content.
    """
    if ruler.named(name):
        ruler.check(name, where)
    elif name not in SHORT and name not in (known := _registry()):
        raise SpecError(f"{where}: no extractor {name!r}; {nearest(name, {*SHORT, *known} - {OURS})}")


def of_file(name: str, cache: Path | None, where: str = KEY) -> Ruler | None:
    """The extractor in the file `name`, or in its copy in `cache`; None if `name` is an extractor but no file.

    Raises:
        SpecError: there is no such extractor, or the file is missing or not named by its content.
    """
    if ruler.named(name):
        return ruler.find(name, cache, where)
    check(name, where)
    return None


def extractor(name: str, images: Images, cache: Path) -> Extractor:
    """The extractor `name`; `classifier` is trained on `images` unless `cache` has it.

    Raises:
        SpecError: unknown name, or weights that are missing and cannot be downloaded.
    """
    if by := of_file(name, cache):
        ruler.fits(by, name, images.shape, KEY)
        return _kept(by, cache)
    known = SHORT.get(name, name)
    if known == OURS:
        ours = classifier.train(images, cache)
        return Extractor(OURS, ours.label, ours.weights, str(classifier.FEATURES), ours.origin)
    layer = _registry()[known].get_default_feature_layer_for_metric("fid")
    if known != INCEPTION:
        return Extractor(known, known, None, layer)
    weights = _inception_weights()
    return Extractor(known, f"inception-{_file_hash(weights, weights.stat().st_mtime_ns)}", weights, layer)


def _kept(known: Ruler, cache: Path) -> Extractor:
    """The extractor of a file, with a copy in `cache`, where reports find it."""
    kept = Path(cache) / f"{known.label}{ruler.SUFFIX}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        ruler.write(known, kept)
    return Extractor(OURS, known.label, kept, str(classifier.FEATURES), known.origin)


def require(name: str) -> None:
    """Make sure that the weights of an extractor that is no file are here, and download them if not.

    Raises:
        SpecError: they are damaged, or cannot be downloaded.
    """
    known = SHORT.get(name, name)
    if known == INCEPTION:
        _inception_weights()
    elif known != OURS:
        from torch_fidelity.utils import create_feature_extractor

        layer = _registry()[known].get_default_feature_layer_for_metric("fid")
        try:
            with _patience(), contextlib.redirect_stdout(sys.stderr):  # torch.hub names its downloads
                create_feature_extractor(known, [layer], cuda=False, verbose=False)
        except (
            Exception
        ) as error:  # whatever a network of another package raises, it would raise after training too
            raise _not_loaded(name, error) from None


def _not_loaded(name: str, error: Exception) -> SpecError:
    reason = " ".join(str(error).split())[:120] or repr(error)
    return SpecError(
        f"{KEY}: {name!r}: its weights cannot be loaded or downloaded ({reason}): "
        f"copy {torch.hub.get_dir()} from a machine that has them"
    )


def calculate(request: dict[str, Any]) -> dict[str, float]:
    """The metrics of a request to torch-fidelity, under its names.

    Raises:
        SpecError: weights of the extractor cannot be downloaded.
    """
    _registry()
    try:
        metrics: dict[str, float] = torch_fidelity.calculate_metrics(**request)
    except (urllib.error.URLError, TimeoutError, RuntimeError) as error:
        offline = "no internet connection" in str(error)  # the words of torch.hub
        if isinstance(error, RuntimeError) and not offline:
            raise
        raise _not_loaded(request["feature_extractor"], error) from None
    return metrics


@functools.lru_cache(maxsize=1)
def _registry() -> dict[str, Any]:
    """torch-fidelity's own dict of extractors, with ours added; extractors registered later appear in it too."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    known: dict[str, Any] = FEATURE_EXTRACTORS_REGISTRY
    if OURS not in known:
        torch_fidelity.register_feature_extractor(OURS, _classifier_extractor())
    return known


def _classifier_extractor() -> type:
    """The class. It inherits from torch-fidelity's base, so it is defined only when it is used."""

    class ClassifierExtractor(torch_fidelity.FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, layers: list[str], feature_extractor_weights_path: str, **_: Any):
            super().__init__(name, layers)
            self.net = classifier.restore(Path(feature_extractor_weights_path))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (classifier.features(self.net, x),)

        @staticmethod
        def get_provided_features_list() -> tuple[str]:
            return (str(classifier.FEATURES),)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return str(classifier.FEATURES)

        @staticmethod
        def can_be_compiled() -> bool:
            return False

    return ClassifierExtractor


def _inception_weights() -> Path:
    """The file of the weights, downloaded if missing, and checked.

    Raises:
        SpecError: it is damaged, or cannot be downloaded.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3 as url

    name, named = url.rsplit("/", 1)[1], os.environ.get(WEIGHTS)
    place = typed_path(named, WEIGHTS) if named else typed_path(torch.hub.get_dir(), "TORCH_HOME")
    file = place if named else place / "checkpoints" / name
    if not named and not file.is_file():
        _download(url, name, file)
    try:  # safely, because torch-fidelity would unpickle anything
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        damage = (str(error).splitlines() or [repr(error)])[0][:80]
        reason = f"no readable weights: {damage}" if file.is_file() else "no such file"
        raise SpecError(f"{KEY}: 'inception': {file}: {reason}") from None
    return file


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Wait for a server, but not for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _download(url: str, name: str, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        checksum = name.removesuffix(".pth").rsplit("-", 1)[1]
        with _patience():
            torch.hub.download_url_to_file(url, str(file), hash_prefix=checksum, progress=False)
    except (OSError, RuntimeError) as error:
        raise SpecError(
            f"{KEY}: 'inception': {name} cannot be downloaded ({str(error)[:60]}): "
            f"put it into {file.parent}, or set {WEIGHTS} to its path"
        ) from None


@functools.lru_cache(maxsize=8)
def _file_hash(file: Path, _changed: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:8]
