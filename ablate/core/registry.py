"""Axes and their options: contracts, validated fields, and errors that name the nearest right word.

An option is a frozen dataclass whose `__call__` is its equation and whose fields are its only configuration:

    @AXES["metric"]("my_name")
    @dataclass(frozen=True)
    class MyMetric:
        c: float = 0.1
        def __call__(self, x, y): ...
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ablate.core.errors import Problems, SpecError, nearest, yaml_hint
from ablate.core.typed import checked, plain, reason, shown

Registered = TypeVar("Registered", bound=type)


@functools.cache
def _adapter(owner: type, field: str) -> TypeAdapter[Any]:
    hint = get_type_hints(owner, include_extras=True)[field]
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def _validated(owner: type, field: str, value: object, path: str) -> Any:
    """Check a value against its field's type and bounds. JSON mode takes a list as a tuple, but no text as a number."""
    try:
        return checked(lambda given: _adapter(owner, field).validate_json(json.dumps(given)), value)
    except ValidationError as error:
        reasons = dict.fromkeys(map(reason, error.errors()))
        raise SpecError(f"{path}: {shown(value)}: {' or '.join(reasons)}{yaml_hint(plain(value))}") from None
    except (TypeError, ValueError, RecursionError):
        raise SpecError(f"{path}: {shown(value)} is not a plain value") from None


@functools.cache
def configurable(option: type) -> dict[str, Any]:
    """The configurable fields of an option with their defaults. Do not modify the dict: all callers share it."""
    return {f.name: f.default for f in dataclasses.fields(option) if "axis" not in f.metadata}


@functools.cache
def dependencies(option: type) -> dict[str, str]:
    """The fields of an option that hold other ingredients, each with its axis. Do not modify this dict either."""
    return {f.name: f.metadata["axis"] for f in dataclasses.fields(option) if "axis" in f.metadata}


def depends_on(axis: str) -> Any:
    """A field that holds another ingredient: `connect` sets it to the recipe's own ingredient of `axis`.

    If you build the option alone, it gets that axis's default option instead.
    """
    return dataclasses.field(
        default_factory=lambda: AXES[axis].build(AXES[axis].default), metadata={"axis": axis}, repr=False
    )


