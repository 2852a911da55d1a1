# The commands of this project. `make start` runs it here; `make test` proves it.
#
# PYTHON chooses the interpreter (make test PYTHON=python3.13): each has a virtual environment of its own,
# .venv for python3 and .venv-3.13 for python3.13.

PYTHON ?= python3
VENV = $(if $(filter python3,$(PYTHON)),.venv,.venv-$(patsubst python%,%,$(notdir $(PYTHON))))
RUN = $(VENV)/bin/python
UV = UV_CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/uv --no-config pip compile --universal --python-version 3.11 \
	--generate-hashes --quiet $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help start test lint format bench calibrate infra routes package venv setup lock clean python

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-15s%s\n", $$1, $$2 }'

start: python  ## run the app here, with Azurite and sample data (PORT=7080 moves it)
	@$(PYTHON) -m scripts.setup $(VENV) start
	@exec $(RUN) -m scripts.start

test: setup  ## set up, and run every test (TESTS=tests/web runs some)
	@$(RUN) -m pytest $(TESTS)

lint: venv  ## format check, lint, types
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

format: venv  ## format, and mend what lint can mend
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

bench: setup  ## run the benchmarks
	@$(RUN) -m bench

calibrate: setup  ## suggest what a password hash should cost here (TARGET_MS=100)
	@$(RUN) -m scripts.calibrate $(TARGET_MS)

infra: setup  ## check the templates, the package, the image and the pipeline; needs no subscription (BICEP=path/to/bicep)
	@command -v "$${BICEP:-bicep}" >/dev/null || { echo "The Bicep CLI is needed, on the PATH or as BICEP=path/to/bicep." \
		"Azure CLI gets it (az bicep install puts it into ~/.azure/bin), and so does" \
		"https://learn.microsoft.com/azure/azure-resource-manager/bicep/install" >&2; exit 1; }
	@$(PYTHON) -m scripts.setup .venv-infra infra
	@INFRA_CHECKED=1 $(RUN) -m pytest tests/infra tests/container

routes: venv  ## write the table of all functions: docs/routes.md
	@$(RUN) -m scripts.routes

package: python  ## build the zip that is deployed: .data/strongroom.zip
	@$(PYTHON) -m scripts.package

venv: python  ## make the virtual environment
	@$(PYTHON) -m scripts.setup $(VENV) venv

setup: python  ## make the virtual environment and fetch Azurite
	@$(PYTHON) -m scripts.setup $(VENV) test

lock: python  ## pin requirements*.txt and package-lock.json anew (UPGRADE=--upgrade takes newer versions)
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) requirements.in -o requirements.txt
	$(UV) requirements-local.in -o requirements-local.txt
	$(UV) requirements-dev.in -o requirements-dev.txt
	$(UV) infra/requirements.in -o infra/requirements.txt
	npm install --package-lock-only --ignore-scripts --loglevel=error

clean:  ## remove what was installed and built; data under .data stays
	rm -rf .venv .venv-* node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One clear line where Python is missing or too old: the scripts themselves may use the syntax of 3.11.
python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed; $(PYTHON) is not here." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or \
		sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0] + ".")'
