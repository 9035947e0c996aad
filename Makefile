# Every target makes .venv where it is missing; PYTHON chooses another interpreter for it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test stress docs check benchmark

demo: .venv/installed
	$(BIN)/metarobot demo --overwrite

test: .venv/installed
	$(BIN)/python -m pytest -n 2

stress: .venv/installed
	$(BIN)/python -m pytest -n 2 -m stress

docs: .venv/installed
	$(BIN)/pip install --quiet -e '.[docs]'
	$(BIN)/python scripts/build_site.py

check:
	.ci/run

benchmark: .venv/installed
	$(BIN)/python scripts/benchmark.py --json docs/results/benchmark.json --check

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'
	touch $@
