"""A summary of several reports: each experiment keeps what its own report measured, and each claim its own line."""

from __future__ import annotations

import json

import pytest
from helpers.made import CLASSIFIER, Made, measured

from ablate.core.errors import SpecError
from ablate.planning.planner import load
from ablate.report import writer
from ablate.report.summary import summary
from ablate.runs.store import Store

TWO = "\n  - list: [{label: plain}, {label: wide, set: {metric.c: 0.1}}]\n"
CLAIM = "claims:\n  - {{id: {id}, says: {says}, better: {{row: wide}}, worse: {{row: plain}}}}\n"


def written(folder, name, *values, extractor=CLASSIFIER, id="A", says="wide beats plain"):
    """An experiment whose report has records of two rows, three seeds; its runs are gone."""
    made = Made(folder / name, TWO + CLAIM.format(id=id, says=says), seeds="[0, 1, 2]")
    file = folder / f"{name}.yaml"
    file.write_text((folder / name / "made.yaml").read_text().replace("name: made", f"name: {name}"))
    experiment, store = load(file), Store(folder / name / "runs")
    for row, value in zip(experiment.rows, values, strict=True):
        for seed, key in enumerate(row.keys):
            record = made.record(key, row, seed) | {"state": "finished"}
            record |= {"fid": measured(value * (1 + seed / 100), extractor=extractor)}
            store.folder(key).path.mkdir(parents=True, exist_ok=True)
            store.folder(key).record.write_text(json.dumps(record))
    writer.write(experiment, store, folder / "reports")
    return file


def states(folder, *files):
    text = summary(files, folder / "none", folder / "reports").read_text()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    return {cell[0]: cell[2:] for cell in cells if len(cell) > 2}


@pytest.mark.parametrize("other", ["aaa", "zzz"])
def test_the_same_cells_measured_otherwise_in_another_report_change_no_answer(tmp_path, other):
    """The other report has the same keys, another extractor and the opposite order of the rows."""
    own = written(tmp_path, "mine", 20.0, 10.0)
    alone = states(tmp_path, own)["A"]
    assert alone[0].startswith("supported")
    against = written(tmp_path, other, 10.0, 20.0, extractor="classifier-9f9f9f9f", id="B")
    both = states(tmp_path, own, against)
    assert both["A"] == alone
    assert both["B"][0].startswith("contradicted")


def test_one_id_with_two_sentences_is_an_error(tmp_path):
    files = [
        written(tmp_path, "one", 20.0, 10.0),
        written(tmp_path, "two", 20.0, 10.0, says="something else"),
    ]
    with pytest.raises(
        SpecError, match=r"two\.yaml: claim 'A' says 'something else', but .*'wide beats plain'"
    ):
        states(tmp_path, *files)
    assert states(tmp_path, files[0])["A"]


def test_one_id_with_one_sentence_in_two_files_is_one_line(tmp_path):
    files = [written(tmp_path, "one", 20.0, 10.0), written(tmp_path, "two", 20.0, 10.0)]
    assert [*states(tmp_path, *files)].count("A") == 1
