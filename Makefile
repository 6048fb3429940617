# Everything from a fresh clone; nothing needs an activated environment.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: study test test-all report docs tutorial benchmark

study: .venv/installed          ## a small study, from nothing to its report
	$(PY) -m study -m +experiment=quick
	$(PY) -m analysis results/quick

test: .venv/equipped            ## what must hold before every commit
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest -q -n auto --dist worksteal

test-all: .venv/equipped        ## the slow tests too
	$(PY) -m pytest -q -n auto --dist worksteal -m "slow or not slow"

report: .venv/installed         ## one report of all committed studies, and the figures that pages show; no training
	$(PY) -m analysis

docs: .venv/equipped            ## the documentation as a site, in site/; it works offline
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

tutorial: .venv/equipped        ## the tutorial's commands anew, with what they say; minutes, on an idle machine
	$(PY) docs/fill.py docs/tutorial.md
	$(PY) docs/notebook.py docs/tutorial.md

benchmark: .venv/equipped       ## time beside other libraries, and where it goes; 17 minutes, on an idle machine
	$(PY) benchmarks/side_by_side.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/equipped: .venv/installed ## with what the tests, the documentation and the benchmark need
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
