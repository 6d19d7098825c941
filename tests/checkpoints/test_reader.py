"""A checkpoint's tensors are read, and its code never runs; whatever is wrong with a file is one line."""

from __future__ import annotations

import _codecs
import io
import json
import os
import pickle
import shutil
from collections import OrderedDict

import pytest
import torch
from helpers import cli, foreign
from safetensors.torch import load_file, save_file

from ablate.checkpoints.convert import convert
from ablate.checkpoints.edm import EDM
from ablate.checkpoints.reader import read
from ablate.core.errors import SpecError

MADE = foreign.architecture("ddpmpp", classes=3)


@pytest.fixture(scope="module")
def theirs():
    return EDM().written(MADE, foreign.network(MADE).state_dict())


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Sets:
    """Has a state that a `__setstate__` of another class would run."""

    def __getstate__(self):
        return {"command": "touch owned"}


def legacy(function, *arguments):
    """A tensor whose storage is a pickle within the pickle."""
    inner = pickle.dumps(Calls(function, *arguments))
    storage = Calls(torch.storage._load_from_bytes, inner)
    return Calls(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, None)


def with_state(made):
    """A network, and beside it a thing of which the pickle sets the state."""
    weights = pickle.dumps({"w": Whole(4)}, 2)[2:-1]
    thing = pickle.dumps(made(), 2)[2:-1]
    return b"\x80\x02}(U\x03ema" + weights + b"U\x01a" + thing + b"}U\x01bU\x01csbu."


STATELESS = {
    "a function": lambda: torch._utils._rebuild_tensor_v2,
    "a lambda": lambda: _codecs.encode,
    "a class": lambda: OrderedDict,
    "a tensor": lambda: Calls(torch._utils._rebuild_tensor_v2, Whole(4), 0, (2,), (1,), False, None),
    "a storage": lambda: Whole(4),
    "a parameter": lambda: Calls(torch._utils._rebuild_parameter, Whole(4), False, None),
}

HOSTILE = {
    "a shell": lambda: pickle.dumps({"ema": Calls(os.system, "touch owned")}),
    "eval": lambda: pickle.dumps(Calls(eval, "open('owned', 'w')")),
    "getattr": lambda: pickle.dumps([Calls(getattr, "", "join")]),
    "an import": lambda: pickle.dumps(Calls(__import__, "owned")),
    "a pickle within": lambda: pickle.dumps({"ema": {"w": legacy(os.system, "touch owned")}}),
    "an old opcode": lambda: b"(S'touch owned'\nios\nsystem\n.",
    "a build": lambda: b"cos\nsystem\n(dS'a'\nS'b'\nsb.",
    "outside of a storage": lambda: pickle.dumps(
        {"ema": {"w": Calls(torch._utils._rebuild_tensor_v2, Whole(4), 0, (10**6,), (1,), False, None)}}
    ),
    "an extension": lambda: b"\x80\x02\x82\x01.",
    "a persistent id": lambda: b"\x80\x02U\x01aQ.",
    "a name of two lines": lambda: pickle.dumps(None)[:2] + b"\x8c\x02os\x8c\x08sys\ntem\x1b\x93)R.",
    **{f"the state of {kind}": (lambda made=made: with_state(made)) for kind, made in STATELESS.items()},
}


