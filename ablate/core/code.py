"""Your own code that an option uses: which files it is, a hash of them for keys, and copies beside the weights."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ablate.core.registry import AXES

PACKAGE = __name__.partition(".")[0]
INSTALLED = {"site-packages", "dist-packages"}
STANDARD = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}


def files(modules: Iterable[str], installed: str = "") -> dict[str, Path]:
    """The modules and all modules of yours that they import, at their top or inside functions: full name -> file.

    The standard library, installed packages and this package are left out. Nothing is imported; a module whose name
    is made while the code runs is not found.

    Args:
        installed: a package that counts as yours although it is installed, such as a plugin that others wrote.
    """
    found, waiting = dict[str, Path](), list(modules)
    while waiting:
        name = waiting.pop()
        file = None if name in found else _file(name, installed)
        if file is None:
            continue
        found[name] = file
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        waiting += [_absolute(imported, package) for imported in _imports(file, file.stat().st_mtime_ns)]
        waiting += [
            name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)
        ]  # its packages are run first
    return dict(sorted(found.items()))


def digest(found: dict[str, Path]) -> str:
    """12 hexadecimal digits, a hash of the names and texts of modules."""
    lines = [f"{name} {hashlib.sha256(_text(file)).hexdigest()}" for name, file in found.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def copy(found: dict[str, Path], folder: Path) -> None:
    """Copy modules into `folder`, from which `kept` imports them."""
    for name, file in found.items():
        parts = [*name.split("."), *(["__init__"] if file.stem == "__init__" else [])]
        target = folder.joinpath(*parts).with_suffix(file.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        for package in [p for p in target.parents if p.is_relative_to(folder) and p != folder]:
            (package / "__init__.py").touch()  # also where yours has none
        shutil.copyfile(file, target)


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Import modules from the copies in `folder`, if there are any, even if you have changed or imported yours since.

    Afterwards the names mean your own modules again, where you have them.
    """
    names = {path.name.partition(".")[0] for path in folder.glob("*")}
    finder, writes_none = _Finder(folder), sys.dont_write_bytecode
    options = {axis: dict(axis.options) for axis in AXES.values()}
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}
    sys.meta_path.insert(0, finder)
    sys.dont_write_bytecode = True  # the folder may be somebody else's
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        sys.meta_path.remove(finder)
        yours = {name for name in names if name in before or PathFinder.find_spec(name)}
        for name in [name for name in sys.modules if name.partition(".")[0] in yours]:
            del sys.modules[name]
        sys.modules.update(before)
        for axis, known in options.items():
            axis.options |= known


class _Finder:
    """Finds top-level modules in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's spec; None for all modules that are not in the folder."""
        return PathFinder.find_spec(name, [str(self.folder)]) if path is None else None


def exists(name: str) -> bool:
    """Whether there is a module of this name, installed ones included; it is not imported."""
    return _spec(name) is not None


def yours(file: Path) -> bool:
    """Whether a file belongs to neither the standard library nor an installed package."""
    standard = any(file.resolve().is_relative_to(folder) for folder in STANDARD)
    return file.is_absolute() and not standard and not INSTALLED & set(file.parts)


def _file(name: str, installed: str) -> Path | None:
    """The file of a module of yours; None for others."""
    top = name.partition(".")[0]
    if top == PACKAGE or (top in _others and top != installed):
        return None
    spec = _spec(name)
    if spec is None or spec.origin is None:  # no such module, or a folder without code of its own
        return None
    file = Path(spec.origin)
    if top != installed and not yours(file):
        _others.add(top)
        return None
    return file if file.is_file() else None


_others: set[str] = set()  # top-level names of the standard library and of installed packages, found so far


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is. Python itself looks up top-level names only: of others, it would import the package."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):  # a module without a spec, such as __main__
        return None
    for i in range(len(rest)):
        places = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(f"{top}.{'.'.join(rest[: i + 1])}", list(places)) if places else None
    return spec


def _text(file: Path) -> bytes:
    return file.read_bytes().replace(b"\r\n", b"\n")


@functools.lru_cache(maxsize=1024)
def _imports(file: Path, _changed: int) -> list[str]:
    """What a file imports: full names, or relative ones with their dots; `from a import b` may mean a module `a.b`."""
    names = list[str]()
    with contextlib.suppress(SyntaxError, ValueError):  # not Python, or not yet
        for node in ast.walk(ast.parse(_text(file))):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = "." * node.level + (node.module or "")
                names += [start, *(f"{start}{'.' if node.module else ''}{a.name}" for a in node.names)]
    return names


def _absolute(name: str, package: str) -> str:
    """A full name for one with leading dots."""
    own = name.lstrip(".")
    up = len(name) - len(own)
    if not up:
        return name
    parent = package.split(".")[: len(package.split(".")) - up + 1]
    return ".".join([*parent, *([own] if own else [])])
