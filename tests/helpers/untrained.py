"""A store with one cell that looks finished: a recipe's network as it starts, under the key `cell`."""

from __future__ import annotations

from safetensors.torch import save_file

import ablate
from ablate.config.profile import Data, Evaluation, Profile
from ablate.data import datasets
from ablate.planning.cells import Cell
from ablate.runs.store import Store

SMALL = {
    "network.width": 8,
    "network.multipliers": [1, 2],
    "network.blocks": 1,
    "network.attention": [],
    "embedding.channels": 16,
}


def store(path, shape=(1, 8, 8), **changes):
    recipe = ablate.apply(ablate.load_recipe("ict"), changes or SMALL).for_images(shape)
    images = Data(name="digits", images=64, resolution=None if shape[1] == 8 else shape[1])
    evaluation = Evaluation(samples=32, batch=20)
    profile = Profile(name="tiny", data=images, batch=8, images=80, evaluation=evaluation)
    found = Store(path / "runs")
    folder = found.prepare(Cell("cell", recipe, profile, 0, datasets.fingerprint(images)))
    save_file(recipe.network(shape).state_dict(), folder.model)
    return found
