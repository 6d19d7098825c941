"""Reads the tensors of a checkpoint and never runs its code: pickles, state dicts, safetensors, folders of shards."""

from __future__ import annotations

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ablate.core.errors import SpecError
from ablate.core.files import read_json

Tensors = dict[str, Tensor]
ENTRIES = ("ema", "net", "network", "model", "state_dict", "model_state_dict", "params_ema", "module")
PREFIXES = ("module.", "_orig_mod.")  # of data-parallel and of compiled networks
LEGACY = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began its files before they were archives
)
INDEX = "*.safetensors.index.json"
SINGLE = ("*.safetensors", "*.bin")  # where a folder has no index


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one network, and what the file says besides.

    Args:
        wrapper: class of the pickled network; empty if the file has a state dict.
        config: the folder's `config.json`.
        dropped: what else the file has.
    """

    tensors: Tensors
    wrapper: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


def read(path: Path) -> Checkpoint:
    """The network in a file or folder.

    Raises:
        SpecError: no such file, a damaged one, one that has no tensors, or a pickle that would run code.
    """
    if path.is_dir():
        return _folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY))
    except OSError as error:
        raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if start[8:9] == b"{":
        tensors, dropped = _plain(_safetensors(path))
        return Checkpoint(tensors, dropped=dropped)
    return _chosen(_saved(path) if start[:2] == b"PK" or start == LEGACY else _pickle(path), path)


def _folder(folder: Path) -> Checkpoint:
    config = read_json(folder / "config.json")
    return replace(_shards(folder), config=config if isinstance(config, dict) else {})


def _shards(folder: Path) -> Checkpoint:
    """The network of a folder with one file of weights, or with an index of several."""
    if indexes := sorted(folder.glob(INDEX)):
        index = read_json(indexes[0])
        weight_map = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
            raise SpecError(f"{indexes[0]}: has no weight_map")
        outside = [name for name in weight_map.values() if Path(name).name != name]
        absent = sorted({n for n in weight_map.values() if not outside and not (folder / n).is_file()})
        if outside or absent:
            raise SpecError(f"{indexes[0]}: there is no file {(outside or absent)[0]!r} beside it")
        found = {
            name: tensor
            for shard in sorted(set(weight_map.values()))
            for name, tensor in _safetensors(folder / shard).items()
        }
        if missing := sorted(set(weight_map) - set(found)):
            raise SpecError(f"{folder}: the shards have no tensor {missing[0]!r}{others(missing)}")
        tensors, dropped = _plain(found)
        return Checkpoint(tensors, dropped=dropped)
    for pattern in SINGLE:
        files = sorted(folder.glob(pattern))
        if len(files) > 1:
            names = ", ".join(f.name for f in files[:4])
            raise SpecError(f"{folder}: has several files of weights and no index: name one of {names}")
        if files:
            return read(files[0])
    raise SpecError(f"{folder}: has no weights: no *.safetensors and no *.bin")


def _safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise SpecError(f"{path}: damaged or not safetensors: {_line(error)}") from None


def _saved(path: Path) -> Any:
    """What `torch.save` wrote, as far as it is tensors and plain data."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = "damaged, or has more than tensors and plain data (ask for its state dict)"
        raise SpecError(f"{path}: {what}: {_line(error)[-120:]}") from None
    except Exception as error:  # torch raises whatever a damaged file leads to
        raise SpecError(f"{path}: damaged: {_line(error)}") from None


def _chosen(content: Any, path: Path) -> Checkpoint:
    """The network of a file that may hold several things: an average rather than the trained weights."""
    entries: dict[Any, Any] = content if isinstance(content, dict) and not _is_network(content) else {}
    name = next((n for n in ENTRIES if n in entries and _is_network(entries[n])), None)
    rest = tuple(f"{_name(n)} (another entry of the file)" for n in entries if n != name)
    network = content if name is None else entries[name]
    if not _is_network(network):
        listed = ", ".join(_name(n) for n in list(entries)[:6]) or type(content).__name__
        raise SpecError(f"{path}: has no network: neither a state dict nor a pickled module, but {listed}")
    if isinstance(network, Inert):
        try:
            return Checkpoint(_weights(network), network.kind.rpartition(".")[2], dropped=rest)
        except (AttributeError, TypeError, RecursionError) as error:
            raise SpecError(f"{path}: a pickled module of unknown structure: {_line(error)}") from None
    tensors, dropped = _plain(network)
    return Checkpoint(tensors, dropped=(*rest, *dropped))


