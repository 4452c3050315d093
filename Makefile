# Signalbox. `make help` lists the targets. Needs Python >= 3.11 and make; everything else comes into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
# The first that is new enough; name another one with `make run PYTHON=/path/to/python3`.
PYTHON := python3.11 python3.12 python3.13 python3.14 python3
# Hashes are checked either way. uv takes seconds; pip is for machines whose index only pip is told about.
PIP = $(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r
UV = $(VENV)/bin/uv pip install --quiet --system-certs --python $(PY) --require-hashes -r
INSTALL = @echo "installing $(1) into $(VENV)"; $(UV) $(1) || { echo "once more, with pip"; $(PIP) $(1); }
LOCK = $(VENV)/bin/uv pip compile --quiet --system-certs --python-version 3.11 --universal --generate-hashes --no-emit-index-url
# Where tests failed and nothing else did, what failed beside the others runs once more, alone.
ALONE = { [ $$? -eq 1 ] && $(PY) -m pytest -v -p tests.again; }
DJANGO_TEMPLATES = find templates -name '*.html'
# Hundreds of processes of the tests import the same: compiling it anew in each would take as long as all tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-fast test-faults lint format bench bench-faults bench-history soak lock help

run: $(VENV)/.runtime ## set up what is missing, then run everything on http://127.0.0.1:8000 (SIGNALBOX_PORT)
	@exec $(PY) manage.py serve --setup

# Side by side what computes or waits (four on two cores, because much of it waits; what shares a start in one process:
# tests/distribution.py); two at a time what loads the machine.
test: lint ## the whole suite with its own PostgreSQL and Redis, after every static check
	$(PY) -m pytest --cache-clear -n 4 --dist loadfile -m "browser or not slow" || $(ALONE)
	$(PY) -m pytest --cache-clear -n 2 --dist loadfile -m "slow and not browser" || $(ALONE)

test-fast: $(VENV)/.dev ## the suite without slow, thorough and browser tests
	$(PY) -m pytest -n 4 --dist loadfile -m "not slow and not thorough and not browser"

test-faults: $(VENV)/.dev ## the fault suite: every way providers, clients and processes fail, one test for each
	$(PY) -m pytest -m faults

lint: $(VENV)/.dev ## ruff, mypy, import rules, migrations, templates
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	DJANGO_SETTINGS_MODULE=tests.settings $(PY) -W error manage.py makemigrations --check --dry-run
	$(DJANGO_TEMPLATES) -exec $(VENV)/bin/djade --check --target-version 5.2 {} +

format: $(VENV)/.dev ## rewrite code and templates in the house's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(DJANGO_TEMPLATES) -exec $(VENV)/bin/djade --target-version 5.2 {} +

bench: $(VENV)/.dev ## measure the gateway against a bare proxy and no proxy at all; see bench/RESULTS.md
	$(PY) -m bench

bench-faults: $(VENV)/.dev ## measure the times that the fault suite promises; prints a table
	$(PY) -m bench.faults

bench-history: $(VENV)/.dev ## measure history at size; ARGS="fill --rows 5000000 ...", ARGS=--help lists what there is
	$(PY) -m bench.history $(ARGS)

soak: $(VENV)/.dev ## the fault suite's loads at full size, some minutes; ARGS="--trace FILE" replays arrivals too
	$(PY) -m bench.soak $(ARGS)

lock: $(VENV)/.bootstrap ## write requirements/*.txt anew from pyproject.toml
	$(LOCK) --upgrade requirements/bootstrap.in -o requirements/bootstrap.txt
	$(LOCK) --upgrade pyproject.toml -o requirements/runtime.txt
	$(LOCK) --upgrade pyproject.toml --group dev -o requirements/dev.txt

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

# -- the virtual environment -----------------------------------------------------------------------
$(VENV)/.bootstrap: requirements/bootstrap.txt
	@for candidate in $(PYTHON); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			if ! $$candidate -c 'import venv, ensurepip' 2>/dev/null; then \
				echo "signalbox: $$candidate has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
				exit 1; \
			fi; \
			echo "creating $(VENV) with $$candidate"; \
			$$candidate -m venv $(VENV) && \
			$(PIP) $< && \
			touch $@ && exit 0; \
			exit 1; \
		fi; \
	done; \
	echo "signalbox: needs Python 3.11 or newer; none of these is: $(PYTHON)" >&2; \
	exit 1

$(VENV)/.runtime: $(VENV)/.bootstrap requirements/runtime.txt
	$(call INSTALL,requirements/runtime.txt)
	@touch $@

$(VENV)/.dev: $(VENV)/.bootstrap requirements/dev.txt
	$(call INSTALL,requirements/dev.txt)
	@touch $@ $(VENV)/.runtime
