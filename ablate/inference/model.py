"""Loads a finished cell's averaged weights and samples images from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ablate.core import code
from ablate.core.errors import SpecError, nearest
from ablate.core.files import read_json
from ablate.data.archives import shown
from ablate.evaluation import evaluate
from ablate.planning.cells import Cell
from ablate.planning.planner import image_shape
from ablate.runs.assess import save_grid
from ablate.runs.store import FORMAT, Folder, Store, beginning, restore
from ablate.training.denoiser import Denoiser
from ablate.training.sampling import generate

LADDER = 1281  # noise levels to choose an intermediate sigma from: as many as iCT has at the end of training


@dataclass(frozen=True)
class Model:
    """The consistency function f of a cell, ready to sample images of `shape` (C, H, W)."""

    cell: Cell
    f: Denoiser
    shape: tuple[int, int, int]

    def sample(
        self, n: int, sigmas: Sequence[float] = (), seed: int = 0, classes: Sequence[int] = ()
    ) -> torch.Tensor:
        """n images (n, C, H, W) in about [-1, 1].

        Args:
            sigmas: noise levels after sigma_max, descending; none for one step, (0.821,) for the paper's two steps.
            classes: the classes of the images, in turn, if the network was trained with labels; by default all.
        Raises:
            SpecError: the network has no such class, or a level is not its own.
        """
        self._check(classes)
        require_own(self.cell, sigmas)
        levels, device = self.cell.recipe.levels, str(next(self.f.network.parameters()).device)
        sigmas = [levels.sigma_max, *sigmas]
        return generate(self.f, self.shape, n, sigmas, levels.sigma_min, seed, device=device, classes=classes)

    def _check(self, classes: Sequence[int]) -> None:
        known = self.f.classes
        if classes and not known:
            raise SpecError(f"classes {_listed(classes)}: this cell was trained without profile.data.labels")
        if wrong := [c for c in classes if not 0 <= c < known]:
            raise SpecError(f"classes {_listed(classes)}: no class {wrong[0]}; there are 0 to {known - 1}")


def require_own(cell: Cell, sigmas: Sequence[float]) -> None:
    """Raise a SpecError about a level at which the model is the teacher's network, which the cell does not have."""
    low = cell.recipe.teacher.level
    if below := [s for s in sigmas if s < low]:
        law = f"below teacher.level={low:g} of cell {cell.key}, where the model is another cell's network"
        raise SpecError(f"--sigmas {below[0]:g}: {law}")


def find(store: Store, key: str) -> Folder:
    """The folder of a finished cell, by its key or the beginning of its key.

    Raises:
        SpecError: no such cell, more than one, or one without weights.
    """
    keys = store.keys()
    matches = beginning(keys, key)
    if not matches:
        reason = nearest(key, keys) if keys else "there are no cells"
        raise SpecError(f"no cell {key!r} in {store.path}: {reason}")
    if len(matches) > 1:
        raise SpecError(
            f"cell {key!r} in {store.path}: {len(matches)} keys begin with this; type more of yours"
        )
    folder = store.folder(matches[0])
    if not folder.model.exists():
        state = (store.record(matches[0]) or {"state": "unfinished"})["state"]
        raise SpecError(f"cell {matches[0]} is {state}: it has no weights to sample from")
    return folder


def load(store: Store, key: str, device: str = "cpu") -> Model:
    """The model of a finished cell. This runs the copies of your own code in its folder, if it has any.

    Raises:
        SpecError: as `find`, or weights that do not fit the cell.
    """
    folder = find(store, key)
    config = read_json(folder.config)
    with code.kept(folder.code):
        try:
            cell = restore(config)
            # cells of older versions do not have the shape of an image
            shape = _shape(config["image_shape"]) if "image_shape" in config else image_shape(cell.profile)
        except (LookupError, TypeError) as error:  # cut off by a full disk, or edited
            raise SpecError(f"{folder.config}: not the config of a cell: {error!r:.100}") from None
        return _model(cell, shape, folder.model, device)


def load_export(folder: str | Path, device: str = "cpu") -> Model:
    """The model that `ablate export` wrote into `folder`; the cell's own folder and images are not needed.

    This runs the Python code in the folder's `own_code/`: open only folders of people whom you trust.

    Raises:
        SpecError: the folder has no export of this version, or its weights do not fit.
    """
    place = Folder(Path(folder))
    config, weights = read_json(place.config), place.model
    if not isinstance(config, dict) or config.get("format") != FORMAT or "image_shape" not in config:
        raise SpecError(f"{folder}: no config.json of an export in it")
    if not weights.is_file():
        raise SpecError(f"{folder}: no model.safetensors in it")
    with code.kept(place.code):
        try:
            cell, shape = restore(config), _shape(config["image_shape"])
        except (KeyError, TypeError, ValueError) as error:  # SpecError among them
            raise SpecError(f"{folder}/config.json: {' '.join(str(error).split())[:200]}") from None
        return _model(cell, shape, weights, device)


def _shape(plain: Any) -> tuple[int, int, int]:
    channels, height, width = map(int, plain)
    return channels, height, width


def _model(cell: Cell, shape: tuple[int, int, int], weights: Path, device: str) -> Model:
    try:
        with safe_open(weights, "pt") as file:  # type: ignore[no-untyped-call]
            classes = int((file.metadata() or {}).get("classes", 0))
        network = cell.recipe.network(shape, classes)
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:  # damaged, or of another network
        raise SpecError(f"{weights}: {' '.join(str(error).split())[:200]}") from None
    network = network.to(device).eval().requires_grad_(False)
    return Model(cell, Denoiser(cell.recipe, network, classes).for_sampling(), shape)


def finite_pixels(cell: Cell, x: torch.Tensor) -> torch.Tensor:
    """Samples of a cell as uint8 images; SpecError if a value is not finite."""
    try:
        return evaluate.to_uint8(x)
    except evaluate.NotFinite as error:
        raise SpecError(f"cell {cell.key}: {error}") from None


def draw(
    store: Store, key: str, n: int, sigmas: Sequence[float], seed: int, out: Path, classes: Sequence[int] = ()
) -> Path:
    """Sample n images from a finished cell, into one enlarged PNG or into a folder of single images of the true size.

    Args:
        out: a file if it ends like one of an image, else a folder, which must be new or empty.
    Raises:
        SpecError: no such cell or class, samples that are not finite, or a file or folder that cannot be written.
    """
    grid = out.suffix.lower() in Image.registered_extensions()
    try:
        if not grid and out.is_dir() and (there := sorted(file.name for file in out.iterdir())):
            raise SpecError(f"--out {out}: {shown(there[0])} is in this folder; name a new or an empty one")
        model = load(store, key)
        images = finite_pixels(model.cell, model.sample(n, sigmas, seed, classes))
        (out.parent if grid else out).mkdir(parents=True, exist_ok=True)
        if grid:
            save_grid(images, out)
        else:
            _save_each(images, out)
    except OSError as error:
        raise SpecError(f"--out {out}: {(error.strerror or str(error)).lower()}") from None
    return out


def _save_each(images: torch.Tensor, folder: Path) -> None:
    """Save uint8 images (n, C, H, W) as 0000.png, 0001.png and so on, one pixel for each of theirs."""
    digits = max(4, len(str(len(images) - 1)))
    for i, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(pixels).save(folder / f"{i:0{digits}}.png")


def _listed(classes: Sequence[int]) -> str:
    return ",".join(map(str, classes))
