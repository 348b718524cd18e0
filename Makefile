# `make quickstart` and `make test` do everything on a fresh machine with Python 3.11 or newer. JOBS: test processes.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: quickstart test test-slow lint format install clean

install: $(STAMP)

$(STAMP): requirements.txt constraints.txt setup.py
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -c 'import sys; assert sys.version_info >= (3, 11), "segkit needs Python 3.11 or newer: make PYTHON=python3.11"'
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[all]" -c constraints.txt
	@touch $@

quickstart: $(STAMP)
	$(RUN) tools/train.py configs/quickstart/semantic.py --work-dir work_dirs/quickstart
	$(RUN) tools/test.py configs/quickstart/semantic.py work_dirs/quickstart/best.pt --show work_dirs/quickstart/test --show-count 8

test: $(STAMP) lint
	$(RUN) -m pytest -n $(JOBS) --dist worksteal

test-slow: $(STAMP)
	$(RUN) -m pytest -m slow -n $(JOBS) --dist worksteal

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) work_dirs build dist *.egg-info
