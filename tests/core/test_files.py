"""Paths as a user types them: no home is looked for in vain, and what is wrong is one line that names the path."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ablate.config.profile import Data, placed
from ablate.core.errors import SpecError
from ablate.core.files import atomic_write, typed_path
from ablate.data import datasets
from ablate.ingredients import lpips
from ablate.ingredients.init_from import File, Run
from ablate.tracking.tracker import environment


@pytest.fixture
def homeless(monkeypatch):
    """A user without HOME and without an entry in the list of users, as in a container."""

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_a_home_is_put_in_place_of_its_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert typed_path("~/pics", "here") == Path("/somewhere/pics")
    assert typed_path("pics/~root", "here") == Path("pics/~root")
    assert typed_path("~root", "here").is_absolute()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~nosuchuser/pics", "there is no user 'nosuchuser'"),
        ("~no such user", "there is no user 'no such user'"),
        ("\ud800.png", "utf-8 has no such letters"),
    ],
)
def test_what_cannot_be_a_path_is_one_line(text, words):
    with pytest.raises(SpecError) as raised:
        typed_path(text, "profile.data.path")
    assert len(raised.value.problems) == 1
    assert str(raised.value).startswith(f"profile.data.path: {text!r}: {words}")


@pytest.mark.parametrize("text", ["~", "~/pics"])
def test_nobody_has_a_home(homeless, text):
    with pytest.raises(SpecError, match=r"here: '~.*': HOME is not set, and this user has no home folder"):
        typed_path(text, "here")


PLACES = {
    "profile.data.path": [
        lambda path: placed(Data(name="cifar10", path=path)),
        lambda path: datasets.fingerprint(Data(name="zip", path=path)),
        lambda path: datasets.fingerprint(Data(name="folder", path=path)),
    ],
    "init_from.path": [lambda path: File(path).require()],
    "init_from.runs": [lambda path: Run("ab", path).require()],
}


@pytest.mark.parametrize(("key", "read"), [(key, read) for key, reads in PLACES.items() for read in reads])
def test_every_path_of_a_file_names_its_key(key, read):
    with pytest.raises(SpecError, match=f"{key}: '~nosuchuser/x': there is no user 'nosuchuser'"):
        read("~nosuchuser/x")


def test_a_folder_of_weights_names_its_variable(monkeypatch):
    monkeypatch.setenv(lpips.FOLDER, "~nosuchuser/w")
    with pytest.raises(SpecError, match=f"{lpips.FOLDER}: '~nosuchuser/w'"):
        lpips.require()


def test_a_home_is_asked_for_only_where_it_is_needed(homeless, monkeypatch):
    for name in ("digits", "zip", "folder"):
        data = Data(name=name, path="pics")
        assert placed(data) == data
    assert placed(Data(name="cifar10", path="/pics")).path == "/pics"
    with pytest.raises(SpecError, match="cifar10': HOME is not set"):
        placed(Data(name="cifar10"))
    with pytest.raises(SpecError, match="TORCH_HOME: "):
        lpips.folder()
    assert "HOME" in environment()  # MLflow cannot be imported without one
    monkeypatch.setenv("HOME", "/somewhere")
    assert "HOME" not in environment()


def _refuse(text, kind):
    raise kind(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[enforce fail at inline_container.cc:671] . unexpected pos 40576 vs 40470", RuntimeError),
        ("PytorchStreamWriter failed writing file data/3: file write failed", RuntimeError),
        ("Error while serializing: I/O error: File too large (os error 27)", SafetensorError),
    ],
)
def test_what_a_quota_refuses_is_the_disks_failure(text, kind, tmp_path):
    with pytest.raises(OSError, match="quota") as caught, atomic_write(tmp_path / "weights.pt"):
        _refuse(text, kind)
    assert caught.value.filename == str(tmp_path / "weights.pt")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(kind, match="shape"), atomic_write(tmp_path / "weights.pt"):
        _refuse("shape of a tensor", kind)
