"""Text of a person arrives letter by letter in Markdown, HTML, LaTeX, CSV, figures, MLflow and the terminal."""

from __future__ import annotations

import csv
import html
import io
import re

import pytest
from helpers.made import Made
from helpers.texts import TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mdit_py_plugins.footnote import footnote_plugin
from mlflow.utils.validation import _validate_metric_name
from rich.console import Console

from ablate.core import yaml_files
from ablate.core.errors import SpecError
from ablate.planning.planner import load
from ablate.report import latex, tables
from ablate.report.markdown import escape, paragraph, prose, table
from ablate.report.page import page
from ablate.report.style import blank, theme
from ablate.runs import status
from ablate.tracking.names import LONGEST, accepted

READER = MarkdownIt("commonmark", {"html": False}).enable("table").use(footnote_plugin)
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)


def read(markdown, tag):
    """The text of the first element `tag` of some Markdown, as a browser shows it."""
    return html.unescape(re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", READER.render(markdown), re.DOTALL)[1])


def check_markdown(text):
    row = table(["row", "n"], [[escape(text), "1"]]) + "\n\n[^1]: a note\n"
    assert read(row, "td") == text.strip()
    assert read(f"## {escape(text)}\n", "h2") == text.strip()
    assert read(f"- {paragraph(text)}\n", "li") == text.strip()


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_and_html(text):
    check_markdown(text)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(LINES.filter(lambda text: text.strip() == text and text))
def test_markdown_and_html_of_any_line(text):
    check_markdown(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at a short budget, `short` beats iCT", "at a short budget, <code>short</code> beats iCT"),
        ("`a*b*` beats `c|d` and *e*", "<code>a*b*</code> beats <code>c|d</code> and *e*"),
        ("`noise.p_mean: -1` is <best>", "<code>noise.p_mean: -1</code> is <best>"),
        ("one ` alone, $5$", "one ` alone, $5$"),
        ("`two``ticks` and \\`", "<code>two``ticks</code> and \\`"),
        ("an empty `` pair", "an empty `` pair"),
    ],
)
def test_names_in_backticks_are_code_in_a_claim(text, shown):
    assert read(table(["claim", "n"], [[prose(text), "1"]]), "td") == shown


@pytest.mark.parametrize("text", [text for text in TEXTS if text.count("`") < 2])
def test_a_claim_is_letter_by_letter_otherwise(text):
    assert prose(text) == escape(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rows = [{"label": text, "set": {"metric.c": 0.001 * (i + 1)}} for i, text in enumerate(TEXTS)]
    made = Made(tmp_path_factory.mktemp("texts"), "\n" + yaml_files.write([{"list": rows}]))
    for i in range(len(TEXTS)):
        made.put(i, 100.0 + i, 110.0 + i)
    return made


def test_csv(made):
    rows = list(csv.reader(io.StringIO(tables.csv(made.results))))
    assert [row[0] for row in rows[1:]] == TEXTS


def test_the_page_has_a_row_for_each(made):
    cells = re.findall(r"<tr>\s*<td[^>]*>(.*?)</td>", READER.render(page(made.results, [])), re.DOTALL)
    assert set(TEXTS) <= {html.unescape(cell) for cell in cells}


def test_latex_rows_keep_their_number_of_columns(made):
    rows = [
        line for line in latex.latex(made.results).splitlines() if line.endswith(r"\\") and "Row" not in line
    ]
    assert len(rows) == len(TEXTS)
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(re.findall(r"(?<!\\)&", rows[0]))
        assert not row.startswith(("[", "*"))  # it would belong to the line break before
        assert not re.search(r"(?<!\\)[#%]", row)


def test_figures(made):
    with theme():
        figure, axes = blank(1, 6.0, [9.0])
        axes[0, 0].set_yticks(range(len(TEXTS)), TEXTS)
        figure.canvas.draw()
        assert [text.get_text() for text in axes[0, 0].get_yticklabels()] == TEXTS
        assert not any(text.get_parse_math() for text in axes[0, 0].get_yticklabels())


def test_mlflow():
    names = accepted([f"fid_1step_mean/{text}" for text in TEXTS])
    assert len(set(names.values())) == len(TEXTS)
    for name in names.values():
        _validate_metric_name(name)
    assert names["fid_1step_mean/a_b"] != names["fid_1step_mean/a*b"]
    assert accepted(["fid_1step_mean/plain row"]) == {"fid_1step_mean/plain row": "fid_1step_mean/plain row"}


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.text(min_size=0, max_size=400), unique=True, max_size=6))
def test_mlflow_takes_any_names_and_keeps_them_apart(texts):
    names = accepted([f"fid/{text}" for text in texts])
    assert len(set(names.values())) == len(texts)
    for name in names.values():
        _validate_metric_name(name)
        assert len(name) <= LONGEST


def test_the_terminal():
    cells = [
        {
            **dict.fromkeys(("phase", "device", "host", "step", "images_per_s", "loss", "eta_s", "reason")),
            "fid": {},
        }
        | {"row": text, "seed": 0, "key": "k", "steps": 1, "state": "open"}
        for text in TEXTS
    ]
    console = Console(width=2000, record=True, file=io.StringIO())
    console.print(status.table("x", cells, 2000))
    shown = console.export_text()
    assert all(text in shown for text in TEXTS)


@pytest.mark.parametrize("text", ["two\nlines", "a\tb", "a\x00b", "\x1b[31m", "a\u2028b", "\x7f"])
def test_what_is_no_line_is_refused_when_the_file_is_loaded(tmp_path, text):
    rows = [{"label": text}]
    (tmp_path / "x.yaml").write_text(yaml_files.write({"name": "x", "plan": [{"list": rows}]}))
    with pytest.raises(
        SpecError, match=r"label: .*one line without control characters|cannot be part of a text"
    ):
        load(tmp_path / "x.yaml")


def test_the_name_of_mlflows_own_experiment_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("name: Default\nplan: [{list: [{label: ict}]}]\n")
    with pytest.raises(SpecError, match=r"x.yaml: name: 'Default': MLflow's own experiment"):
        load(tmp_path / "x.yaml")


def test_every_figure_of_a_report_is_drawn(tmp_path, capfd):
    rows = [{"label": text, "set": {"metric.c": 0.001 * (i + 1)}} for i, text in enumerate(TEXTS[:6])]
    made = Made(tmp_path, "\n" + yaml_files.write([{"list": rows}]))
    for i in range(6):
        made.put(i, 100.0 + i, 110.0 + i).pictures(i)
    folder = made.write()
    assert {"fid.png", "curves.png", "samples.png"} <= {p.name for p in folder.iterdir()}
    assert capfd.readouterr().err == ""
