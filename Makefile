# Needs make and Python >= 3.11, nothing else. uv is used when present.
#
#     make demo     a real job, killed half-way, that carries on
#     make test     every test lane

VENV ?= .venv
PYTHON ?=
LANES ?=

PY := $(VENV)/bin/python
SOURCES = $(wildcard src/lash benchmarks examples tools)

.DEFAULT_GOAL := help
.PHONY: help demo test check bench format clean installed installed-dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: installed ## a real job on real files, killed half-way, that carries on
	@$(VENV)/bin/lash demo

test: installed-dev ## every lane; make test LANES="unit crash" runs some
	@$(PY) tools/lanes.py $(LANES)

check: installed-dev ## ruff, mypy, pyright and the house rules, in under a minute
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy $(SOURCES) & mypy=$$!; $(PY) -m pyright --pythonpath $(PY); pyright=$$?; wait $$mypy && exit $$pyright
	@$(PY) tools/lanes.py house

bench: installed-dev ## the benchmarks, alone and beside peers: tables, and the same as JSON
	@$(PY) -m benchmarks
	@$(PY) -m benchmarks --peers

format: installed-dev ## put the source into the house form
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

clean: ## remove environments and caches, nothing else
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

installed:
	@sh tools/venv.sh $(VENV) "" $(PYTHON)

installed-dev:
	@sh tools/venv.sh $(VENV) dev $(PYTHON)
