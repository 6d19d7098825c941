"""Recipes: one option for every axis. Reading, overriding and comparing them, and the key of a cell."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate import ingredients  # noqa: F401  (fills AXES)
from ablate.core import code, plugins, search_path, yaml_files
from ablate.core.errors import Problems, SpecError, nearest
from ablate.core.registry import AXES, connect, values
from ablate.core.typed import plain

Specs = dict[str, dict[str, Any]]  # axis -> {"name": option, field: value}
Overrides = Mapping[str, Any]  # axis -> spec, or "axis.field" -> value


@dataclass(frozen=True)
class Recipe:
    """One ingredient per axis, in the order of `AXES`."""

    levels: Any
    curriculum: Any
    noise: Any
    pairing: Any
    weighting: Any
    metric: Any
    teacher: Any
    noise_precond: Any
    input_precond: Any
    parameterization: Any
    sampling_precond: Any
    embedding: Any
    network: Any
    init_from: Any
    dropout_sharing: Any
    coupling: Any
    direction: Any
    averaging: Any
    optimizer: Any
    schedule: Any
    precision: Any

    def specs(self) -> Specs:
        """The recipe as plain data, from which `build` makes an equal recipe."""
        return {axis: {"name": part.name, **values(part)} for axis, part in self.parts().items()}

    def parts(self) -> dict[str, Any]:
        """The ingredients by axis."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def flat(self) -> dict[str, Any]:
        """`{"metric": "pseudo_huber", "metric.c": 0.03, ...}`: the names used in YAML, tables and MLflow."""
        return dict(self._flat)

    @functools.cached_property
    def _flat(self) -> dict[str, Any]:  # a report calls `flat` thousands of times
        return flat(self.specs())

    def for_images(self, shape: Sequence[int]) -> Recipe:
        """The recipe with its fields resolved that depend on the size of an image (C, H, W)."""
        return dataclasses.replace(self, **{a: p.for_images(shape) for a, p in self.parts().items()})

    def from_scratch(self) -> Recipe:
        """The recipe with random weights in its networks, for checks and timings, which do without other cells."""
        held = ("init_from", "teacher", "direction")
        return dataclasses.replace(self, **{axis: getattr(self, axis).untrained() for axis in held})

    def given(self, folders: Mapping[str, Path]) -> Recipe:
        """The recipe whose options of some axes have the folders of the cells that they need."""
        return dataclasses.replace(self, **{a: getattr(self, a).given(place) for a, place in folders.items()})

    def sources(self) -> dict[str, str]:
        """A hash by axis of what an option depends on besides its fields: code outside this package, or files."""
        hashes = {
            axis: f"{_code(axis, part)} {part.content()}".strip() for axis, part in self.parts().items()
        }
        return {axis: found for axis, found in hashes.items() if found}

    def own_modules(self) -> set[str]:
        """Full names of the modules outside this package whose code the options are or call."""
        return {name for part in self.parts().values() for name in _modules(part)}

    def keyed(self) -> dict[str, Any]:
        """The flat fields that are part of a cell's key: all except those that change no result."""
        excluded = set()
        for axis, part in self.parts().items():
            excluded |= {f"{axis}.{field}" for field in part.excluded_from_key}
            defaults = AXES[axis].fields(part.name) if part.added_fields else {}
            excluded |= {f"{axis}.{f}" for f in part.added_fields if getattr(part, f) == defaults[f]}
            default = part.name == AXES[axis].default and not AXES[axis].default_in_key
            excluded |= {axis} if default else set()
        return {k: v for k, v in self.flat().items() if k not in excluded}


def _modules(part: Any) -> set[str]:
    """The modules of an option's class and its bases, and those that it calls by name; none of this package."""
    classes = {base.__module__ for base in type(part).__mro__[:-1]}
    return {name for name in classes if name.partition(".")[0] != code.PACKAGE} | set(part.code_modules())


def _code(axis: str, part: Any) -> str:
    """A hash of the code outside this package that an option is or calls; empty if there is none."""
    home = type(part).__module__
    own = home.partition(".")[0] != code.PACKAGE
    found = code.files(_modules(part), installed=home.partition(".")[0] if own else "")
    if own and home not in found:  # typed into a notebook
        try:
            return _hash(inspect.getsource(type(part)))
        except (OSError, TypeError):
            raise SpecError(f"{axis}: {part.name}: its source cannot be read: define it in a file") from None
    return code.digest(found) if found else ""


