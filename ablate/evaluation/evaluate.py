"""Measures samples against held-out images: FID, KID, precision and recall, each with how it was measured.

torch-fidelity reads its cache with pickle, so let nobody else write to the cache folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.core.lazy import torch
from ablate.data.datasets import Images
from ablate.evaluation.extractors import OURS, Extractor, calculate, check, extractor
from ablate.evaluation.metrics import METRICS, Entry, Features

FEWEST = 8  # images on each side

__all__ = [
    "Extractor",
    "Measured",
    "NotFinite",
    "Reference",
    "check",
    "entries",
    "extractor",
    "measure",
    "of_real_images",
    "reference",
    "to_uint8",
]


class NotFinite(ValueError):
    """Samples contain NaN or infinity. As uint8 they would be gray images with a finite FID."""


@dataclass(frozen=True)
class Reference:
    """Real images, uint8 (n, C, H, W), with a label that identifies their content."""

    label: str
    images: torch.Tensor


@dataclass(frozen=True)
class Measured:
    """The metrics of n samples: name -> `value` and further fields of the metric."""

    n: int
    metrics: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, name: str) -> float:
        value: float = self.metrics[name]["value"]
        return value


def to_uint8(x: torch.Tensor) -> torch.Tensor:
    """Images x, float (n, C, H, W) in [-1, 1], as uint8.

    Raises:
        NotFinite: a value is NaN or infinite.
    """
    if bad := int((~torch.isfinite(x)).sum()):
        raise NotFinite(f"{bad} of {x.numel()} values are not finite: the model diverged")
    return (x.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def reference(images: Images, n: int) -> Reference:
    """The first n held-out images, or all if there are fewer."""
    held_out = images.test[:n]
    return Reference(f"heldout-{len(held_out)}-{_hash(held_out)[:8]}", held_out)


def measure(
    samples: torch.Tensor,
    against: Reference,
    by: Extractor,
    cache: Path,
    device: Any = "cpu",
    batch: int = 64,
) -> Measured:
    """Measure samples, uint8 (n, C, H, W), `against` a reference. Global random states do not change.

    The features of the samples are computed once for all metrics; those of the reference are cached.

    Raises:
        ValueError: images are not uint8, shapes differ, or a side has fewer than 8 images.
        SpecError: weights of the extractor cannot be downloaded.
    """
    _comparable(samples, against.images)
    device, folder, name = torch.device(device), Path(cache) / "fidelity", _cache_name(against, by)
    own, flags = f"samples-{secrets.token_hex(8)}", {m.fidelity for m in METRICS.values() if m.fidelity}
    files = [folder / f"{name}-{by.name}-{kind}-{by.layer}.pt" for kind in ("features", "stat-fid")]
    request = {
        "input1": _dataset(samples, by),
        "input1_cache_name": own,
        "input2": _dataset(against.images, by),
        "kid_subset_size": min(1000, len(samples) // 2, len(against.images) // 2),
        "feature_extractor": by.name,
        "feature_extractor_weights_path": by.weights and str(by.weights),
        **{flag: True for flag in flags},
        **{f"feature_layer_{flag}": by.layer for flag in flags},
        **{"cache": True, "cache_root": str(folder), "input2_cache_name": name},
        **{"batch_size": batch, "cuda": device.type == "cuda", "save_cpu_ram": True, "verbose": False},
    }
    with _once(files), _preserved(device), _forgotten(folder, own):
        sampled = folder / f"{own}-{by.name}-features-{by.layer}.pt"
        features = Features(calculate(request), sampled, *files)
        return Measured(len(samples), {name: m.compute(features) for name, m in METRICS.items()})


def _comparable(samples: torch.Tensor, real: torch.Tensor) -> None:
    if samples.dtype != torch.uint8 or samples.shape[1:] != real.shape[1:]:
        given = f"{samples.dtype} {tuple(samples.shape[1:])}"
        raise ValueError(f"samples must be uint8 {tuple(real.shape[1:])}, but got {given}")
    if min(len(samples), len(real)) < FEWEST:
        raise ValueError(f"n >= {FEWEST} must hold on each side, but got {len(samples)} and {len(real)}")


def of_real_images(images: Images, n: int, by: Extractor, cache: Path, device: Any = "cpu") -> Measured:
    """Measure the first n training images as samples, a bound that no model is expected to beat; cached by content."""
    against, real = reference(images, n), images.train[:n]
    facts = f"{_cache_name(against, by)} {by.name} {_hash(real)} {sorted(METRICS)}"
    file = Path(cache) / f"real-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.json"
    known = read_json(file)
    with contextlib.suppress(LookupError, TypeError):  # not cached yet, or damaged
        return Measured(known["n"], known["metrics"])
    measured = measure(real, against, by, cache, device)
    write_json(file, dataclasses.asdict(measured))
    return measured


def entries(
    nfe: int, sigmas: Sequence[float], measured: Measured, by: Extractor, against: Reference
) -> dict[str, Entry]:
    """The record's entry of each metric, for samples of the EMA weights in `nfe` evaluations at levels `sigmas`."""
    how: dict[str, Any] = {
        "extractor": by.label,
        "reference": against.label,
        "sigmas": [float(s) for s in sigmas],
    }
    found = {}
    for name, fields in measured.metrics.items():
        try:
            found[name] = Entry(nfe=nfe, n=measured.n, weights="ema", **how, **fields)
        except (ValidationError, TypeError) as error:  # TypeError: not a mapping, or it sets what is set here
            raise SpecError(
                f"metric {name!r} returned {fields!r:.80}: {' '.join(str(error).split())[:200]}"
            ) from None
    return found


