"""Profiles: the data and the budget that a recipe is trained with, and the fields that this scale requires."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.core.files import typed_path
from ablate.core.section import Section, read
from ablate.core.typed import plain

CACHED = "~/.cache/ablate"  # has a folder for each set that torchvision downloads, unless you set `path`
CIFAR10 = f"{CACHED}/cifar10"
ARCHIVES = ("cifar10-32x32.zip", "cifar10-32x32-test.zip")  # in EDM's layout and under its usual names
MAX_PIXELS = 22_369_621  # 64 MiB of RGB
# keys of the data that change no image, and those whose images are in the fingerprint
EXCLUDED_FROM_KEY = ("max_pixels", "device_mb", "config", "split", "test_split", "revision", "image", "label")
Count = Annotated[int, Field(gt=0, lt=10**12)]
Sigma = Annotated[float, Field(gt=0, lt=1e6)]
Word = Annotated[str, Field(min_length=1)]


class Data(Section):
    """The images. `name` is one of `ablate/data/sources/`: `digits` (built in), `folder`, `zip`, `huggingface`, ..."""

    name: str
    path: str | None = None
    test_path: str | None = None  # held-out images; unset: the last `holdout` of `path`
    holdout: Count | None = None
    config: Word | None = None  # of a set of the hub that has several
    split: Word | None = None  # the part to train on; of the hub by default `train`
    test_split: Word | None = None  # the held-out part
    revision: Word | None = None  # of a set of the hub: a commit, tag or branch
    image: Word | None = None  # column or array of the images, where there are several
    label: Word | None = None  # that of the classes
    images: Count | None = None  # train on the first n only
    resolution: Annotated[int, Field(ge=4, le=1024)] | None = None
    interpolation: Literal["bicubic", "bilinear", "lanczos", "hamming", "box", "nearest"] = "bicubic"
    crop: Literal["center", "random"] = "center"  # of images that are not square, before resizing
    max_pixels: Annotated[int, Field(gt=0, le=178_956_970)] = (
        MAX_PIXELS  # of a file; Pillow opens no larger ones
    )
    flip: bool = False  # random horizontal flips
    labels: bool = False  # train a class-conditional network
    classes: Count | None = None  # how many, if the images do not contain every class
    label_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of training images without their class
    device_mb: Count | None = None  # of images on the device; unset: a quarter of its memory

    @model_validator(mode="after")
    def _check_labels(self) -> Data:
        if self.label_dropout and not self.labels:
            raise ValueError(f"label_dropout needs labels: true, but got label_dropout={self.label_dropout}")
        return self


class Evaluation(Section):
    """How samples are evaluated: FID, KID, precision and recall against the held-out images."""

    samples: Annotated[int, Field(ge=16, le=10**6)] = 1000
    extractor: str = "classifier"
    sigma_mid: tuple[Sigma, ...] = (0.821,)  # levels after sigma_max; the default gives two steps
    every: Count | None = None  # training images between evaluations; the end is always evaluated
    batch: Count = 256
    grid: Annotated[int, Field(ge=1, le=400)] = 64  # images of a sample grid


class Profile(Section):
    """A budget, read from a file such as those in `experiments/profiles/`."""

    name: str
    summary: str = ""
    data: Data
    batch: Count
    images: Count
    accumulate: Count = 1  # micro-batches per step, to save memory
    adapt: dict[str, Any] = {}
    evaluation: Evaluation = Evaluation()
    threads: Annotated[int, Field(ge=1, le=1024)] | None = (
        None  # of a worker; unset: the cores divided by the workers
    )
    compile: bool = False  # torch.compile the network's blocks: minutes once, then faster steps
    log_every: Count = 20  # steps between logged losses
    checkpoint_every: Count | None = None  # images; unset: at least at the end of every tenth of the training

    @model_validator(mode="after")
    def _check_batch(self) -> Profile:
        if self.images < self.batch:
            raise ValueError(f"images >= batch must hold, but got images={self.images}, batch={self.batch}")
        if self.batch % self.accumulate:
            law = "accumulate must divide batch"
            raise ValueError(f"{law}, but got accumulate={self.accumulate}, batch={self.batch}")
        return self

    @property
    def steps(self) -> int:
        """The number of optimizer steps, K of the curricula."""
        return self.images // self.batch

    def keyed(self) -> dict[str, Any]:
        """The fields that are part of a cell's key. The adapted ones are already part of the recipe."""
        plain = self.model_dump(mode="json")
        for excluded in ("name", "summary", "adapt", "threads", "compile", "log_every", "checkpoint_every"):
            del plain[excluded]
        for excluded in ("batch", "grid"):  # these change how samples are made and shown, not which
            del plain["evaluation"][excluded]
        if (by := plain["evaluation"]["extractor"]).endswith(".safetensors"):
            plain["evaluation"]["extractor"] = Path(by).stem  # files of extractors are named by their content
        plain["evaluation"]["every"] = None  # evaluations during training do not change the final result
        for excluded in EXCLUDED_FROM_KEY:
            del plain["data"][excluded]
        if plain["data"]["classes"] is None:  # a field added after cells were computed
            del plain["data"]["classes"]
        return plain


def load_profile(name: str, overrides: dict[str, Any] | None = None, beside: Path | None = None) -> Profile:
    """Load a profile.

    Args:
        name: a shipped profile, or a path.
        overrides: dotted fields and their values, such as `images` or `evaluation.samples`.
        beside: a file; `name` may be a path relative to it.
    Raises:
        SpecError: there is no such file; unknown keys, wrong values, all reported together.
    """
    file = yaml_files.locate("profiles", name, "profile", beside)
    data = yaml_files.mapping(yaml_files.read(file), str(file))
    for key, value in (overrides or {}).items():
        adapt, dot, field = key.partition(".")  # below `adapt`, keys have dots themselves
        *parents, last = [adapt, field] if dot and adapt == "adapt" else key.split(".")
        place = data
        for parent in parents:
            place[parent] = plain(place.get(parent, {}))
            if not isinstance(place := place[parent], dict):
                raise SpecError(f"profile.{key}: {parent} has no keys of its own")
        place[last] = value
    try:
        profile = read(Profile, data, str(file), as_json=True)
    except SpecError as error:  # names the option where that has the value
        typed = tuple(f"{file}: {key}{end}" for key in overrides or {} for end in ":.")
        lines = [
            f"--set: profile.{p.removeprefix(f'{file}: ')}" if p.startswith(typed) else p
            for p in error.problems
        ]
        raise SpecError(*lines) from None
    return profile.model_copy(update={"data": placed(profile.data)})


def placed(data: Data) -> Data:
    """The same data; but `cifar10` becomes its two archives if its folder has both, for machines without a network.

    The result is a `zip`, because the archives' compressed images differ from the original ones.
    """
    if data.name != "cifar10":  # only CIFAR-10 has a folder in the user's home by default
        return data
    folder = typed_path(data.path or CIFAR10, "profile.data.path")
    train, test = (folder / name for name in ARCHIVES)
    if not (train.is_file() and test.is_file()):
        return data
    return data.model_copy(update={"name": "zip", "path": str(train), "test_path": str(test)})