def flat(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Specs under dotted names: axis -> option, `axis.field` -> value."""
    rows: dict[str, Any] = {}
    for axis, spec in specs.items():
        rows |= {axis: spec["name"], **{f"{axis}.{k}": v for k, v in spec.items() if k != "name"}}
    return rows


def build(specs: Mapping[str, Any]) -> Recipe:
    """Build the recipe that `specs` (axis -> spec) describes; axes that are not named get their default option.

    Raises:
        SpecError: the mistakes of all axes, reported together.
    """
    problems, parts = Problems(), dict[str, Any]()
    problems.add(*(f"{axis}: no such axis; {nearest(axis, AXES)}" for axis in specs if axis not in AXES))
    for axis in AXES.values():
        with problems:
            parts[axis.name] = axis.build(specs.get(axis.name, axis.default))
    problems.check()
    recipe = Recipe(**connect(parts))
    agree(recipe)
    return recipe


def rebuild(specs: Mapping[str, Any]) -> Recipe:
    """The recipe that `specs` are of, with its key: a key tells 1 from 1.0, and a default may be a whole number."""
    parts = {}
    for axis, part in build(specs).parts().items():
        numbers = {f: v for f, v in specs.get(axis, {}).items() if type(v) is int}
        whole = {f: v for f, v in numbers.items() if type(getattr(part, f)) is float}
        parts[axis] = dataclasses.replace(part, **whole) if whole else part
    return Recipe(**connect(parts))


def agree(recipe: Recipe) -> None:
    """Require the same sigma_min of levels and parameterization, for the boundary condition, as many levels from the
    pairing as the network takes, a network that can be differentiated as the pairing does, and noise that a mean over
    images may take as independent of them."""
    low, boundary = (getattr(part, "sigma_min", None) for part in (recipe.levels, recipe.parameterization))
    if None not in (low, boundary) and low != boundary:
        seen = f"levels.sigma_min={low}, parameterization.sigma_min={boundary}"
        raise SpecError(f"levels.sigma_min and parameterization.sigma_min must be equal, but got {seen}")
    pairing, network = recipe.pairing, recipe.network
    takes = network.second_level is not None
    if pairing.two_levels and not takes:
        able = [n for n in AXES["network"].options if "second_level" in AXES["network"].fields(n)]
        way = f"set network.second_level to gap or end ({', '.join(able)} have this field)"
        raise SpecError(f"pairing: {pairing.name}: needs a network with a second level; {way}")
    if takes and pairing.two_levels is False:
        law = f"pairing {pairing.name} never varies the second level; leave it unset, or choose such as mean_flow"
        raise SpecError(f"network.second_level: {network.second_level!r}: {law}")
    if recipe.direction.averages and not getattr(recipe.coupling, "independent", False):
        law = "takes image and noise as independent, which this coupling makes dependent; set coupling to independent"
        raise SpecError(f"coupling: {recipe.coupling.name}: direction {recipe.direction.name} {law}")
    if pairing.derives and getattr(network, "checkpointing", False):
        law = f"pairing {pairing.name} differentiates the network forwards, which checkpointing cannot; set it to false"
        raise SpecError(f"network.checkpointing: true: {law}")


def overlay(specs: Specs, overrides: Overrides, sticky: Overrides | None = None) -> Specs:
    """Apply `overrides` to `specs`: a bare axis replaces the whole entry, a dotted key changes one field.

    Args:
        sticky: dotted fields (of a profile) that also apply to a replaced entry, if its option has them.
    Raises:
        SpecError: keys that are neither an axis nor a field of its option, all reported together.
    """
    result, problems = {axis: dict(spec) for axis, spec in specs.items()}, Problems()
    for axis, spec in overrides.items():
        if "." in axis:
            continue
        with problems:
            if axis not in AXES:
                raise _no_axis(axis)
            held = plain(spec)
            entry = held if isinstance(held, Mapping) else {"name": spec}
            AXES[axis].option(entry.get("name"), axis)
            kept = {k: v for k, v in (sticky or {}).items() if k.startswith(f"{axis}.")}
            fields = AXES[axis].fields(entry["name"])
            result[axis] = {"name": entry["name"]}
            result[axis] |= {f: v for k, v in kept.items() if (f := k.split(".", 1)[1]) in fields}
            result[axis] |= entry
    for key, value in overrides.items():
        if "." in key:
            with problems:
                axis, field = key.split(".", 1)
                if axis not in AXES:
                    raise _no_axis(key)
                name = result.setdefault(axis, {"name": AXES[axis].default})["name"]
                if field not in AXES[axis].fields(name):
                    raise SpecError(AXES[axis].unknown(name, field))
                result[axis][field] = value
    problems.check()
    return result


def _no_axis(key: str) -> SpecError:
    if key == "profile.images":
        return SpecError(
            f"{key}: rows share the profile; `budgets: [0.5, 1, 2]` trains each with so many times its images"
        )
    if key.split(".")[0] == "profile":
        return SpecError(f"{key}: rows share the profile; --set changes it for all of them")
    return SpecError(f"{key}: no such axis; {nearest(key.split('.')[0], AXES)}")


def apply(recipe: Recipe, overrides: Overrides, sticky: Overrides | None = None) -> Recipe:
    """A new recipe: `recipe` with `overrides`. Files, `--set` and searches all use this function."""
    return build(overlay(recipe.specs(), overrides, sticky))


def differing(a: Recipe, b: Recipe) -> list[str]:
    """The axes in which two recipes differ, in the order of `AXES`."""
    return [axis for axis, spec in a.specs().items() if spec != b.specs()[axis]]


def diff(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """The flat fields in which two recipes differ: their values in `a` and in `b`, None for a field that is absent."""
    left, right = a.flat(), b.flat()
    keys = list(dict.fromkeys([*left, *right]))
    return {k: (left.get(k), right.get(k)) for k in keys if left.get(k) != right.get(k)}


def read_specs(
    name: str, path: str = "recipe", beside: Path | None = None, seen: tuple[Path, ...] = ()
) -> Specs:
    """The specs of a recipe file, its `base` resolved first.

    Raises:
        SpecError: there is no such recipe, its bases form a circle, or it has unknown keys.
    """
    file = yaml_files.locate("recipes", name, path, beside).resolve()
    if file in seen:
        chain = " -> ".join(p.stem for p in (*seen, file))
        raise SpecError(f"{path}: the bases form a circle: {chain}")
    data = yaml_files.mapping(yaml_files.read(file), str(file))
    data.pop("name", None), data.pop("summary", None)
    base: Specs = {}
    if "base" in data:
        base = read_specs(data.pop("base"), f"{file}: base", file, (*seen, file))
    try:
        return overlay(base, data)
    except SpecError as error:
        raise error.under(str(file)) from None


def load_recipe(name: str) -> Recipe:
    """Load a recipe by name (see `experiments/recipes`) or path.

    Raises:
        SpecError: there is no such recipe, or it has mistakes.
    """
    return build(read_specs(str(name)))


def key(recipe: Recipe, budget: Mapping[str, Any], seed: int) -> str:
    """The key of a cell: 12 hexadecimal digits, a hash of everything that its results depend on."""
    decided = {"recipe": recipe.keyed(), "sources": recipe.sources(), "budget": dict(budget), "seed": seed}
    return _hash(json.dumps(decided, sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_plugins(modules: Sequence[str] = (), beside: Path | None = None) -> None:
    """Import code that registers options: the entry points `ablate.ingredients`, then `modules`.

    A module, also one that an option names, may be in the folder of the experiment file `beside` or in the current one.

    Raises:
        SpecError: a module that fails to import.
    """
    plugins.load("ablate.ingredients", "ablate.ingredients")
    for folder in (Path.cwd(), *([beside.parent.resolve()] if beside else [])):
        search_path.append(str(folder))
    problems = Problems()
    for module in modules:
        with problems, plugins.yours(f"imports: {module}"):
            importlib.import_module(module)
    problems.check()
