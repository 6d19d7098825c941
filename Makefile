PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all fuzz lint docs clean

DEMO := experiments/table1.yaml --reports-dir reports/demo

demo: .venv/.stamp  ## Table 1 on embedded data, from nothing, and beside the one in reports/table1
	$(BIN)/python -m ablate run $(DEMO)
	$(BIN)/python -m ablate report $(DEMO) --beside reports/table1

test: .venv/.stamp lint  ## everything that is checked
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-all: .venv/.stamp lint  ## the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not gpu'

fuzz: .venv/.stamp  ## random text and bytes in every place where a person can type something
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/fuzz tests/cli/test_typed_values.py tests/core/test_yaml_files.py

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.stamp  ## the site of README, docs/ and the package's docstrings, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

.venv/.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

clean:
	rm -rf .venv runs site
