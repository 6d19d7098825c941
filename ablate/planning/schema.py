"""A JSON Schema of experiment files, with which your editor completes and checks them as you type."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from ablate.core.registry import AXES
from ablate.planning import claims, factorial
from ablate.planning.file import File
from ablate.planning.plan_kinds import KINDS


def schema() -> dict[str, Any]:
    """The schema, in draft 2020-12; what plugins add (options, fields, kinds of claims) is allowed, not described."""
    document = File.model_json_schema()
    changes = {"type": "object", "properties": _fields(), "additionalProperties": True}
    document["$defs"]["Changes"] = changes
    reference = {"$ref": "#/$defs/Changes"}
    kinds = {name: _kind(name, reference) for name in KINDS}
    known = {"priority": {"type": "integer"}, **kinds}
    entry = {"type": "object", "additionalProperties": False, "properties": known}
    document["properties"]["plan"] = {"type": "array", "minItems": 1, "items": entry}
    document["properties"]["set"] = reference
    references, kinds_of_claims = models_json_schema(
        [(kind, "validation") for kind in claims.kinds().values()]
    )
    document["$defs"] |= kinds_of_claims["$defs"]
    known_claims = {"properties": {"claims": {"items": {"anyOf": [*references.values()]}}}}
    document |= {"if": {"required": ["imports"]}, "else": known_claims}  # imports may define more kinds
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "ablate experiment",
    }


def _fields() -> dict[str, Any]:
    """Every axis with its options, and every field by its dotted name."""
    properties: dict[str, Any] = {}
    for axis in AXES:
        options = sorted(AXES[axis].options)
        named = {"type": "object", "required": ["name"], "properties": {"name": {"enum": options}}}
        properties[axis] = {
            "description": AXES[axis].contract,
            "anyOf": [{"enum": options}, {"type": "string"}, named],
        }
        for option in options:
            properties |= {f"{axis}.{name}": {} for name in AXES[axis].fields(option)}
    return properties


def _kind(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    if name == "list":
        row = {"label": {"type": "string"}, "base": {"type": "string"}, "set": changes}
        return {
            "type": "array",
            "items": {"type": "object", "additionalProperties": False, "properties": row},
        }
    if name in ("grid", "zip"):
        return {"type": "object", "additionalProperties": {"type": "array"}}
    ends = {"type": "object", "required": ["from", "to"]}
    if name != factorial.KIND:
        return ends
    axes = {"type": "array", "items": {"enum": sorted(AXES)}}
    sizes = {"resolution": {"enum": [*factorial.SIZES]}, "runs": {"type": "integer"}}
    return {**ends, "properties": {"axes": axes, **sizes}}
