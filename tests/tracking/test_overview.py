"""What a person sees first in MLflow: the saved view, the description, each row's FID over its seeds."""

from __future__ import annotations

import html
import json
import re
import shutil

import pytest
from helpers import recorded
from helpers.made import Made
from helpers.texts import TEXTS

from ablate.analysis.results import Results
from ablate.planning.planner import load
from ablate.runs.store import Store
from ablate.tracking import live, summary, view
from ablate.tracking.tracker import load_mlflow

TEXT = """
name: overview
seeds: [0, 1]
plan:
  - list: %s
claims: [{id: low, says: "*low* c is better", better: {metric.c: 0.01}, worse: {metric.c: 0.02}}]
"""
REFUSED = ["warm-up // none", "w/o EMA/", ".. | $x$ ?", "x" * 300, "\U0001f600 b"]


class Shown:
    """An experiment whose rows have labels that are no metric names, its cells recorded and sent."""

    def __init__(self, place, database):
        rows = [{"label": label, "set": {"metric.c": (i + 1) / 100}} for i, label in enumerate(REFUSED)]
        (place / "overview.yaml").write_text(TEXT % json.dumps(rows, ensure_ascii=False))
        self.experiment, self.store = load(place / "overview.yaml"), Store(place / "runs")
        for i, cell in enumerate(self.experiment.cells.values()):
            recorded.put(self.store, cell, 10.0 + i)
        shutil.copy(database, place / "runs")
        self.place = place
        self.sync()

    def sync(self):
        assert live.sync(Results(self.experiment, self.store), None, self.place / "reports") == (10, [])

    @property
    def client(self):
        return load_mlflow().MlflowClient(f"sqlite:///{self.place}/runs/mlflow.db")

    @property
    def overview(self):
        return self.client.get_experiment_by_name("overview")

    def runs(self, wanted="", order=()):
        return self.client.search_runs([self.overview.experiment_id], wanted, order_by=[*order])

    @property
    def parent(self):
        return self.runs("tags.`ablate.parent` = 'true'")[0]


@pytest.fixture(scope="module")
def shown(tmp_path_factory, mlflow_db):
    return Shown(tmp_path_factory.mktemp("overview"), mlflow_db)


def test_labels_that_are_no_metric_names_cost_neither_rows_nor_state(shown):
    assert (shown.parent.info.status, shown.parent.data.tags["ablate.state"]) == ("FINISHED", "finished")
    means = {name: v for name, v in shown.parent.data.metrics.items() if name.startswith("fid_1step_mean/")}
    assert sorted(means.values()) == [10.5, 12.5, 14.5, 16.5, 18.5]
    assert [run.data.tags["row"] for run in shown.runs(view.CELLS, ["tags.seed", "metrics.fid_1step"])] == [
        *REFUSED,
        *REFUSED,
    ]


def test_the_saved_view_names_what_the_runs_have(shown):
    saved = json.loads(shown.overview.tags[view.TAG])
    state = json.loads(saved["state"])
    runs = shown.runs(state["searchFilter"], [f"{state['orderByKey']} ASC"])
    assert [run.data.metrics["fid_1step"] for run in runs] == [10.0 + i for i in range(10)]
    for column in state["selectedColumns"][:-1]:
        kind, name = re.fullmatch(r"(\w+)\.`(.+)`", column).groups()
        assert all(name in getattr(run.data, kind) for run in runs), column
    assert all(run.inputs.dataset_inputs for run in runs)
    charts = {chart["metricKey"]: chart["metricSectionId"] for chart in state["compareRunCharts"]}
    opened = [section["uuid"] for section in state["compareRunSections"] if section["display"]]
    assert charts == dict.fromkeys(("fid_1step", "fid_2step"), opened[0])
    assert len(opened) == 1


def test_no_run_is_hidden_under_another(shown):
    assert not [run for run in shown.runs() if "mlflow.parentRunId" in run.data.tags]


