"""A recipe in a file has one name: of its row, of the base of others, and in claims."""

from __future__ import annotations

import pytest
from helpers.made import Made

from ablate.core.errors import SpecError
from ablate.planning.planner import load

CLAIM = "claims: [{id: a, says: a, better: {row: mine}, worse: {row: c}}]\n"


def file(folder, text, recipe="mine.yaml"):
    (folder / recipe).parent.mkdir(exist_ok=True)
    (folder / recipe).write_text("base: ict\nmetric.c: 0.02\n")
    (folder / "made.yaml").write_text(f"name: made\n{text}")
    return folder / "made.yaml"


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "sub/mine.yaml", "./mine.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        "base: {0}\nplan: [{{list: [{{}}, {{label: c, set: {{metric.c: 0.1}}}}]}}]\n",
        "plan: [{{list: [{{base: {0}}}, {{label: c, base: {0}, set: {{metric.c: 0.1}}}}]}}]\n",
        "base: {0}\nplan: [{{list: [{{}}]}}, {{grid: {{metric.c: [0.1]}}}}]\n",
        "base: {0}\nplan: [{{leave_one_out: {{from: {0}, to: ct}}}}, {{zip: {{metric.c: [0.1]}}}}]\n",
    ],
)
def test_row_base_and_claim_agree(tmp_path, name, text):
    claim = CLAIM.replace("{row: c}", "{row: metric.c=0.1}") if "label: c" not in text else CLAIM
    planned = load(file(tmp_path, text.format(name) + claim, name))
    assert planned.rows[0].label == "mine"
    assert {row.base for row in planned.rows} == {"mine"}


def test_the_page_has_this_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: ict\nmetric.c: 0.02\n")
    made = Made(tmp_path, "\n  - list: [{}, {set: {metric.c: 0.1}}]\nbase: mine.yaml\n")
    for i in range(2):
        made.put(i, 20.0 + i, 21.0 + i)
    assert "relative to the row's base (mine)" in made.page
    assert "mine.yaml" not in made.page.split("## Provenance")[0]


def test_the_name_of_the_file_in_a_claim_leads_to_the_row(tmp_path):
    claim = CLAIM.replace("row: mine", "row: mine.yaml")
    with pytest.raises(SpecError, match=r"no row 'mine\.yaml'; did you mean 'mine'"):
        load(
            file(
                tmp_path, "base: mine.yaml\nplan: [{list: [{}, {label: c, set: {metric.c: 0.1}}]}]\n" + claim
            )
        )