def _hash(x: torch.Tensor) -> str:
    """A hash of the images' content, the same on every device."""
    return hashlib.sha256(repr(tuple(x.shape)).encode() + x.cpu().contiguous().numpy().tobytes()).hexdigest()


def _cache_name(against: Reference, by: Extractor) -> str:
    """A cache name with everything that the reference's features depend on: torch-fidelity compares only names."""
    return f"{against.label}-{by.label}-{importlib.metadata.version('torch-fidelity')}"


def _dataset(x: torch.Tensor, by: Extractor) -> Any:
    """Images as torch-fidelity expects them: on the CPU, with three channels except for our own extractor."""
    if x.shape[1] == 1 and by.name != OURS:
        x = x.expand(-1, 3, -1, -1)
    images: Any = x.cpu()  # a tensor works as a Dataset
    return torch.utils.data.Subset(images, range(len(x)))


@contextlib.contextmanager
def _once(files: list[Path]) -> Iterator[None]:
    """Let only one process fill the reference's cache, and delete damaged files first."""
    files[0].parent.mkdir(parents=True, exist_ok=True)
    if all(_readable(file) for file in files):
        yield
        return
    with FileLock(f"{files[0]}.lock"):
        if not all(_readable(file) for file in files):
            for file in files:  # both, because they must belong together
                file.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def _forgotten(folder: Path, name: str) -> Iterator[None]:
    """Delete the samples' features, which torch-fidelity returns only through its cache."""
    try:
        yield
    finally:
        for file in folder.glob(f"{name}-*"):
            file.unlink(missing_ok=True)


def _readable(file: Path) -> bool:
    try:
        torch.load(file, map_location="cpu", weights_only=False)  # as in torch-fidelity: it has numpy arrays
        return True
    except Exception:  # torch.load raises nearly anything on a damaged file
        return False


@contextlib.contextmanager
def _preserved(device: torch.device) -> Iterator[None]:
    """Restore the random states of torch, numpy and Python, because evaluation must not change training.

    Features are computed with unrounded float32 products, whatever the precision of the recipe: those of a reference
    are shared by all of them.
    """
    import numpy as np

    drawn, python = np.random.get_state(), random.getstate()
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    rounded = matmul.allow_tf32, convolution.allow_tf32
    chosen = (
        [torch.cuda.current_device() if device.index is None else device.index]
        if device.type == "cuda"
        else []
    )
    try:
        matmul.allow_tf32 = convolution.allow_tf32 = False
        with torch.random.fork_rng(devices=chosen), torch.cuda.device(chosen[0] if chosen else -1):
            yield
    finally:
        np.random.set_state(drawn)
        random.setstate(python)
        matmul.allow_tf32, convolution.allow_tf32 = rounded
