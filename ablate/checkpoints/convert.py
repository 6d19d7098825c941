"""Converts a checkpoint of another project into a folder that `init_from` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ablate import __version__
from ablate.checkpoints.card import card
from ablate.checkpoints.consistency_models import ConsistencyModels
from ablate.checkpoints.diffusers import Diffusers
from ablate.checkpoints.edm import EDM
from ablate.checkpoints.layout import Architecture, Family
from ablate.checkpoints.own import Own
from ablate.checkpoints.reader import Checkpoint, Tensors, read
from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, read_json, write_json
from ablate.ingredients.init_from import CONVERTED
from ablate.ingredients.other_cell import WEIGHTS

FAMILIES: tuple[Family, ...] = (Own(), Diffusers(), EDM(), ConsistencyModels())
PREDICTS = {
    "denoiser": "the mean clean image (a denoiser: a start for consistency training, not a consistency model)",
    "consistency": "the end of the trajectory (a consistency function)",
}


@dataclass(frozen=True)
class Converted:
    """A foreign network in our names.

    Args:
        specs: of the recipe's axes that belong to it.
        predicts: a key of `PREDICTS`.
        dropped, notes: a line each, for the reader of the folder.
    """

    tensors: Tensors
    network: Architecture
    what: str
    specs: Mapping[str, Any]
    predicts: str
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def convert(source: Path, out: Path, resolution: int | None = None, predicts: str | None = None) -> Converted:
    """Write the network in `source` to folder `out`: `model.safetensors`, `converted.json`, `README.md`.

    Args:
        resolution: of the images, where the file does not say it.
        predicts: what the network is, if not what its family's usually are.
    Raises:
        SpecError: a file that cannot be read, that no network here fits, or a folder with other weights.
    """
    if predicts not in (None, *PREDICTS):
        raise SpecError(f"--predicts {predicts}: there are: {', '.join(PREDICTS)}")
    place = weights_of(source)
    digest = content(place)
    _require_free(out, digest)
    try:
        found = converted(read(place), _scheduler(place), resolution, predicts)
    except SpecError as error:
        shown = str(error).startswith((str(source), "--"))
        raise error if shown else error.under(str(source)) from None
    record = {
        "ablate": __version__,
        "what": found.what,
        "source": {"name": source.resolve().name, "sha256": digest},
        "predicts": found.predicts,
        "image_shape": list(found.network.shape),
        "classes": found.network.classes,
        "recipe": found.specs,
        "dropped": list(found.dropped),
        "notes": list(found.notes),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / CONVERTED, record)
        with atomic_write(out / "README.md") as temporary:
            temporary.write_text(readme(record, out), encoding="utf-8", errors="backslashreplace")
        with atomic_write(
            out / WEIGHTS
        ) as temporary:  # last: weights without their description are no conversion
            save_file(found.tensors, temporary, {"classes": str(found.network.classes)})
    except OSError as error:
        raise SpecError(f"--out {out}: {(error.strerror or str(error)).lower()}") from None
    return found


def converted(
    checkpoint: Checkpoint,
    scheduler: str | None = None,
    resolution: int | None = None,
    predicts: str | None = None,
) -> Converted:
    """A checkpoint's network in our names.

    Raises:
        SpecError: no network here has such tensors.
    """
    tensors, config = (
        checkpoint.tensors,
        {**checkpoint.config, **({"scheduler": scheduler} if scheduler else {})},
    )
    family = _family(tensors, config)
    if checkpoint.wrapper and checkpoint.wrapper not in family.wrappers:
        known = ", ".join(family.wrappers) or "state dicts"
        raise SpecError(
            f"a pickled {checkpoint.wrapper}: only {known} of {family.name} can be fed by a recipe here"
        )
    if not all(t.is_floating_point() for t in tensors.values()):
        odd = next(n for n, t in tensors.items() if not t.is_floating_point())
        raise SpecError(f"the tensor {odd!r} holds {_kind(tensors[odd])}, no floating-point numbers")
    try:
        network = family.described(tensors, config, resolution)
    except SpecError:
        raise
    except (
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # names without the shapes they need
        raise SpecError(f"no network of {family.name} has such tensors: {error!r}") from None
    reduced, dropped = family.reduced(tensors, network, config)
    ours = family.layout(network).read(reduced, network.blank())
    if spoiled := [n for n, t in ours.items() if not t.isfinite().all()]:
        raise SpecError(f"the tensor of {spoiled[0]!r} has numbers that are not finite")
    notes = [f"{count} tensors of {kind} became float32" for kind, count in _narrow(tensors).items()]
    if network.network["name"] == "adm" and network.network["attention"]:
        notes.append(
            "attention has heads of 64 channels, as in every published file; the file does not say it"
        )
    fed = family.fed(config)
    if not fed:
        notes.append(f"{scheduler} feeds the network other noise levels than any recipe here: a start only")
    specs = {"network": network.network, "embedding": network.embedding, **fed}
    what = f"{family.name}: {checkpoint.wrapper or 'state dict'}, here {network.network['name']}"
    usual = family.wrappers.get(checkpoint.wrapper, family.predicts)
    named = {axis: {"name": s} if isinstance(s, str) else dict(s) for axis, s in specs.items()}
    rest = (*dropped, *checkpoint.dropped)
    return Converted(ours, network, what, named, predicts or usual, rest, tuple(notes))


def _family(tensors: Tensors, config: Mapping[str, Any]) -> Family:
    family = next((f for f in FAMILIES if f.recognizes(tensors, config)), None)
    if family is None:
        kind = config.get("_class_name")
        names = f"config.json: _class_name: {kind!r}" if kind else f"the tensor {next(iter(tensors), None)!r}"
        raise SpecError(f"{names} is of no project known here: {', '.join(f.name for f in FAMILIES)}")
    return family


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _narrow(tensors: Tensors) -> dict[str, int]:
    """How many tensors of each type other than float32 there are."""
    kinds = [_kind(t) for t in tensors.values() if t.dtype != torch.float32]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def weights_of(source: Path) -> Path:
    """The file or folder with the weights: of a diffusers pipeline, its network's folder."""
    return (
        source / "unet" if (source / "model_index.json").is_file() and (source / "unet").is_dir() else source
    )


