# Two commands for a newcomer: make demo, make test. Neither needs anything before it but a CPython 3.12 or 3.13.

VENV := .venv
MIEN := $(VENV)/bin/mien
PY := $(VENV)/bin/python
READY := $(VENV)/ready
DEMO := build/demo

.PHONY: demo test lint setup clean

demo: $(READY)
	@echo "== 1/4 export: checkpoint -> bundle ($(DEMO)/bundle)"
	@$(MIEN) export -o $(DEMO)/bundle
	@echo "== 2/4 appraise: photographs -> scores and pictures ($(DEMO)/appraisals)"
	@$(MIEN) appraise --bundle $(DEMO)/bundle -o $(DEMO)/appraisals calibration/samples/nobody-0[1-6]*.jpg
	@echo "== 3/4 verify: bundle against the float pipeline ($(DEMO)/parity.json)"
	@$(MIEN) verify $(DEMO)/bundle -o $(DEMO)/parity.json
	@echo "== 4/4 bench: on this host ($(DEMO)/bench.json)"
	@$(MIEN) bench $(DEMO)/bundle -o $(DEMO)/bench.json
	@echo "made: $(DEMO)/bundle $(DEMO)/appraisals $(DEMO)/parity.json $(DEMO)/bench.json"

test: $(READY) lint
	@echo "== tests"
	@$(PY) -m pytest

lint: $(READY)
	@echo "== lint"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(PY) tests/typecheck.py

setup: $(READY)

$(READY): pyproject.toml requirements.lock
	@echo "== set-up: environment in $(VENV) (some 6 GB; minutes the first time)"
	@python=$$(sh .ci/find-python) && rm -rf $(VENV) && $$python -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.lock)
	@$(VENV)/bin/uv pip install --python $(PY) --requirements requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --editable .
	@touch $(READY)

clean:
	rm -rf $(VENV) build
