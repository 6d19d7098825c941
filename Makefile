PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

demo: .venv/.stamp  ## Table 1 on embedded data, from nothing
	$(BIN)/python -m ablate run experiments/table1.yaml

test: .venv/.stamp lint  ## everything that is checked
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
