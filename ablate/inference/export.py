"""Exports a finished cell as a self-contained folder, also as a diffusers pipeline if that samples the same images."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ablate import __version__
from ablate.checkpoints import edm as edm_format
from ablate.config.recipe import Recipe
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, write_json
from ablate.inference import card
from ablate.inference.model import LADDER, Model, find, load
from ablate.ingredients.levels import Karras
from ablate.runs.assess import schedules
from ablate.runs.store import Store, describe

EDM_FILE = "edm_state_dict.pt"


def export(
    store: Store, key: str, out: Path, diffusers: bool = False, edm: bool = False, license: str = card.LICENSE
) -> Path:
    """Write a finished cell's averaged weights, and all you need to sample from them, into folder `out`.

    The files `model.safetensors` and `config.json` are read by `ablate.load`, as `README.md` shows; with `diffusers`
    also `model_index.json`, `unet/` and `scheduler/`, which `ConsistencyModelPipeline.from_pretrained` reads; with
    `edm` also `edm_state_dict.pt`, which an EDMPrecond loads.

    Raises:
        SpecError: no such cell, a recipe that the pipeline would sample differently, or a folder that cannot be
            written.
    """
    folder = find(store, key)
    model = load(store, folder.key)
    converted = pipeline(model) if diffusers else None  # may raise, so before anything is written
    foreign = edm_state_dict(model) if edm else None
    try:
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(out / "model.safetensors") as temporary:
            shutil.copyfile(folder.model, temporary)
        write_json(out / "config.json", exported_config(model))
        if folder.code.is_dir():
            shutil.copytree(folder.code, out / folder.code.name, dirs_exist_ok=True)
        if converted is not None:
            converted.save_pretrained(out)
        if foreign is not None:
            with atomic_write(out / EDM_FILE) as temporary:
                torch.save(foreign, temporary)
        with atomic_write(out / "README.md") as temporary:
            text = card.write(model, store.record(folder.key), readme(model, out.resolve().name), license)
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SpecError(f"--out {out}: {(error.strerror or str(error)).lower()}") from None
    return out


def readme(model: Model, folder: str) -> str:
    """The content of an export's `README.md`; its code works where the folder of this name is."""
    shape, classes, levels = ", ".join(map(str, model.shape)), model.f.classes, schedules(model.cell)[-1][1:]
    options = f", sigmas={levels}" if levels else ""
    options += f", classes=[0, {classes - 1}]" if classes else ""
    return f"""# Consistency model {model.cell.key}

Written by ablate {__version__}. Install that, then run this beside the folder that has this file:

```python
import ablate
from torchvision.utils import save_image

model = ablate.load({f"./{folder}"!r})  # the folder that has this file
images = model.sample(16{options})  # (16, {shape}), about -1 to 1; steps: {1 + len(levels)}
save_image(images.clamp(-1, 1) / 2 + 0.5, "samples.png", nrow=4)
```

`config.json` has every field of the training, `model.safetensors` the averaged weights. If there is a folder
`own_code/`, loading the model runs the code in it.
"""


def edm_state_dict(model: Model) -> dict[str, torch.Tensor]:
    """The weights as the state dict of an EDMPrecond; SpecError if EDM has no such network."""
    try:
        return edm_format.state_dict(
            model.f.recipe, model.shape, model.f.classes, dict(model.f.network.state_dict())
        )
    except SpecError as error:
        raise SpecError(f"--format edm-state-dict: {error}") from None


def exported_config(model: Model) -> dict[str, Any]:
    """The content of `config.json`: the cell, and the shapes and noise levels to sample with.

    Paths differ between machines: those of data sets are left out, other files stand there by their names.
    """
    levels, plain = model.cell.recipe.levels, describe(model.cell)
    plain["specs"] = card.portable(model.cell.recipe)
    plain["profile"]["data"] |= {"path": None, "test_path": None}
    plain["profile"]["evaluation"]["extractor"] = Path(model.cell.profile.evaluation.extractor).name
    return plain | {
        "ablate": __version__,
        "image_shape": list(model.shape),
        "sigma_min": levels.sigma_min,
        "sigma_max": levels.sigma_max,
        "sampling": schedules(model.cell),
    }


@dataclass(frozen=True)
class Requirement:
    """A field of the recipe, and the only value with which diffusers samples the same images."""

    field: str
    actual: Any
    required: Any

    def __str__(self) -> str:
        return f"{self.field} must be {self.required}, but is {self.actual}"


def requirements(recipe: Recipe, shape: tuple[int, int, int]) -> list[Requirement]:
    """What diffusers' scheduler and network require of a recipe for images `shape` (C, H, W).

    `CMStochasticIterativeScheduler` scales inputs by 1 / sqrt(s^2 + sd^2), gives the network
    1000 ln(s + 1e-44) / 4 as time and mixes by the `cm` coefficients, all with one sigma_data; `UNet2DModel`
    encodes time by sinusoids in its first level's width. Both compute in float32, whatever the precision.
    """
    flat = recipe.flat()
    fixed = {"network": "unet2d", "embedding": "positional", "embedding.max_positions": 10000}
    fixed |= {axis: "cm" for axis in ("parameterization", "input_precond", "noise_precond")}
    if recipe.network.name == "unet2d":
        fixed["embedding.channels"] = recipe.network.block_out_channels[0]
    if "parameterization.sigma_data" in flat:
        fixed["input_precond.sigma_data"] = flat["parameterization.sigma_data"]
    result = [Requirement(field, flat.get(field), value) for field, value in fixed.items() if field in flat]
    if not isinstance(recipe.levels, Karras):
        result.append(Requirement("levels", recipe.levels.name, "karras"))
    # the pipeline generates square images only
    result.append(Requirement("the images' width", shape[2], shape[1]))
    return result


def require_supported(recipe: Recipe, shape: tuple[int, int, int]) -> None:
    """Raise SpecError with every unmet requirement, in one line."""
    if unmet := [r for r in requirements(recipe, shape) if r.actual != r.required]:
        raise SpecError(f"--format diffusers: {'; '.join(map(str, unmet))}")


def pipeline(model: Model) -> Any:
    """The cell as `ConsistencyModelPipeline`, with the same image for the same noise at any number of steps.

    Its time steps count the 1281 noise levels from sigma_max down: [0] is one step; [788, 0] are two, the
    second at 0.821.

    Raises:
        SpecError: diffusers is not installed, the data has labels, or the pipeline would sample the recipe differently.
    """
    recipe = model.f.recipe  # with the coefficients used for sampling
    if model.f.classes:
        raise SpecError(
            f"--format diffusers: profile.data.labels must be false, but there are {model.f.classes} classes"
        )
    require_supported(recipe, model.shape)
    library: Any = import_module("diffusers")
    inner: Any = model.f.network.model
    shift = int(recipe.embedding.endpoint)
    unet = library.UNet2DModel.from_config(dict(inner.config), sample_size=model.shape[1], freq_shift=shift)
    unet.load_state_dict(inner.state_dict())
    return library.ConsistencyModelPipeline(unet=unet.eval(), scheduler=scheduler(recipe))


def scheduler(recipe: Recipe) -> Any:
    """The scheduler with the recipe's noise levels; like `Model.sample`, it does not clip between steps."""
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