def _scheduler(place: Path) -> str | None:
    config = read_json(place.parent / "scheduler" / "scheduler_config.json") if place.name == "unet" else None
    return config.get("_class_name") if isinstance(config, dict) else None


def content(place: Path) -> str:
    """The SHA-256 of a file, or of the weights and the configuration of a folder."""
    files = [place] if place.is_file() else sorted(f for f in place.glob("*") if f.suffix in SUFFIXES)
    total = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256")
            total.update(digest.digest())
    except OSError as error:
        raise SpecError(f"{place}: {(error.strerror or str(error)).lower()}") from None
    return digest.hexdigest() if len(files) == 1 else total.hexdigest()


SUFFIXES = (".safetensors", ".bin", ".json")


def _require_free(out: Path, digest: str) -> None:
    """Raise a SpecError if the folder has weights of something else."""
    if not (out / WEIGHTS).exists():
        return
    known = read_json(out / CONVERTED)
    source = known.get("source") if isinstance(known, dict) else None
    if not isinstance(source, dict) or source.get("sha256") != digest:
        raise SpecError(f"--out {out}: there is a {WEIGHTS} of another source in it; name another folder")


def readme(record: Mapping[str, Any], out: Path) -> str:
    """The content of the folder's `README.md`."""
    start = {"init_from": {"name": "file", "path": str(out)}}
    fed = {axis: record["recipe"][axis] for axis in record["recipe"] if axis != "parameterization"}
    shape = " x ".join(map(str, record["image_shape"]))
    classes = f"{record['classes']} classes" if record["classes"] else "no classes"
    lines = [
        f"{record['what']}; images {shape}, {classes}. It predicts {PREDICTS[record['predicts']]}.",
        f"From `{record['source']['name']}`, SHA-256 `{record['source']['sha256']}`, by ablate {record['ablate']}.",
        "A recipe that starts from these weights needs, under `set` of an experiment file:",
        f"```yaml\n{yaml_files.write({**fed, **start})}```",
    ]
    if coefficients := record["recipe"].get("parameterization"):
        text = yaml_files.write({"parameterization": coefficients})
        lines += [f"To use it as what it was trained to be, its coefficients are:\n\n```yaml\n{text}```"]
    for title in ("dropped", "notes"):
        if record[title]:
            lines.append(f"{title.capitalize()}:\n\n" + "\n".join(f"- {line}" for line in record[title]))
    return card({"license": "unknown", "library_name": "ablate"}, "Converted weights", lines)