def test_each_run_carries_mean_and_deviation_of_its_row(shown):
    answer = {run.data.tags["row"]: run.data.tags["fid_1step over seeds"] for run in shown.runs(view.CELLS)}
    assert [answer[label] for label in REFUSED[:2]] == ["10.50 ± 0.71 (n=2)", "12.50 ± 0.71 (n=2)"]
    assert len(answer) == len(REFUSED)


def test_the_description_has_the_table_and_the_verdicts(shown):
    (verdict,) = Results(shown.experiment, shown.store).verdicts
    for tags in (shown.overview.tags, shown.parent.data.tags):
        text = html.unescape(tags["mlflow.note.content"])
        assert text.startswith(
            f"- *low* c is better: **{verdict.state}** (warm-up // none against w/o EMA/: "
        )
        assert "| warm-up // none" in text
        assert "10.50 ± 0.71" in text


def test_sending_again_changes_nothing(shown):
    def seen():
        return [run.to_dictionary() for run in shown.runs(view.CELLS)], dict(shown.overview.tags)

    before = seen()
    shown.sync()
    assert seen() == before


def test_what_a_person_changed_in_mlflow_stays(shown):
    shown.client.set_experiment_tag(shown.overview.experiment_id, "mlflow.note.content", "my own words")
    shown.client.set_experiment_tag(shown.overview.experiment_id, view.TAG, "my own view")
    cell = next(iter(shown.experiment.cells.values()))
    recorded.put(shown.store, cell, 11.0)
    shown.sync()
    tags = shown.overview.tags
    assert (tags["mlflow.note.content"], tags[view.TAG]) == ("my own words", "my own view")
    assert "11.00 ± 0.00" in html.unescape(
        shown.parent.data.tags["mlflow.note.content"]
    )  # nobody changed this


def test_a_store_of_an_older_version_gets_view_and_description_and_no_second_run(shown):
    client, place = shown.client, shown.overview.experiment_id
    for tag in (view.TAG, "mlflow.note.content", "ablate.note"):
        client.delete_experiment_tag(place, tag)
    before = {run.info.run_id for run in shown.runs()}
    shown.sync()
    assert {view.TAG, "mlflow.note.content"} < shown.overview.tags.keys()
    assert {run.info.run_id for run in shown.runs()} == before


@pytest.fixture
def made(tmp_path):
    def made(n, **lost):
        rows = json.dumps([{"label": f"row {i}", "set": {"metric.c": (i + 1) / 100}} for i in range(n)])
        made = Made(tmp_path / "made", f"\n  - list: {rows}")
        for i in range(n):
            made.put(i, 10.0 + i, 11.0 + i)
        for state, i in lost.items():
            made.put(i, 1.0, state=state)
        return Results(made.experiment, made.store)

    return made


def test_a_row_that_lost_a_seed_says_so(made):
    results = made(3, diverged=1, failed=2)
    answer = [tags["fid_2step over seeds"] for tags in summary.over_seeds(results).values()][::2]
    assert answer == ["5.25 ± 0.35 (n=2)", "6.00 (n=1, 1 diverged)", "6.50 (n=1, 1 failed)"]
    assert "1, 1 diverged" in summary.description(results)


def test_a_description_that_is_too_long_counts_the_rows_it_leaves_out(made):
    text = summary.description(made(120))
    shown = len(re.findall(r"^\| row \d", text, re.MULTILINE))
    assert 40 < shown < 120
    assert text.endswith(f"{120 - shown} further rows in the report's table.")
    assert len(text) <= summary.LONGEST


@pytest.mark.parametrize("text", TEXTS)
def test_labels_arrive_letter_by_letter(text):
    markdown_it = pytest.importorskip("markdown_it")
    written = f"| row |\n|---|\n| {summary.literal(text)} |\n\n- {summary.literal(text)}"
    page = markdown_it.MarkdownIt("commonmark").enable("table").render(written)
    read = re.findall(r"<td>(.*?)</td>|<li>(.*?)</li>", page)
    assert [html.unescape(a or b) for a, b in read] == [text] * 2
