"""The same file on every executor gives the same records; mistakes are errors before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ablate.config.profile import Data, Profile
from ablate.core.errors import SpecError
from ablate.execution.resources import Resources

FILE = """
name: tiny
set: {network.width: 8, network.attention: []}
plan:
  - list: [{label: ict}, {label: l1, set: {metric: l1}}]
"""
SMALL = ["profile.images=512", "profile.batch=16", "profile.evaluation.samples=64"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"executor": "rya"}, "--executor rya: no such executor; did you mean 'ray'?"),
        (
            {"executor": "ray", "options": {"gpu": 1}},
            "--executor-option.gpu: unknown key; did you mean 'gpus'?",
        ),
        ({"executor": "slurm", "options": {"time": "long"}}, "--executor-option.time: 'long'"),
        ({"options": {"gpus": 1}}, "--executor-option gpus: local has no options"),
        (
            {"executor": "slurm", "options": {"cluster": "slrum"}},
            "--executor-option.cluster: 'slrum'; did you mean 'slurm'?",
        ),
        (
            {"executor": "ray", "options": {"gpus": 1.5}},
            "--executor-option.gpus: needs whole GPUs or a fraction of one, not 1.5",
        ),
        (
            {"executor": "ray", "options": {"cpus": 0}},
            "--executor-option.cpus: '0': input should be greater than",
        ),
        (
            {"executor": "ray", "options": {"gpu": 1}, "per_cell": 2},
            "--devices-per-cell 2: with --executor local only\n--executor-option.gpu: unknown key",
        ),
        ({"executor": "ray", "per_cell": 2}, "--devices-per-cell 2: with --executor local only"),
    ],
)
def test_mistakes_are_one_line_each(changes, words):
    with pytest.raises(SpecError) as error:
        Resources(**changes)
    assert str(error.value).startswith(words)


def test_a_batch_that_cannot_be_divided_is_refused():
    profile = Profile(name="tiny", data=Data(name="digits"), batch=16, images=64)
    Resources(per_cell=4).check(profile)
    with pytest.raises(SpecError, match="must divide batch"):
        Resources(per_cell=3).check(profile)


def records(place, *options):
    """The records of a run, wall times aside."""
    runs = place / ("runs" + "".join(options).replace("/", "_"))
    (place / "tiny.yaml").write_text(FILE)
    sets = [part for pair in SMALL for part in ("--set", pair)]
    command = [
        sys.executable,
        "-m",
        "ablate",
        "run",
        "tiny.yaml",
        *sets,
        "--no-doctor",
        "--runs-dir",
        str(runs),
    ]
    done = subprocess.run([*command, *options], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {p.parent.name: json.loads(p.read_text()) for p in sorted(runs.glob("*/record.json"))}
    for record in found.values():
        del record["wall_s"]
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return records(tmp_path_factory.mktemp("local"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["--executor ray", "--executor slurm --executor-option cluster=local --workers 2"]
)
def test_a_cluster_gives_the_records_of_this_machine(options, local, tmp_path):
    pytest.importorskip("ray" if "ray" in options else "submitit")
    assert records(tmp_path, *options.split()) == local


@pytest.mark.slow
def test_two_processes_for_a_cell_end_where_one_does(local, tmp_path):
    for key, record in records(tmp_path, "--devices-per-cell", "2", "--workers", "1").items():
        assert record["provenance"]["ranks"] == 2
        for ours, theirs in zip(record["fid"], local[key]["fid"], strict=True):
            assert ours["value"] == pytest.approx(theirs["value"], rel=0.01)
