"""What a recipe is tried on and for how long: data, batch, images seen, evaluation, fields that scale demands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.section import Section, explain

CIFAR10 = "~/.cache/ablate/cifar10"  # where `cifar10` is kept unless a path is named
ARCHIVES = ("cifar10-32x32.zip", "cifar10-32x32-test.zip")  # in EDM's layout, named as its users name them
Count = Annotated[int, Field(gt=0, lt=10**12)]
Sigma = Annotated[float, Field(gt=0, lt=1e6)]


class Data(Section):
    """Images. `digits` is embedded; `cifar10` comes through torchvision; `zip` is EDM's layout; `folder` any images."""

    name: Literal["digits", "cifar10", "zip", "folder"]
    path: str | None = None
    test_path: str | None = None  # held-out images (zip, folder); else the last `holdout` are held out
    holdout: Count | None = None
    images: Count | None = None  # train on the first n only
    resolution: Annotated[int, Field(ge=4, le=1024)] | None = None
    interpolation: Literal["bicubic", "bilinear", "lanczos", "hamming", "box", "nearest"] = "bicubic"
    crop: Literal["center", "random"] = "center"  # of what is not square, before it is resized
    flip: bool = False  # random horizontal flips
    labels: bool = False  # tell the network the classes
    classes: Count | None = None  # how many, where the images at hand do not have all of them
    label_dropout: Annotated[float, Field(ge=0, le=1)] = (
        0.0  # share of training images whose class is not told
    )

    @model_validator(mode="after")
    def _told(self) -> Data:
        if self.label_dropout and not self.labels:
            raise ValueError(f"label_dropout needs labels: true, but got label_dropout={self.label_dropout}")
        return self


class Evaluation(Section):
    """FID at one and at two steps, KID, precision and recall against the held-out images."""

    samples: Annotated[int, Field(ge=16, le=10**6)] = 1000
    extractor: str = "classifier"
    sigma_mid: tuple[Sigma, ...] = (0.821,)  # levels after sigma_max; the default makes two steps
    every: Count | None = None  # images between evaluations while training; the end is always evaluated
    batch: Count = 256
    grid: Annotated[int, Field(ge=1, le=400)] = 64  # images of a sample grid


class Profile(Section):
    """A budget; `experiments/profiles/*.yaml`."""

    name: str
    summary: str = ""
    data: Data
    batch: Count
    images: Count
    accumulate: Count = 1  # equal parts that a batch is passed in, one after another, for memory
    adapt: dict[str, Any] = {}
    evaluation: Evaluation = Evaluation()
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # of a worker; unset: the cores shared out
    compile: bool = False  # the network's blocks, by torch.compile: minutes once, then faster steps
    log_every: Count = 20  # steps between logged losses
    checkpoint_every: Count | None = None  # images; at least the end of every tenth part when unset

    @model_validator(mode="after")
    def _whole(self) -> Profile:
        if self.images < self.batch:
            raise ValueError(f"images >= batch must hold, but got images={self.images}, batch={self.batch}")
        if self.batch % self.accumulate:
            law = "accumulate must divide batch"
            raise ValueError(f"{law}, but got accumulate={self.accumulate}, batch={self.batch}")
        return self

    @property
    def steps(self) -> int:
        """Optimizer steps: K of the curricula."""
        return self.images // self.batch

    def keyed(self) -> dict[str, Any]:
        """What of the profile is part of a cell's key; the adapted fields are in the recipe already."""
        plain = self.model_dump(mode="json")
        for excluded in ("name", "summary", "adapt", "threads", "compile", "log_every", "checkpoint_every"):
            del plain[excluded]
        for excluded in ("batch", "grid"):  # how samples are made and shown, not which
            del plain["evaluation"][excluded]
        plain["evaluation"]["every"] = None  # looking in between changes nothing at the end
        if plain["data"]["classes"] is None:  # younger than the cells that were computed without it
            del plain["data"]["classes"]
        return plain


def load_profile(name: str, overrides: dict[str, Any] | None = None, beside: Path | None = None) -> Profile:
    """The profile `name` (or a path), with dotted `overrides` such as `images` or `evaluation.samples`."""
    file = yaml_files.locate("profiles", name, "profile", beside)
    data = yaml_files.mapping(yaml_files.read(file), str(file))
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise SpecError(f"profile.{key}: {parent} has no keys of its own")
        place[last] = value
    try:
        profile = Profile.model_validate_json(json.dumps(data), strict=True)  # in JSON a list may be a tuple
    except ValidationError as error:
        raise explain(error, str(file), Profile) from None
    except (TypeError, ValueError) as error:
        raise SpecError(f"{file}: no plain data: {error}") from None
    return profile.model_copy(update={"data": placed(profile.data)})


def placed(data: Data) -> Data:
    """The same, but for `cifar10` the archives where both lie in its folder: who has no network puts them there.

    They are named as what they are, a zip, since compressed images are not the original ones.
    """
    train, test = (Path(data.path or CIFAR10).expanduser() / name for name in ARCHIVES)
    if data.name != "cifar10" or not (train.is_file() and test.is_file()):
        return data
    return data.model_copy(update={"name": "zip", "path": str(train), "test_path": str(test)})