class Whole:
    """A storage of n numbers, as tensors pickle theirs."""

    def __init__(self, n):
        self.n = n

    def __reduce__(self):
        data = io.BytesIO()
        storage = torch.zeros(self.n).storage()
        torch.save(storage, data, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (data.getvalue(),)


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_of_a_pickle_runs(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pkl").write_bytes(HOSTILE[kind]())
    done = cli.call("convert", "evil.pkl", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: evil.pkl: ")
    assert done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pkl"]


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("kind", STATELESS)
def test_only_modules_have_a_state(kind, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(with_state(STATELESS[kind]))
    with pytest.raises(SpecError, match="refused: it sets the state of what is no module"):
        read(tmp_path / "evil.pkl")


@pytest.mark.parametrize("archive", [True, False])
def test_nothing_that_torch_saved_runs_either(archive, tmp_path):
    content = {"ema": Calls(os.system, f"touch {tmp_path / 'owned'}")}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=archive)
    done = cli.call("convert", "evil.pt", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has more than tensors and plain data" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pt"]


def test_what_torch_saved_before_2020_is_read(tmp_path, theirs):
    torch.save({"state_dict": theirs}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read(tmp_path / "old.pth").tensors.keys() == theirs.keys()


def test_what_a_pickle_calls_is_named(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(HOSTILE["a shell"]())
    with pytest.raises(SpecError, match=r"refused: it calls posix\.system, and a pickle's code is never run"):
        read(tmp_path / "evil.pkl")


def test_source_code_and_unknown_classes_in_a_network_stay_data(tmp_path, theirs):
    other = {"loss_fn": Sets(), "augment": [Sets()], "dataset_kwargs": {"path": "x"}}
    file = foreign.persistent(tmp_path / "n.pkl", theirs, **other)
    found = read(file)
    assert found.wrapper == "EDMPrecond"
    assert found.tensors.keys() == theirs.keys()
    assert all(torch.equal(found.tensors[name], t) for name, t in theirs.items())
    assert [line.split()[0] for line in found.dropped] == ["loss_fn", "augment", "dataset_kwargs"]


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_has_all_bytes(protocol, tmp_path, theirs):
    modules = foreign.modules(theirs)
    (tmp_path / "n.pkl").write_bytes(pickle.dumps({"ema": modules, "note": b"", "hash": b"\xff"}, protocol))
    found = read(tmp_path / "n.pkl")
    assert found.tensors.keys() == theirs.keys()
    assert all(torch.equal(found.tensors[name], t) for name, t in theirs.items())
    assert {type(t) for t in found.tensors.values()} == {torch.Tensor}


@pytest.mark.parametrize("kind", ["_parameters", "_buffers", "_modules"])
@pytest.mark.parametrize("content", [torch.zeros(3), [1], "text"], ids=["tensor", "list", "text"])
def test_a_module_of_unknown_structure_is_one_line(kind, content, tmp_path):
    module = torch.nn.Linear(2, 2)
    module.__dict__[kind] = content
    (tmp_path / "n.pkl").write_bytes(pickle.dumps({"ema": module}))
    with pytest.raises(SpecError, match=f"a pickled module of unknown structure: {kind} is a "):
        read(tmp_path / "n.pkl")


def test_names_of_several_lines_stay_on_one(tmp_path, theirs):
    torch.save({"a\nb\x1b": 1, "ema": {**theirs, "c\nd": 2}}, tmp_path / "net.pt")
    assert read(tmp_path / "net.pt").dropped == (
        r"a\nb\x1b (another entry of the file)",
        r"c\nd (not a tensor)",
    )


@pytest.mark.parametrize("pickled", [True, False])
def test_a_folder_says_what_its_file_says(pickled, tmp_path, theirs):
    (tmp_path / "net").mkdir()
    file = tmp_path / "net" / "weights.bin"
    if pickled:
        foreign.persistent(file, theirs, "ECMPrecond", loss_fn=1)
    else:
        torch.save({"ema": {**theirs, "step": 3}, "loss_fn": 1}, file)
    alone, within = read(file), read(tmp_path / "net")
    assert alone.dropped
    assert (within.wrapper, within.dropped) == (alone.wrapper, alone.dropped)
    assert within.tensors.keys() == theirs.keys()


@pytest.mark.parametrize("wrapper", ["VPPrecond", "VEPrecond", "iDDPMPrecond"])
def test_a_network_that_no_recipe_can_feed_is_refused(wrapper, tmp_path, theirs):
    file = foreign.persistent(tmp_path / "n.pkl", theirs, wrapper)
    with pytest.raises(SpecError, match=f"n.pkl: a pickled {wrapper}: only EDMPrecond, ECMPrecond") as caught:
        convert(file, tmp_path / "out")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(("wrapper", "predicts"), [("EDMPrecond", "denoiser"), ("ECMPrecond", "consistency")])
def test_what_the_network_is_comes_from_its_class(wrapper, predicts, tmp_path, theirs):
    assert (
        convert(foreign.persistent(tmp_path / "n.pkl", theirs, wrapper), tmp_path / "o").predicts == predicts
    )


def without(name):
    return lambda tensors: {n: t for n, t in tensors.items() if n != name}


def changed(name, value):
    return lambda tensors: {**tensors, name: value}


BLOCK = "model.enc.8x8_block0."
WRONG = {
    "missing": (without(BLOCK + "conv1.bias"), "the tensor 'enc.8x8_block0.conv1.bias' is missing"),
    "no label": (without("model.map_label.weight"), "the tensor 'map_label.weight' is missing"),
    "extra": (
        changed("model.enc.8x8_aux_skip.weight", torch.zeros(2)),
        "no network here has the tensor 'enc.8x8_aux",
    ),
    "other levels": (
        changed("model.dec.2x2_in0.conv0.weight", torch.zeros(2)),
        "no network here has the tensor 'dec.2x2",
    ),
    "width": (
        changed(BLOCK + "conv0.weight", torch.zeros(16, 8, 3, 3)),
        r"'enc.8x8_block0.conv0.weight' has the shape \(16, 8, 3, 3\), but \(16, 16, 3, 3\) is needed",
    ),
    "no multiple": (
        changed(BLOCK + "conv1.weight", torch.zeros(17, 17, 3, 3)),
        "17 channels, no multiple of the width 16",
    ),
    "whole numbers": (changed("model.map_layer0.bias", torch.zeros(64, dtype=torch.int8)), "holds int8"),
    "not finite": (
        changed("model.map_layer1.bias", torch.full((64,), torch.nan)),
        "numbers that are not finite",
    ),
    "filter": (
        changed("model.enc.4x4_down.conv0.resample_filter", torch.zeros(1, 1, 4, 4)),
        "has 4 taps, but ddpmpp",
    ),
    "no shapes": (changed("model.map_layer0.weight", torch.zeros(3)), "no network of EDM has such tensors"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_state_dict_that_does_not_fit_is_one_line(kind, tmp_path, theirs):
    change, said = WRONG[kind]
    torch.save(change(theirs), tmp_path / "net.pt")
    with pytest.raises(SpecError, match=said) as caught:
        convert(tmp_path / "net.pt", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path / 'net.pt'}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["net.pkl", "net.pt", "net.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_a_truncated_file_is_one_line(name, share, tmp_path, theirs):
    file = tmp_path / name
    if name == "net.pkl":
        foreign.persistent(file, theirs)
    elif name == "net.pt":
        torch.save(theirs, file)
    else:
        save_file(theirs, file)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    done = cli.call("convert", file, "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {file}: damaged")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32_and_this_is_said(kind, tmp_path, theirs):
    torch.save({name: t.to(kind) for name, t in theirs.items()}, tmp_path / "net.pt")
    found = convert(tmp_path / "net.pt", tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float32}
    assert torch.equal(stored["last.bias"], theirs["model.dec.8x8_aux_conv.bias"].to(kind).float())
    assert found.notes == (f"{len(theirs)} tensors of {str(kind)[6:]} became float32",)


def shards(folder, theirs):
    folder.mkdir()
    names, weight_map = sorted(theirs), {}
    for i in range(3):
        file = f"model-{i + 1:05d}-of-00003.safetensors"
        save_file({n: theirs[n] for n in names[i::3]}, folder / file)
        weight_map |= dict.fromkeys(names[i::3], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards_are_one_network(tmp_path, theirs):
    convert(shards(tmp_path / "net", theirs), tmp_path / "out")
    torch.save(theirs, tmp_path / "net.pt")
    convert(tmp_path / "net.pt", tmp_path / "other")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        tmp_path / "other/model.safetensors"
    ).read_bytes()


def test_shards_that_are_not_whole_are_one_line(tmp_path, theirs):
    folder = shards(tmp_path / "net", theirs)
    index = folder / "model.safetensors.index.json"
    for content, said in [
        ("{}", "has no weight_map"),
        (json.dumps({"weight_map": {"a": "../net.pt"}}), r"no file '\.\./net.pt' beside it"),
        (
            json.dumps(
                {
                    "weight_map": {
                        **json.loads(index.read_text())["weight_map"],
                        "a": "model-00001-of-00003.safetensors",
                    }
                }
            ),
            "the shards have no tensor 'a'",
        ),
    ]:
        kept = index.read_text()
        index.write_text(content)
        with pytest.raises(SpecError, match=said):
            read(folder)
        index.write_text(kept)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(SpecError, match="there is no file 'model-00002-of"):
        read(folder)
    index.unlink()
    with pytest.raises(SpecError, match="several files of weights and no index"):
        read(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(SpecError, match="has no weights"):
        read(folder)


def test_wrappers_of_a_state_dict_are_taken_off(tmp_path, theirs):
    wrapped = {f"module._orig_mod.{name}": t for name, t in theirs.items()}
    torch.save({"net": {}, "ema": wrapped, "cur_nimg": 3}, tmp_path / "net.pt")
    found = read(tmp_path / "net.pt")
    assert found.tensors.keys() == theirs.keys()
    assert [line.split()[0] for line in found.dropped] == ["net", "cur_nimg"]


@pytest.mark.parametrize("content", [{"a": torch.zeros(2)}, {"time_embed.0.weight": torch.zeros(2, 2)}])
def test_names_of_no_known_project_are_one_line(content, tmp_path):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(
        SpecError, match="is of no project known here: ablate, diffusers, EDM, Consistency Models"
    ):
        convert(tmp_path / "net.pt", tmp_path / "out")