def connect(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The ingredients by axis, each with the other ingredients that it depends on."""
    connected = {}
    for axis, part in parts.items():
        held = {field: parts[other] for field, other in dependencies(cast(Any, type(part))).items()}
        connected[axis] = dataclasses.replace(part, **held) if held else part
    return connected


@dataclasses.dataclass(frozen=True)
class Need:
    """A recipe whose finished cell an option reads.

    recipe: its name or path. share: of the profile's images that this cell is trained on, above 0 and below 1; the cell
    that needs it is trained on the rest, so that both together see as many as any other. None: each sees all.
    """

    recipe: str
    share: float | None = None


class Option:
    """What the package asks of an option besides its equation, with default answers.

    You need not inherit from it: registering an option adds every default that the option does not override. An axis
    that asks for more has a subclass of this class in its module, such as `Averaging`, `Metric` and `Network`.
    """

    axis: ClassVar[str]
    name: ClassVar[str]
    # fields that change no result, such as the path of a file
    excluded_from_key: ClassVar[tuple[str, ...]] = ()
    # fields added after cells were computed: at their default they are not part of the key
    added_fields: ClassVar[tuple[str, ...]] = ()
    # known defects that the option reproduces on purpose: `doctor` warns about them instead of failing
    replays: tuple[str, ...] = ()
    reads_files: ClassVar[bool] = False  # it reads weights from elsewhere; `require` checks that they exist
    # forward passes of the recipe's network, without gradient, that it adds to a training step of the student
    passes: int = 0

    def for_images(self, shape: Sequence[int]) -> Any:
        """The option with its fields resolved that depend on the size of an image (C, H, W)."""
        return self

    def require(self) -> None:
        """Raise a SpecError if a file that the option reads is missing."""

    def needs(self) -> Need | None:
        """The cell that must be finished before a cell with this option starts; its key is part of the other's."""
        return None

    def suits(self, parts: Mapping[str, Any]) -> None:
        """Raise a SpecError if the recipe that it needs, here by axis, cannot serve it."""

    def given(self, folder: Path) -> Any:
        """The option with the folder of the cell that it needs, before training."""
        return self

    def content(self) -> str:
        """A hash of the files that the option reads, for the key of a cell; empty if it reads none."""
        return ""

    def code_modules(self) -> tuple[str, ...]:
        """Full names of modules of yours that it calls without importing them; their source is part of the key."""
        return ()


class Axis:
    """One interchangeable part of consistency training.

    Args:
        contract: names, shapes and meaning of the call; the first line of the axis's module.
        default: the option of a recipe that does not name one.
        base: what the package asks of the axis's options besides the equation, with default answers.
        default_in_key: False excludes the default from a cell's key, for an axis added after cells were computed.
    """

    def __init__(self, contract: str, default: str, base: type[Option] = Option, default_in_key: bool = True):
        self.name, self.contract = (part.strip() for part in contract.splitlines()[0].split(":", 1))
        self.default, self.base, self.default_in_key = default, base, default_in_key
        self.options: dict[str, type] = {}
        AXES[self.name] = self

    def __call__(self, name: str) -> Callable[[Registered], Registered]:
        """Register a frozen dataclass with `__call__` as the option `name`."""

        def register(option: Registered) -> Registered:
            parameters = getattr(option, "__dataclass_params__", None)
            if parameters is None or not parameters.frozen or "__call__" not in dir(option):
                raise TypeError(f"{self.name}.{name}: an option is a frozen dataclass with __call__")
            if not re.fullmatch(r"\w[\w.-]*", name):  # files and `--set AXIS=NAME` have it
                raise ValueError(
                    f"{self.name}: {name!r}: an option's name is letters, digits, '_', '-' and '.'"
                )
            known = self.options.get(name)
            if known and (known.__module__, known.__qualname__) != (option.__module__, option.__qualname__):
                raise ValueError(f"{self.name}.{name} is registered already, by {known.__module__}")
            try:
                json.dumps([d for d in configurable(option).values() if d is not dataclasses.MISSING])
            except (TypeError, ValueError) as error:
                raise TypeError(f"{self.name}.{name}: a field's default is no plain value: {error}") from None
            option.axis, option.name = self.name, name  # type: ignore[attr-defined]
            self._complete(option)
            self.options[name] = option
            return option

        return register

    def _complete(self, option: type) -> None:
        """Add the base's defaults that the option does not override."""
        for base in self.base.__mro__[:-1]:
            for attribute, answer in vars(base).items():
                if not attribute.startswith("__") and not hasattr(option, attribute):
                    setattr(option, attribute, answer)

    def option(self, name: object, path: str = "") -> type:
        """The class registered as `name`."""
        path = path or self.name
        if isinstance(name, str) and name in self.options:
            return self.options[name]
        raise SpecError(f"{path}: no option {shown(name)}{yaml_hint(name)}; {nearest(name, self.options)}")

    def fields(self, name: str) -> dict[str, Any]:
        """The configurable fields of option `name` with their defaults; a required one has `dataclasses.MISSING`."""
        return dict(configurable(self.options[name]))

    def build(self, spec: Any, path: str = "") -> Any:
        """The ingredient that `spec` describes.

        Args:
            spec: an option's name, a mapping with `name` and fields, or an ingredient of this axis.
            path: the place of the spec in its file, for error messages.
        Raises:
            SpecError: unknown option or field, wrong type, value out of bounds; all reported together.
        """
        path = path or self.name
        if getattr(type(spec), "axis", None) == self.name:
            return spec
        spec = {"name": spec} if not isinstance(spec, Mapping) else dict(spec)
        if "name" not in spec:
            raise SpecError(f"{path}: {spec!r} names no option; {nearest('', self.options)}")
        name = spec.pop("name")
        option = self.option(name, path)
        values, problems, fields = {}, Problems(), self.fields(name)
        for field, value in spec.items():
            with problems:
                if field not in fields:
                    raise SpecError(self.unknown(name, field, path))
                values[field] = _validated(option, field, value, f"{path}.{field}")
        missing = [f for f, d in fields.items() if d is dataclasses.MISSING and f not in spec]
        problems.add(
            *(f"{path}.{f}: {name} needs a value here" for f in missing if not self._has_factory(option, f))
        )
        problems.check()
        try:
            return option(**values)
        except SpecError as error:
            raise error.under(path) from None

    def unknown(self, name: str, field: object, path: str = "") -> str:
        """The message for a field that option `name` does not have."""
        fields = self.fields(name)
        tail = nearest(field, fields) if fields else "it has none"
        return f"{path or self.name}.{field}: {name} has no such field; {tail}"

    def schema(self, name: str, field: str) -> dict[str, Any]:
        """JSON schema of a field: its type, bounds and search range if it has one; null is left out of the types."""
        schema = _adapter(self.options[name], field).json_schema()
        choices = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
        return {**schema, **(choices[0] if choices else {})}

    @staticmethod
    def _has_factory(option: type, field: str) -> bool:
        factories = {f.name: f.default_factory for f in dataclasses.fields(option)}
        return factories[field] is not dataclasses.MISSING

    def doc(self, name: str) -> str:
        """The docstring of option `name`, unindented."""
        return inspect.cleandoc(self.options[name].__doc__ or "")


AXES: dict[str, Axis] = {}


def build(axis: str, spec: Any) -> Any:
    """Build an ingredient.

    Args:
        axis: one of `AXES`.
        spec: an option's name, or a mapping with `name` and fields.
    Raises:
        SpecError: as `Axis.build`.
    """
    if axis not in AXES:
        raise SpecError(f"{axis!r} is not an axis; {nearest(axis, AXES)}")
    return AXES[axis].build(spec)


def values(ingredient: Any) -> dict[str, Any]:
    """The configurable fields of an ingredient, as plain data."""
    plain = {name: getattr(ingredient, name) for name in configurable(cast(Any, type(ingredient)))}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
