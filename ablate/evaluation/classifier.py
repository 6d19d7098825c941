"""The in-domain extractor: a small seeded CNN, trained once on the data set's labels and cached by content.

Training gives other weights on another processor, and so other FIDs. Therefore the extractors of the shipped data sets
are shipped as files; one is used where it classifies the held-out images as well as those it was made with.

Its 64 features are whitened over the training images. Without whitening they vary between classes but hardly within
one: twenty images per class, repeated, then had a lower FID than real images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core.errors import SpecError
from ablate.core.hardware import processor, sent
from ablate.core.lazy import torch
from ablate.data.datasets import Images
from ablate.evaluation import ruler
from ablate.evaluation.ruler import ARCHITECTURE, Ruler

FEATURES = 64
WIDEST = 128
BATCH = 128  # images of one training step
EPOCHS, SEEN = 16, 200_000  # at most: on one core six minutes at 32x32, seconds at 8x8
RATE, DECAY, SMOOTHING = 4e-3, 5e-2, 0.1
SHRINKAGE = 1e-3  # added to the variances that whitening divides by; their mean is 1
WHITENED = 10_000  # number of training images used for whitening
SAME = 0.03  # difference of held-out accuracies up to which a shipped extractor is used, plus two standard errors


@dataclass(frozen=True)
class Classifier:
    """A trained classifier: file, label that identifies its content, origin for people."""

    weights: Path
    label: str
    origin: str


def train(images: Images, cache: Path) -> Classifier:
    """The classifier of a data set: from `cache`, where any process has put it, else a shipped one, else trained.

    Raises:
        SpecError: the data set has only one class.
    """
    if images.classes < 2:
        raise SpecError(one_class("classifier"))
    file = cached(images, cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    with ruler.locked(file):
        known = ruler.read(file)
        if known is None:
            known = ruler.read(file.with_suffix(".pt")) or _shipped(images) or made(images)
            ruler.write(dataclasses.replace(known, data=_key(images)), file)
    return Classifier(file, known.label, known.origin)


def cached(images: Images, cache: Path) -> Path:
    """The file of a data set's classifier in a cache."""
    return ruler.of_data(_key(images), cache)


def made(images: Images, seen: int = SEEN) -> Ruler:
    """Train the classifier of a data set on `seen` images, or on fewer in `EPOCHS` epochs."""
    net = _fit(images, seen)
    state = {k: v.contiguous().numpy() for k, v in net.cpu().state_dict().items()}
    accuracy = _accuracy(net.to(images.device), images)
    share, torch_version = min(EPOCHS, seen / len(images.train)), torch.__version__.split("+")[0]
    origin = f"trained for {share:.3g} epochs by torch {torch_version} on {processor()}"
    return Ruler(images.shape, images.classes, accuracy, state, origin=origin)


def _shipped(images: Images) -> Ruler | None:
    """A shipped classifier that suits a data set: it recognises the held-out images as well as it should."""
    for known in ruler.candidates(images.shape, images.classes):
        here, should = _accuracy(_network(known).to(images.device), images), known.accuracy
        error = math.sqrt(should * (1 - should) / len(images.test))
        if abs(here - should) <= SAME + 2 * error:
            origin = f"shipped, recognises {here:.1%} of the held-out images; {known.origin}"
            return dataclasses.replace(known, origin=origin)
    return None


def one_class(name: str) -> str:
    """The message about data without classes."""
    return (
        f"profile.evaluation.extractor: {name!r}: needs images of two or more classes: "
        "put each class into a folder of its own, or set profile.evaluation.extractor=inception"
    )


def network(shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    """The untrained network for images of `shape` (C, H, W).

    `body` maps images to (B, 64); from there `head` gives logits (B, classes) and `whiten` features (B, 64).
    """
    nn = torch.nn
    channels, size, width = shape[0], min(shape[1:]), 32
    layers = _block(channels, width)
    while size > 4:
        wider = min(2 * width, WIDEST)
        layers += [nn.MaxPool2d(2), *_block(width, wider)]
        size, width = size // 2, wider
    layers += [*_block(width, WIDEST), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(WIDEST, FEATURES, bias=False), nn.BatchNorm1d(FEATURES, affine=False)]
    head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))
    whiten = nn.Linear(FEATURES, FEATURES).requires_grad_(False)
    return nn.ModuleDict({"body": nn.Sequential(*layers), "head": head, "whiten": whiten})


