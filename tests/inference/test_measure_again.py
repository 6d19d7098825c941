"""Finished cells are measured again from their weights, computed again, and continued on another machine."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pandas as pd
import pytest
import torch
from evaluation.test_ruler import moved
from helpers import cli
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.core.files import read_json, write_json
from ablate.data import datasets
from ablate.evaluation import classifier, ruler
from ablate.evaluation.metrics import METRICS
from ablate.planning.planner import load
from ablate.runs import failures, verify
from ablate.runs.store import Store

FILE = """
name: one
seeds: [0]
set: {network.width: 8, network.multipliers: [1], network.attention: []}
plan: [{list: [{label: plain}, {label: wide, set: {metric.c: 0.1}}]}]
"""
TINY = ("--set", "profile.images=160", "--set", "profile.evaluation.samples=32")
OVERRIDES = {"profile.images": 160, "profile.evaluation.samples": 32}


@pytest.fixture(scope="module")
def other():
    """The extractor of a machine of another kind."""
    return moved(next(ruler.candidates((1, 8, 8), 10)), 1e-3)


def computed(place, *more):
    (place / "one.yaml").write_text(FILE)
    done = cli.call("run", "one.yaml", *TINY, "--no-doctor", "--workers", 1, *more, cwd=place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def ran(tmp_path_factory, warmed):
    return computed(warmed(tmp_path_factory.mktemp("ran")))


@pytest.fixture
def place(ran, tmp_path):
    return shutil.copytree(ran, tmp_path / "copy")


def records(place):
    experiment = load(place / "one.yaml", overrides=OVERRIDES)
    return {key: Store(place / "runs").record(key) for key in experiment.cells}


def test_the_same_measure_gives_the_same_digits_and_is_not_repeated(place):
    before = records(place)
    done = cli.call("evaluate", "one.yaml", *TINY, cwd=place)
    assert done.returncode == 0
    assert done.stdout.count("measured so before") == 2
    assert records(place) == before
    for key, record in before.items():
        write_json(place / "runs" / key / "record.json", {**record, "fid": []})
    assert cli.call("evaluate", "one.yaml", *TINY, cwd=place).returncode == 0
    for key, record in records(place).items():
        assert [{k: v for k, v in e.items() if k != "again"} for e in record["fid"]] == before[key]["fid"]
        assert record["kid"] == before[key]["kid"]


def test_further_entries_replace_nothing_and_are_shown_on_request(place, other):
    file = place / f"{other.label}.safetensors"
    ruler.write(other, file)
    before, table = records(place), (place / "reports/one/table.csv").read_bytes()
    for more in (["--samples", 48], ["--sigmas", "80,0.4"], ["--extractor", file.name, "--samples", 40]):
        done = cli.call("evaluate", "one.yaml", *TINY, *more, cwd=place)
        assert done.returncode == 0, done.stderr
    for key, record in records(place).items():
        entries = [(e["nfe"], e["n"], e["extractor"], e.get("again")) for e in record["fid"]]
        own = before[key]["fid"][0]["extractor"]
        assert record["fid"][:2] == before[key]["fid"]
        assert entries[2:] == [
            (1, 48, own, True),
            (2, 48, own, True),
            (2, 32, own, True),
            (1, 40, other.label, True),
            (2, 40, other.label, True),
        ]
        assert [f["n"] for f in record["floors"]] == [48, 40]
    assert cli.call("report", "one.yaml", *TINY, cwd=place).returncode == 0
    assert (place / "reports/one/table.csv").read_bytes() == table
    done = cli.call("report", "one.yaml", *TINY, "--extractor", file.name, cwd=place)
    assert done.returncode == 0, done.stderr
    shown = pd.read_csv(place / "reports/one/table.csv")
    assert {*shown["extractor"]} == {other.label}
    assert [c for c in shown if c.startswith("fid_2step") and not c.endswith(("std", "seeds"))] == [
        "fid_2step"
    ]
    assert (place / "reports/one" / file.name).is_file()


OWN = """
from ablate.evaluation.metrics import Metric

