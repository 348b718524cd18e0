# `make quickstart` and `make test` do everything on a fresh machine with Python 3.11 or newer. JOBS: test processes.
# EXTRAS: what the tests install beside the library; tests of packages that are not installed are skipped.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
JOBS ?= 2
EXTRAS ?= test,lint
comma := ,
BASE := $(VENV)/.installed-weights
TOOLS := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
SITE := $(VENV)/.installed-docs
BROWSER := $(VENV)/.installed-browser
SOURCES := requirements.txt constraints.txt pyproject.toml setup.py

.PHONY: quickstart test test-slow test-browser lint format docs install clean

install: $(BASE)

$(RUN):
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "segkit needs Python 3.11 or newer: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)

$(BASE): $(SOURCES) | $(RUN)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[weights]" -c constraints.txt
	@touch $@

$(TOOLS): $(SOURCES) | $(RUN)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[$(EXTRAS)]" -c constraints.txt
	@touch $@

$(SITE): $(SOURCES) | $(RUN)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[docs]" -c constraints.txt
	@touch $@

$(BROWSER): $(SOURCES) | $(RUN)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[test,browser]" -c constraints.txt
	@touch $@

quickstart: $(BASE)
	$(RUN) tools/train.py configs/quickstart/semantic.py --work-dir work_dirs/quickstart --overwrite
	$(RUN) tools/test.py configs/quickstart/semantic.py work_dirs/quickstart/best.pt --show work_dirs/quickstart/test --show-count 8

test: $(TOOLS) lint
	$(RUN) -m pytest -n $(JOBS) --dist worksteal

test-slow: $(TOOLS)
	$(RUN) -m pytest -m slow -n $(JOBS) --dist worksteal

# The page of segkit annotate, in the system's Chromium; where there is none, pytest says so.
test-browser: $(BROWSER)
	$(RUN) -m pytest -m slow -rs tests/browser

lint: $(TOOLS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/typos

format: $(TOOLS)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# The documentation as a site, build/site; a broken link or an undocumented public name ends it with an error.
docs: $(SITE)
	$(RUN) docs/make_site.py

clean:
	rm -rf $(VENV) work_dirs build dist *.egg-info
