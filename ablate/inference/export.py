"""A finished cell as a folder that stands by itself; also as a pipeline of diffusers, where that is exact."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ablate import __version__
from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError
from ablate.core.files import whole, write_json
from ablate.inference.model import LADDER, Model, find, load
from ablate.ingredients.levels import Karras
from ablate.runs.assess import schedules
from ablate.runs.store import Store, describe


def export(store: Store, key: str, out: Path, diffusers: bool = False) -> Path:
    """Write a finished cell's averaged weights and what is needed to sample from them into folder `out`.

    `model.safetensors` and `config.json`, which `ablate.model.load_export` reads; with `diffusers` also
    `model_index.json`, `unet/` and `scheduler/`, which `ConsistencyModelPipeline.from_pretrained` reads.

    Raises:
        SpecError: no such cell, a recipe that the pipeline would sample otherwise, a folder that can not be
            written.
    """
    folder = find(store, key)
    model = load(store, folder.key)
    made = pipeline(model) if diffusers else None  # before anything is written: it may refuse
    try:
        out.mkdir(parents=True, exist_ok=True)
        with whole(out / "model.safetensors") as temporary:
            shutil.copyfile(folder.model, temporary)
        write_json(out / "config.json", described(model))
        if made is not None:
            made.save_pretrained(out)
    except OSError as error:
        raise SpecError(f"--out {out}: {(error.strerror or str(error)).lower()}") from None
    return out


def described(model: Model) -> dict[str, Any]:
    """The content of `config.json`: the cell, and what its weights must be called with.

    Paths of data sets are left out: they are this machine's.
    """
    levels, plain = model.cell.recipe.levels, describe(model.cell)
    plain["profile"]["data"] |= {"path": None, "test_path": None}
    return plain | {
        "ablate": __version__,
        "image_shape": list(model.shape),
        "sigma_min": levels.sigma_min,
        "sigma_max": levels.sigma_max,
        "sampling": schedules(model.cell),
    }


@dataclass(frozen=True)
class Demand:
    """A field of the recipe and the only value with which diffusers samples as this project does."""

    field: str
    found: Any
    needed: Any

    def __str__(self) -> str:
        return f"{self.field} must be {self.needed}, but is {self.found}"


def demands(recipe: Recipe, shape: tuple[int, int, int]) -> list[Demand]:
    """What diffusers' scheduler and network demand of a recipe for images `shape` (C, H, W).

    `CMStochasticIterativeScheduler` scales inputs by 1 / sqrt(s^2 + sd^2), tells the network
    1000 ln(s + 1e-44) / 4 and mixes by the `cm` coefficients, with one sigma_data for all; `UNet2DModel`
    encodes time by sinusoids in its first level's width. Both compute in float32, whatever the precision.
    """
    flat = recipe.flat()
    fixed = {"network": "unet2d", "embedding": "positional", "embedding.max_positions": 10000}
    fixed |= {axis: "cm" for axis in ("parameterization", "input_precond", "noise_precond")}
    if recipe.network.name == "unet2d":
        fixed["embedding.channels"] = recipe.network.block_out_channels[0]
    if "parameterization.sigma_data" in flat:
        fixed["input_precond.sigma_data"] = flat["parameterization.sigma_data"]
    found = [Demand(field, flat.get(field), needed) for field, needed in fixed.items() if field in flat]
    if not isinstance(recipe.levels, Karras):
        found.append(Demand("levels", recipe.levels.name, "karras"))
    found.append(Demand("the images' width", shape[2], shape[1]))  # the pipeline makes squares only
    return found


def refuse(recipe: Recipe, shape: tuple[int, int, int]) -> None:
    """Raise SpecError with all that the pipeline would do otherwise, in one line."""
    if wrong := [d for d in demands(recipe, shape) if d.found != d.needed]:
        raise SpecError(f"--diffusers: {'; '.join(map(str, wrong))}")


def pipeline(model: Model) -> Any:
    """The cell as `ConsistencyModelPipeline`: the same image for the same noise, at one step and at more.

    Its time steps count the ladder of 1281 points from sigma_max down: [0] is one step; [788, 0] are two, the
    second at 0.821.

    Raises:
        SpecError: diffusers is not installed, or the recipe is one that the pipeline would sample otherwise.
    """
    recipe = model.f.recipe  # with the coefficients that it samples with
    if model.f.classes:
        raise SpecError(
            f"--diffusers: profile.data.labels must be false, but there are {model.f.classes} classes"
        )
    refuse(recipe, model.shape)
    library: Any = import_module("diffusers")
    inner: Any = model.f.network.model
    unet = library.UNet2DModel.from_config(dict(inner.config), sample_size=model.shape[1])
    unet.load_state_dict(inner.state_dict())
    return library.ConsistencyModelPipeline(unet=unet.eval(), scheduler=scheduler(recipe))


def scheduler(recipe: Recipe) -> Any:
    """The scheduler with the recipe's levels; like `sample` it does not clip between steps."""
    library: Any = import_module("diffusers")
    levels = recipe.levels
    return library.CMStochasticIterativeScheduler(
        num_train_timesteps=LADDER,
        sigma_min=levels.sigma_min,
        sigma_max=levels.sigma_max,
        sigma_data=recipe.parameterization.sigma_data,
        rho=levels.rho,
        clip_denoised=False,
    )