Metric("spread_of_features", lambda features: {"value": float(features.sampled.std())})
"""


def test_a_metric_that_you_add_after_training_reaches_the_table(place, monkeypatch):
    monkeypatch.setitem(METRICS, "spread_of_features", None)  # so that it is gone after this test
    (place / "own_number_beside_fid.py").write_text(OWN)
    (place / "one.yaml").write_text(f"{FILE}imports: [own_number_beside_fid]\n")
    assert cli.call("evaluate", "one.yaml", *TINY, cwd=place).returncode == 0
    assert cli.call("report", "one.yaml", *TINY, cwd=place).returncode == 0
    shown = pd.read_csv(place / "reports/one/table.csv")
    assert shown["spread_of_features_1step"].notna().all()


def test_one_cell_by_its_key_and_cells_without_weights(place):
    first, second = records(place)
    assert cli.call("evaluate", second[:6], "--samples", 40, cwd=place).returncode == 0
    (place / "runs" / first / "model.safetensors").unlink()
    done = cli.call("evaluate", "one.yaml", *TINY, "--samples", 36, "--json", cwd=place)
    assert done.returncode == 1
    assert json.loads(done.stdout)["without_weights"] == [first]
    assert done.stderr.splitlines()[-1] == f"1 finished cell without weights on this machine: {first}"
    assert [e["n"] for e in records(place)[second]["fid"]] == [32, 32, 40, 40, 36, 36]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["one.yaml", *TINY, "--extractor", "inceptoin"],
            "--extractor: no extractor 'inceptoin'; did you mean",
        ),
        (["one.yaml", *TINY, "--extractor", "x.safetensors"], "--extractor: 'x.safetensors': no such file"),
        (["one.yaml", *TINY, "--sigmas", "90,2"], "--sigmas 90: above 80"),
        (["one.yaml", *TINY, "--sigmas", "2,90"], "--sigmas 2,90: needs positive levels in descending order"),
        (["one.yaml"], "no finished cell of it in"),
        (["000"], "no cell '000' in"),
        (["000", "--seeds", "0"], "belong to an experiment file"),
    ],
)
def test_mistakes_are_one_line(words, says, ran):
    done = cli.call("evaluate", *words, cwd=ran)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]


def spoiled(file, change):
    """Change the tensors of a file of weights."""
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    save_file({name: change(tensor) for name, tensor in load_file(file).items()}, file, about)


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda file: spoiled(file, lambda t: t * torch.nan), 2, "values are not finite"),
        (lambda file: spoiled(file, lambda t: t[:1]), 2, "size mismatch"),
        (lambda file: file.write_bytes(b"damaged"), 2, "model.safetensors: "),
        (lambda file: (file.parent / "config.json").write_text("{}"), 2, "not the config of a cell"),
    ],
    ids=["not finite", "another network", "damaged", "no config"],
)
def test_a_cell_that_cannot_be_measured_does_not_stop_the_others(spoil, code, says, place):
    first, second = records(place)
    spoil(place / "runs" / first / "model.safetensors")
    done = cli.call("evaluate", "one.yaml", *TINY, "--samples", 40, cwd=place)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{first}: ")
    assert says in line
    assert [e["n"] for e in records(place)[second]["fid"]] == [32, 32, 40, 40]


def test_an_extractor_of_other_images_is_one_line_per_cell(ran):
    (file,) = (f for f in ruler.SHIPPED.glob("*.safetensors") if ruler.header(f).shape[1:] == (32, 32))
    done = cli.call("evaluate", "one.yaml", *TINY, "--extractor", file.name, "--json", cwd=ran)
    assert done.returncode == 2
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [*records(ran)]
    found = json.loads(done.stdout)
    assert (found["measured"], [*found["failed"]]) == ({}, [*records(ran)])
    assert len({*found["failed"].values()}) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(failures.Unavailable("no extractor"), 1), (SpecError("no images"), 2), (MemoryError("no memory"), 1)],
)
def test_verify_computes_the_others_when_one_cannot_be(error, code, ran, monkeypatch):
    def again(config, recorded, *_):
        if config["key"] == first:
            raise error
        return verify.Verified(config["key"], verify.EQUAL, [], [])

    first, second = records(ran)
    monkeypatch.setattr(verify, "again", again)
    done = cli.call("verify", "reports/one", first, second, "--json", cwd=ran)
    assert done.returncode == code
    assert done.stderr.startswith(f"{first}: ")
    assert done.stderr.count("\n") == 1
    assert [one["key"] for one in json.loads(done.stdout)] == [second]


def test_samples_that_are_not_finite_are_one_line_everywhere(place):
    key = next(iter(records(place)))
    spoiled(place / "runs" / key / "model.safetensors", lambda t: t * torch.nan)
    for words in (["sample", key], ["edit", key, "--task", "denoise"], ["midpoint", key]):
        done = cli.call(*words, cwd=place)
        assert done.returncode == 2, words
        assert "not finite" in done.stderr.splitlines()[-1]


def test_a_report_by_what_nobody_measured_is_refused(ran):
    done = cli.call("report", "one.yaml", *TINY, "--extractor", "inception", cwd=ran)
    assert done.returncode == 2
    assert "the cells were measured by classifier-" in done.stderr


def test_verify_computes_the_same_digits(ran):
    done = cli.call("verify", "reports/one", "--cells", 1, "--json", cwd=ran)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)
    assert one["state"] == "equal"
    assert len(one["values"]) == 8


@pytest.mark.parametrize(("factor", "state", "code"), [(1.001, "within the bound", 0), (1.5, "different", 1)])
def test_verify_says_what_differs(factor, state, code, place):
    file = place / "reports/one/records.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for entry in lines[0]["record"]["fid"]:
        entry["value"] *= factor
    lines[0]["record"]["provenance"]["versions"]["torch"] = "1.0"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = cli.call("verify", "reports/one", lines[0]["config"]["key"], cwd=place)
    assert done.returncode == code
    assert done.stdout.splitlines()[0].endswith(f": {state}")
    assert "torch: 1.0 there" in done.stdout


def test_verify_needs_a_report_with_records(ran):
    for words, says in ((["runs"], "no records.jsonl"), (["reports/one", "zz"], "0 cells of the report")):
        done = cli.call("verify", *words, cwd=ran)
        assert done.returncode == 2
        assert says in done.stderr


def test_a_fetched_report_is_continued_in_one_column(other, mlflow_db, tmp_path):
    """The report of a machine that trained another extractor: it comes along, and measures what is added here."""
    there, here = tmp_path / "there", tmp_path / "here"
    digits = datasets.load(Data(name="digits"))
    for folder in (there, here):
        (folder / "runs").mkdir(parents=True)
        shutil.copy(mlflow_db, folder / "runs")
    own = classifier.cached(digits, there / "runs" / "cache")
    own.parent.mkdir(parents=True)
    ruler.write(dataclasses.replace(other, data=own.stem.removeprefix("classifier-")), own)
    computed(there)
    assert (there / f"reports/one/{other.label}.safetensors").is_file()
    done = cli.call("fetch", there / "reports/one", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    computed(here, "--seeds", "0,1")
    table = pd.read_csv(here / "reports/one/table.csv")
    assert {*table["extractor"]} == {other.label}
    assert [*table["n"]] == [2, 2]
    assert not [column for column in table if "extractor=" in column]
    assert (
        read_json(here / "runs" / next(iter(records(here))) / "record.json")["fid"][0]["extractor"]
        == other.label
    )


def test_a_machine_that_measures_otherwise_has_a_note(other, place):
    report = place / "reports/one"
    ruler.write(other, report / f"{other.label}.safetensors")
    lines = [json.loads(line) for line in (report / "records.jsonl").read_text().splitlines()]
    data = classifier.cached(datasets.load(load(place / "one.yaml").profile.data), place).stem[11:]
    ruler.write(dataclasses.replace(other, data=data), report / f"{other.label}.safetensors")
    for line in lines:
        for entry in line["record"]["fid"]:
            entry["extractor"] = other.label
    (report / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for key in records(place):
        shutil.rmtree(place / "runs" / key)
    done = cli.call("fetch", "reports/one", cwd=place)
    assert done.returncode == 0
    assert f"these cells were measured by {other.label}, cells of this machine by classifier-" in done.stderr
