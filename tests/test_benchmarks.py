"""Every script of benchmarks/ answers `--help` before it imports torch, and refuses flags that it does not know."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import layers

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
# runs each script as `python FOLDER/NAME.py ARGUMENT`, all in one process; prints exit code and output by name
DRIVER = """
import contextlib, io, json, runpy, sys
folder, argument, *names = sys.argv[1:]
sys.path.insert(0, folder)
ended = {}
for name in names:
    sys.argv = [f"{folder}/{name}.py", argument]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stopped:
            ended[name] = [stopped.code, out.getvalue()]
print(json.dumps([ended, sorted({"torch", "torch_fidelity", "pandas", "matplotlib", "mlflow"} & set(sys.modules))]))
"""


def ended(argument):
    """Exit code and output of every script, and the heavy libraries that were imported on the way."""
    command = [sys.executable, "-c", DRIVER, str(FOLDER), argument, *SCRIPTS]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def test_help_is_the_docstring_and_imports_nothing_heavy():
    by_name, heavy = ended("--help")
    assert {name: code for name, (code, _) in by_name.items()} == dict.fromkeys(SCRIPTS, 0)
    for name, (_, text) in by_name.items():
        assert text.startswith(f"usage: {name}.py")
        assert f"python benchmarks/{name}.py" in text
    assert heavy == []


def test_an_unknown_flag_measures_nothing():
    by_name, _ = ended("--qiuck")
    assert {name: code for name, (code, _) in by_name.items()} == dict.fromkeys(SCRIPTS, 2)


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.py")), ids=lambda file: file.stem)
def test_what_it_imports_exists(file):
    for name in sorted(n for n in layers.imported(file) if n.startswith("ablate.")):
        module, _, attribute = name.rpartition(".")
        assert name in layers.modules() or hasattr(importlib.import_module(module), attribute), name


GPU = """
import sys
sys.argv = ["gpu.py", *sys.argv[1:]]
sys.path.insert(0, {folder!r})
import gpu
from support import results
seen = dict.fromkeys(("step_s", "first_s", "images_per_s", "step_tflops", "matmul_tflops", "share", "peak_gb",
                      "parameters", "sample1_s", "sample2_s", "measure1_s", "measure2_s"), 1.0)
gpu.measured = lambda part, batch, **changes: seen
gpu.span = lambda place, turn, cells, shared: 1.0 if shared < 2 else 1 / 0
gpu.FAILURES = (*gpu.FAILURES, ZeroDivisionError)
gpu.devices = lambda: ["cpu"]
before = results.FILE.read_bytes(), results.PAGE.read_bytes()
kept = []
if "--quick" not in sys.argv:
    gpu.save = lambda name, rows, found=None: kept.extend(rows) or [print(row) for row in rows]
gpu.main()
assert before == (results.FILE.read_bytes(), results.PAGE.read_bytes())
"""


def rows_of_gpu(*flags):
    code = GPU.format(folder=str(FOLDER))
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_quick_benchmark_of_the_gpu_says_that_it_measured_nothing_and_keeps_nothing():
    rows = rows_of_gpu("--quick")
    assert len([row for row in rows if "speed of a step against a plain eager loop's: 1.00 x" in row]) == 4
    assert len([row for row in rows if row.startswith("GPU: packing: not measured: ")]) == 1
    assert all("quick, CPU: not a measurement" in row for row in rows if "reach:" in row)


def test_without_a_gpu_every_row_says_so():
    rows = rows_of_gpu()
    assert len(rows) == 9
    assert all("not measured: no GPU" in row for row in rows)
