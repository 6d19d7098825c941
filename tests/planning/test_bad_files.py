"""What strangers write: every mistake one line with its path, exit code 2, no traceback."""

from __future__ import annotations

import pytest

from ablate.core.errors import SpecError
from ablate.planning import planner

ROW = "plan: [{list: [{label: a}]}]"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)

BAD = {
    "empty": ("", 1, "empty"),
    "only a comment": ("# nothing", 1, "empty"),
    "a list": ("[1, 2]", 1, "mapping"),
    "a text": ("hello", 1, "mapping"),
    "no yaml": ("name: [", 1, "not valid YAML"),
    "tab": ("name: x\n\tplan: 1", 1, "not valid YAML"),
    "a python object": ("name: !!python/name:os.system x", 1, "not valid YAML"),
    "twice": (f"name: x\nname: y\n{ROW}", 1, "twice"),
    "bomb": (f"{BOMB}name: x\n{ROW}", 1, "aliases"),
    "deep": ("name: x\nplan: " + "[" * 200 + "]" * 200, 1, "deeper"),
    "itself": ("name: x\nplan: &p [*p]", 1, "itself"),
    "no name": (ROW, 1, "name: needs a value"),
    "no plan": ("name: x", 1, "plan: needs a value"),
    "neither": ("seeds: [0]", 2, "needs a value"),
    "empty plan": ("name: x\nplan: []", 1, "empty"),
    "unknown key": (f"name: x\nsead: [0]\n{ROW}", 1, "did you mean 'seeds'"),
    "two unknown keys": (f"name: x\nsead: [0]\nbsae: ict\n{ROW}", 2, "did you mean 'base'"),
    "name is a path": (f"name: ../../etc\n{ROW}", 1, "letters"),
    "name is a truth value": (f"name: true\n{ROW}", 1, "quote the word"),
    "seeds a number": (f"name: x\nseeds: 3\n{ROW}", 1, "list"),
    "seeds as text": (f"name: x\nseeds: ['0']\n{ROW}", 1, "integer"),
    "seeds twice": (f"name: x\nseeds: [0, 0]\n{ROW}", 1, "twice"),
    "negative seed": (f"name: x\nseeds: [-1]\n{ROW}", 1, "at least 0"),
    "no seeds": (f"name: x\nseeds: []\n{ROW}", 1, "at least one"),
    "unknown profile": (f"name: x\nprofile: digit\n{ROW}", 1, "did you mean 'digits'"),
    "unknown base": (f"name: x\nbase: itc\n{ROW}", 1, "did you mean 'ict'"),
    "base is nothing": (f"name: x\nbase: ~\n{ROW}", 1, "string"),
    "unknown import": (f"name: x\nimports: [no_such_module_here]\n{ROW}", 1, "No module named"),
    "plan a mapping": ("name: x\nplan: {grid: {teacher: [none]}}", 1, "list"),
    "unknown kind": ("name: x\nplan: [{gird: {teacher: [none]}}]", 1, "did you mean 'grid'"),
    "two kinds": ("name: x\nplan: [{grid: {teacher: [none]}, list: []}]", 1, "one of"),
    "entry a text": ("name: x\nplan: [grid]", 1, "input should be keys with values"),
    "grid of a word": ("name: x\nplan: [{grid: {teacher: none}}]", 1, "list of values"),
    "grid of nothing": ("name: x\nplan: [{grid: {teacher: []}}]", 1, "empty"),
    "empty grid": ("name: x\nplan: [{grid: {}}]", 1, "at least one"),
    "huge grid": (
        "name: x\nplan: [{grid: {" + ", ".join(f"f{i}: [1,2,3,4,5,6,7,8,9,10]" for i in range(9)) + "}}]",
        1,
        "rows",
    ),
    "uneven zip": ("name: x\nplan: [{zip: {metric.c: [0.1], noise.p_mean: [0, 1]}}]", 1, "equally long"),
    "unknown axis": ("name: x\nplan: [{grid: {teachr: [none]}}]", 1, "did you mean 'teacher'"),
    "unknown option": (
        "name: x\nplan: [{grid: {teacher: [nobody, none, adaptve]}}]",
        2,
        "did you mean 'adaptive'",
    ),
    "unknown field": ("name: x\nplan: [{grid: {noise.p_men: [0]}}]", 1, "did you mean 'p_mean'"),
    "field of another option": (
        "name: x\nplan: [{list: [{label: a, set: {metric: l2, metric.c: 0.1}}]}]",
        1,
        "no such field",
    ),
    "off": ("name: x\nplan: [{grid: {teacher: [off]}}]", 1, "no option 'off'"),
    "true": ("name: x\nplan: [{grid: {teacher: [true]}}]", 1, "quote the word"),
    "a number in quotes": ("name: x\nplan: [{grid: {metric.c: ['1e-4']}}]", 1, "leave the quotes out"),
    "octal, sexagesimal, underscores": (
        "name: x\nplan: [{grid: {metric.c: [0o9, 1:30, 1_6]}}]",
        3,
        "metric.c: '1:30': input should be a valid number",
    ),
    "out of bounds": (
        "name: x\nplan: [{grid: {metric.c: [-1.0, 0.0]}}]",
        2,
        "greater than or equal to 0.000001",
    ),
    "not a number": ("name: x\nplan: [{grid: {metric.c: [.nan]}}]", 1, "finite"),
    "infinite": ("name: x\nplan: [{grid: {metric.c: [.inf]}}]", 1, "finite"),
    "row key": ("name: x\nplan: [{list: [{lable: a}]}]", 1, "did you mean 'label'"),
    "rows of text": ("name: x\nplan: [{list: [a, b]}]", 2, "mapping"),
    "list a mapping": ("name: x\nplan: [{list: {label: a}}]", 1, "list of rows"),
    "ladder without ends": ("name: x\nplan: [{ladder: {}}]", 2, "needs a recipe"),
    "ladder to nowhere": ("name: x\nplan: [{ladder: {from: ct, to: itc}}]", 1, "did you mean 'ict'"),
    "ladder order": (
        "name: x\nplan: [{ladder: {from: ct, to: ict, order: [wieghting]}}]",
        1,
        "did you mean 'weighting'",
    ),
    "ladder key": ("name: x\nplan: [{ladder: {from: ct, too: ict}}]", 2, "did you mean 'to'"),
    "set a list": (f"name: x\nset: [1]\n{ROW}", 1, "input should be keys with values"),
    "set an unknown field": (f"name: x\nset: {{metric.d: 1}}\n{ROW}", 1, "no such field"),
    "a budget twice": (f"name: x\nbudgets: [1, 2, 1]\n{ROW}", 1, "budgets: 1: is listed twice"),
    "a way to itself": (
        "name: x\nplan: [{ladder: {from: ct, to: ct}}, {leave_one_out: {from: ict, to: ict}}]",
        2,
        "equal in every axis",
    ),
    "an order with equal, double and unknown axes": (
        "name: x\nplan: [{ladder: {from: ct, to: ict, order: [teacher, teacher, coupling, tacher]}}]",
        3,
        "ladder.order[2]: ct and ict have the same coupling",
    ),
    "a base that is no file": (
        "name: x\nplan: [{list: [{base: mine.yaml}, {label: b, base: mine.yml}]}]",
        2,
        "plan[0].list[1].base: 'mine.yml': there is no such file",
    ),
    "one base that is none": (
        "name: x\nbase: mine\nplan: [{list: [{label: a}, {label: b}]}, {grid: {metric.c: [1, 2]}}]",
        1,
        "base: no recipe 'mine'",
    ),
    "a range of a search": (
        f"name: x\n{ROW}\ntune: {{search: {{optimizer.lr: {{lo: 0.1, high: 1, log: yes}}}}, seeds: [9], trials: 2}}",
        3,
        "tune.search.optimizer.lr.low: needs a value",
    ),
    "many at once": (
        "name: x\nplan: [{grid: {teachr: [1]}}, {zip: {metric.c: [0.1], noise.p_mean: []}}, {lst: []}]",
        3,
        "plan",
    ),
    "a date": (f"name: x\nseeds: [2024-01-01]\n{ROW}", 1, "'2024-01-01': input should be a valid integer"),
    "merged with a number": ("name: x\nplan: [{list: [{label: a, set: {<<: 3}}]}]", 1, "<< needs a mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_line_a_mistake(case, tmp_path):
    text, count, said = BAD[case]
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        planner.load(file)
    problems = caught.value.problems
    assert len(problems) == count, problems
    assert any(said in p for p in problems), problems
    assert all("\n" not in p and str(file) in p and len(p) < 1000 for p in problems), problems


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_bytes(b"name: \xff")
    with pytest.raises(SpecError, match="UTF-8"):
        planner.load(file)


def test_the_command_line_says_it_and_exits_with_2(tmp_path):
    import subprocess
    import sys

    (tmp_path / "bad.yaml").write_text(BAD["unknown option"][0])
    done = subprocess.run(
        [sys.executable, "-m", "ablate", "run", "bad.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "runs").exists()
