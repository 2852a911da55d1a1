# The commands of this project. `make start` runs the app; `make test` tests it.
#
# PYTHON chooses the interpreter (make test PYTHON=python3.13). Each interpreter has its own virtual environment:
# .venv for python3 and .venv-3.13 for python3.13.

PYTHON ?= python3
VENV = $(if $(filter python3,$(PYTHON)),.venv,.venv-$(patsubst python%,%,$(notdir $(PYTHON))))
RUN = $(VENV)/bin/python
UV = UV_CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/uv --no-config pip compile --universal --python-version 3.11 \
	--generate-hashes --quiet $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help start test lint format bench calibrate console infra pictures routes package venv setup lock clean python

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-17s%s\n", $$1, $$2 }'

start: python  ## run the app on this machine, with Azurite and sample data (PORT=7080 changes the port)
	@$(PYTHON) -m scripts.setup $(VENV) start
	@exec $(RUN) -m scripts.start

test: setup  ## set up, and run every test, one process a core (TESTS=tests/web runs some, COVERAGE=1 prints the coverage)
ifdef COVERAGE
	@$(RUN) -m coverage erase
	@$(RUN) -m coverage run -m pytest $(TESTS)
	@$(RUN) -m coverage combine --quiet
	@$(RUN) -m coverage report
else
	@$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile $(TESTS)
endif

lint: venv  ## check format, lint and types
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

format: venv  ## format the code and fix what lint can fix
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

bench: setup  ## run the benchmarks
	@$(RUN) -m bench

calibrate: setup  ## suggest the cost of a password hash for this machine (TARGET_MS=100)
	@$(RUN) -m scripts.calibrate $(TARGET_MS)

console: setup  ## build the console from console/ into shared/console/static/
	@node scripts/console.mjs

infra: setup  ## check the templates, the package, the image and the pipeline, without a subscription (BICEP=path/to/bicep)
	@command -v "$${BICEP:-bicep}" >/dev/null || { echo "Install the Bicep CLI, on the PATH or as BICEP=path/to/bicep:" \
		"az bicep install puts it into ~/.azure/bin; other ways:" \
		"https://learn.microsoft.com/azure/azure-resource-manager/bicep/install" >&2; exit 1; }
	@$(PYTHON) -m scripts.setup .venv-infra infra
	@INFRA_CHECKED=1 $(RUN) -m pytest tests/infra tests/container

pictures: setup  ## take the pictures of the console for README and docs/console.md
	@$(RUN) -m scripts.pictures

routes: venv  ## write the tables of all functions: docs/routes.md and docs/functions.md
	@$(RUN) -m scripts.routes

package: python  ## build the deployment package .data/strongroom.zip
	@$(PYTHON) -m scripts.package

venv: python  ## create the virtual environment
	@$(PYTHON) -m scripts.setup $(VENV) venv

setup: python  ## install everything that tests need: Python packages, Azurite, development packages of npm
	@$(PYTHON) -m scripts.setup $(VENV) test

lock: python  ## pin the versions in requirements*.txt and package-lock.json (UPGRADE=--upgrade takes newer versions)
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) requirements.in -o requirements.txt
	$(UV) requirements-local.in -o requirements-local.txt
	$(UV) requirements-dev.in -o requirements-dev.txt
	$(UV) infra/requirements.in -o infra/requirements.txt
	npm install --package-lock-only --ignore-scripts --loglevel=error

clean:  ## remove everything installed or built; keeps the data in .data
	rm -rf .venv .venv-* node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One clear line if Python is missing or too old: the scripts use syntax of Python 3.11.
python:
	@command -v $(PYTHON) >/dev/null || { echo "Install Python 3.11 or newer; $(PYTHON) was not found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or \
		sys.exit("Install Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ".")'