def restore(weights: Path) -> torch.nn.Module:
    """Load the trained network from a file of `train`, in evaluation mode, on the CPU.

    Raises:
        SpecError: there is no such file, or it is not a classifier's.
    """
    known = ruler.read(Path(weights))
    if known is None:
        raise SpecError(f"{weights}: no weights of a classifier")
    net: torch.nn.Module = _network(known)
    return net


def _network(known: Ruler) -> Any:
    net = network(known.shape, known.classes)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in known.state.items()})
    net.eval()
    return net


def features(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Whitened features, float (B, 64), of images x, uint8 (B, C, H, W)."""
    whitened: torch.Tensor = net["whiten"](_body(net, x))
    return whitened


def _body(net: Any, x: torch.Tensor) -> torch.Tensor:
    if x.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, but got {x.dtype}")
    activations: torch.Tensor = net["body"](x.to(memory_format=torch.channels_last).float() / 127.5 - 1)
    return activations


def _block(width: int, wider: int) -> list[torch.nn.Module]:
    nn = torch.nn
    return [nn.Conv2d(width, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]


def _fit(images: Images, seen: int = SEEN) -> Any:
    """Train and whiten a network; it draws from its own generators only."""
    device = images.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net: Any = network(images.shape, images.classes)
    net.to(device, memory_format=torch.channels_last).train()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True), torch.enable_grad():
        _descend(net, images, seen)
    _whiten(net.eval(), images.train[:WHITENED].to(device))
    return net


def _descend(net: Any, images: Images, seen: int) -> None:
    size, n = min(BATCH, len(images.train)), len(images.train)
    steps = max(1, min(EPOCHS * n, seen) // size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: _one_cycle((k + 1) / steps))
    generator = torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(math.ceil(steps * size / n))])
    for rows in order[: steps * size].view(steps, size):
        x = sent(images.train[sent(rows, images.train.device)], images.device)
        loss = _loss(net, _augment(x, generator), images.train_labels[sent(rows, images.device)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _loss(net: Any, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
        logits = net["head"](_body(net, x))
    return torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING)


def _whiten(net: Any, x: torch.Tensor) -> None:
    """Set `whiten` so that the features of images x have mean 0 and covariance 1."""
    with torch.no_grad():
        activations = torch.cat([_body(net, chunk) for chunk in torch.split(x, 500)]).double().cpu()
        variances, directions = torch.linalg.eigh(torch.cov(activations.T))
        matrix = directions.T / (variances.clamp(min=0) + SHRINKAGE).sqrt()[:, None]
        net["whiten"].weight.copy_(matrix)
        net["whiten"].bias.copy_(-matrix @ activations.mean(0))


def _one_cycle(t: float) -> float:
    """Factor of the learning rate after a share t, in (0, 1], of the training: rises for a fifth, then falls to 0."""
    return min(t / 0.2, (1 - t) / 0.8)


def _augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift images by up to an eighth and mirror half of those in color; gray images are mostly characters."""
    (n, channels, height, width), edge = x.shape, max(1, min(x.shape[2:]) // 8)
    dy, dx = sent(torch.randint(-edge, edge + 1, (2, n, 1), generator=generator), x.device)
    rows = (torch.arange(height, device=x.device) + dy).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) + dx).clamp(0, width - 1)
    if channels == 3:
        mirrored = sent(torch.randint(2, (n, 1), generator=generator).bool(), x.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(n, device=x.device)[:, None, None]
    return x[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _accuracy(net: Any, images: Images) -> float:
    with torch.no_grad():
        chunks = (x.to(images.device) for x in torch.split(images.test, 500))
        predicted = [net["head"](_body(net, x)).argmax(1) for x in chunks]
    return float((torch.cat(predicted) == images.test_labels).double().mean())


def _key(images: Images) -> str:
    config = (
        ARCHITECTURE,
        BATCH,
        EPOCHS,
        SEEN,
        RATE,
        DECAY,
        SMOOTHING,
        SHRINKAGE,
        WHITENED,
        WIDEST,
        FEATURES,
    )
    facts = (images.fingerprint, len(images.train), images.shape, images.classes, *config)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