def _plain(state: Mapping[Any, Any]) -> tuple[Tensors, tuple[str, ...]]:
    """A state dict without the prefixes that wrappers add, and its entries that are no tensors."""
    tensors = {str(n): _bare(v) for n, v in state.items() if isinstance(v, Tensor)}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors, tuple(f"{_name(n)} (not a tensor)" for n, v in state.items() if not isinstance(v, Tensor))


def _bare(tensor: Tensor) -> Tensor:
    return tensor.detach().as_subclass(Tensor)


def _is_network(value: Any) -> bool:
    if isinstance(value, Inert):
        return isinstance(value.state, dict) and "_modules" in value.state
    return isinstance(value, dict) and any(isinstance(v, Tensor) for v in value.values())


def _weights(module: Inert, prefix: str = "") -> Tensors:
    """The state dict of a pickled module."""
    found: Tensors = {}
    for kind in ("_parameters", "_buffers"):
        tensors = _entries(module, kind)
        found |= {prefix + n: _bare(t) for n, t in tensors.items() if isinstance(t, Tensor)}
    for name, child in _entries(module, "_modules").items():
        if isinstance(child, Inert):
            found |= _weights(child, f"{prefix}{name}.")
    return found


def _entries(module: Inert, kind: str) -> dict[Any, Any]:
    entries = module.state.get(kind)
    if entries is not None and not isinstance(entries, dict):
        raise TypeError(f"{kind} is a {type(entries).__name__}")
    return entries or {}


class Refuses(type):
    """The type of classes that a pickle may name, but not call."""

    kind = ""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise SpecError(f"it calls {cls.kind}")


class Inert(dict[Any, Any], metaclass=Refuses):
    """The content and the state of an object whose class is not loaded; it has no method of that class."""

    kind = ""
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _inert(kind: str, state: Any = None) -> Inert:
    found: Inert = Inert.__new__(Inert)
    found.kind, found.state = kind, state
    return found


def _persistent(meta: Mapping[str, Any]) -> Inert:
    """A module pickled by EDM's `torch_utils.persistence`, which adds its own source code; that stays text."""
    return _inert(_name(meta["class_name"]), meta["state"])


def _reconstructed(kind: Any, *_: Any) -> Any:
    if not isinstance(kind, Refuses):
        raise SpecError(f"it rebuilds a {type(kind).__name__}")
    return dict.__new__(kind)  # type: ignore[arg-type]


def _refuse_state(_self: Any, _state: Any) -> None:
    raise SpecError("it sets the state of what is no module")


class Rebuilt(Tensor):
    """A tensor of a pickle; `Tensor` itself would let the pickle replace its storage."""

    __setstate__ = _refuse_state


class Callee:
    """A function that a pickle may call, but not change."""

    __slots__ = ("function",)
    __setstate__ = _refuse_state

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def _storage(data: bytes) -> Tensor:
    """The numbers of a tensor (n,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # typed storages are deprecated, but old pickles have them
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        raw, dtype = storage.untyped(), storage.dtype
    count = raw.nbytes() // dtype.itemsize
    numbers = torch.empty(0, dtype=dtype).set_(raw, 0, (count,), (1,))  # type: ignore[call-overload]
    return numbers.as_subclass(Rebuilt)  # type: ignore[no-any-return]


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)  # Rebuilt too; raises outside of the storage


# all that a pickle may call
CALLED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.storage._load_from_bytes": _storage,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
    "torch.device": lambda *_: _inert("torch.device"),
    "_codecs.encode": lambda text, *_: text.encode("latin1"),  # bytes, before protocol 3
    "__builtin__.bytes": lambda: b"",
    **{
        f"{module}.{name}": lambda *_: _inert("numpy")
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("dtype", "_reconstruct", "scalar")
    },
}


class Restricted(pickle.Unpickler):
    """An unpickler that imports nothing: it rebuilds tensors, and any other class becomes a kind of `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in the pickle."""
        kind = f"{module}.{name}"
        if kind in CALLED:
            return Callee(CALLED[kind])
        return Refuses(_name(name), (Inert,), {"kind": _name(kind)})


def _pickle(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return Restricted(file).load()
        except SpecError as error:
            raise SpecError(f"{path}: refused: {error}, and a pickle's code is never run") from None
        except Exception as error:  # a damaged pickle may lead to anything
            raise SpecError(f"{path}: damaged or not a checkpoint: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _name(text: object) -> str:
    """A name from a file, on one line."""
    return repr(str(text))[1:-1][:120]


def others(names: Sequence[str]) -> str:
    """The end of a message that shows the first of `names`."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
