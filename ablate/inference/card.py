"""The model card of an export: what was trained on what, with which FID by which ruler, under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.checkpoints.card import card
from ablate.config.recipe import Recipe
from ablate.core import yaml_files
from ablate.inference.model import Model

LICENSE = "unknown"  # a hub's word for weights whose licence nobody stated


def head(model: Model, license: str) -> dict[str, Any]:
    """The fields that hubs know."""
    return {
        "license": license,
        "library_name": "ablate",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["consistency-models", model.cell.recipe.network.name],
    }


def write(model: Model, record: Mapping[str, Any] | None, use: str, license: str = LICENSE) -> str:
    """The card.

    Args:
        record: of the cell; None if it is gone.
        use: how to load the weights, with a title.
    """
    title, _, text = use.removeprefix("# ").partition("\n")
    profile, recipe = model.cell.profile, model.cell.recipe
    data = ((record or {}).get("provenance") or {}).get("data") or profile.data.name
    shape, seen = " x ".join(map(str, model.shape)), (record or {}).get("images", profile.images)
    training = [
        f"Data: {data}, fingerprint `{model.cell.fingerprint}`, {shape}, {model.f.classes or 'no'} classes.",
        f"Seed {model.cell.seed}, one training: the spread over seeds is in the report of the experiment.",
        f"Profile {profile.name}: {seen:,} images seen in batches of {profile.batch}.",
    ]
    sections = [text.strip(), "## Training", *training, f"```yaml\n{yaml_files.write(portable(recipe))}```"]
    return card(head(model, license), title, [*sections, "## FID", _measured(record or {})])


def portable(recipe: Recipe) -> dict[str, Any]:
    """The specs of a recipe, with the names of files instead of their paths on this machine."""
    parts, specs = recipe.parts(), recipe.specs()
    for axis, part in parts.items():
        found = {field: specs[axis].get(field) for field in part.excluded_from_key}
        specs[axis] |= {field: Path(text).name for field, text in found.items() if isinstance(text, str)}
    return specs


def _measured(record: Mapping[str, Any]) -> str:
    """Each FID with the network and the images that it was measured by."""
    rows = [
        f"| {e['nfe']} | {e['value']:.4g} | {e['n']:,} | {e['extractor']} | {e['reference']} |"
        for e in record.get("fid", [])
    ]
    if not rows:
        return "Not measured."
    title = "| evaluations of the network | FID | samples | extractor | real images |"
    note = "Compare FIDs by the same extractor, images and number of samples only."
    return "\n".join([title, "|---|---|---|---|---|", *rows, "", note])
