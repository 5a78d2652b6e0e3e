# Two commands for a newcomer: make demo, make test. Neither needs anything before it but a CPython 3.12 or 3.13.

VENV := .venv
MIEN := $(VENV)/bin/mien
PY := $(VENV)/bin/python
READY := $(VENV)/ready
DEMO := build/demo
# A file's tests run in one process, files in the order of tests/layers.py. Threads that wait do not spin, or those of
# one process would hold up the others.
PYTEST := OMP_WAIT_POLICY=passive $(PY) -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup \
  --no-loadscope-reorder
# Tests start hundreds of processes. Where this is set, each compiles all of PyTorch's sources anew: half of its time.
unexport PYTHONDONTWRITEBYTECODE
PORTRAITS := $(wildcard models/appraisal/samples/nobody-0[1-6]*.jpg)

.PHONY: demo small-bundle figures speed goals replay test tests test-all test-fast mutants fuzz fuzz-long other-torch test-ray dist docs lint setup clean

demo: $(READY)
	@mkdir -p $(DEMO)
	@echo "== 1/4 export: checkpoint -> bundle"
	@$(MIEN) export -o $(DEMO)/bundle
	@rm -rf $(DEMO)/appraisals
	@echo "== 2/4 appraise: photographs -> scores and pictures"
	@$(MIEN) appraise --bundle $(DEMO)/bundle -o $(DEMO)/appraisals --json $(PORTRAITS) > $(DEMO)/appraise.log
	@echo "== 3/4 verify: bundle against the float pipeline"
	@$(MIEN) verify $(DEMO)/bundle -o $(DEMO)/parity.json > $(DEMO)/verify.log
	@echo "== 4/4 bench: on this host"
	@$(MIEN) bench $(DEMO)/bundle -o $(DEMO)/bench.json > $(DEMO)/bench.log
	@$(PY) -m mien.benchmarks.reporting.summary $(DEMO)

# What ships with mien, out of a bundle of the shipped checkpoint: BUNDLE=FOLDER, or the demo's.
small-bundle: $(if $(BUNDLE),$(READY),demo)
	@$(PY) -m mien.models.appraisal.small_bundle $(or $(BUNDLE),$(DEMO)/bundle)

figures: demo
	@echo "== figures: beside the float pipeline, one thread"
	@$(PY) -m mien.benchmarks.experiments.figures $(DEMO)/bundle

# BEFORE=FOLDER: another checkout, where `make demo` was run, to be timed by turns with this one.
speed: demo
	@$(PY) -m mien.benchmarks.experiments.speed $(DEMO)/bundle $(if $(BEFORE),--before $(BEFORE))

goals: demo
	@echo "== goals: every figure that has one"
	@$(PY) -m tests.benchmarks.goals $(DEMO)/bundle

# AGAINST=REV: the other commit. PORTRAITS=FOLDER: what both rate.
replay: $(READY)
	@$(PY) -m tests.replay $(if $(AGAINST),--against $(AGAINST)) \
	  $(if $(filter command line,$(origin PORTRAITS)),--portraits "$(PORTRAITS)")

# Beside each other: most of lint is one process.
test: $(READY)
	@$(MAKE) --no-print-directory --jobs=2 lint tests

tests: $(READY)
	@echo "== tests"
	@$(PYTEST)

# The tests without network and converters; see tests/layers.py.
test-fast: $(READY)
	@$(PYTEST) -m unit

# Every pipeline of the matrix from every source; a run that was stopped goes on. NETWORKS="layers grader": of these alone.
test-all: $(READY)
	@echo "== matrix: pipelines, sources, variants"
	@$(PY) -m tests.matrix $(NETWORKS)

# SEED=N, COUNT=N, LAYERS="unit converters": which mutants, and by which tests.
mutants: $(READY)
	@$(PY) -m tests.mutants $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) \
	  $(foreach layer,$(LAYERS),--layer $(layer))

# SEED=N, SECONDS=N, TARGETS="models goldens": damaged files put to the real commands; see docs/maintaining/reliability.md.
fuzz: $(READY)
	@$(PY) -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(FIRST),--first $(FIRST)) \
	  $(foreach target,$(TARGETS),--target $(target))

# A piece of the long run, which goes on where it ended; WRITE=1 puts its counts into docs/maintaining/reliability.md.
fuzz-long: $(READY)
	@$(PY) -m tests.fuzz.longrun $(if $(SECONDS),--seconds $(SECONDS)) $(if $(CHECKOUT),--checkout $(CHECKOUT)) $(if $(WRITE),--write) \
	  $(foreach target,$(TARGETS),--target $(target))

# TORCH=2.9.1: tests of users' own pipelines with another PyTorch, in an environment of its own.
other-torch: $(READY)
	@$(PY) -m tests.other_torch $(TORCH)

# A Ray cluster of this machine, in an environment of its own. SEED=N: when which process is killed.
test-ray: $(READY)
	@$(PY) -m tests.cluster

lint: $(READY)
	@echo "== lint"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m tests.linked_rooms
	@$(PY) -m tests.typecheck

setup: $(READY)

# TORCH_INDEX=URL: a package index that has PyTorch's CPU build, which needs none of the packages of CUDA.
$(READY): pyproject.toml requirements.lock export/tflite.lock
	@echo "== set-up: downloads $(if $(TORCH_INDEX),PyTorch's CPU build and some 80 packages,some 3 GB: CUDA's packages are most of it (TORCH_INDEX=URL of PyTorch's CPU builds leaves them out))"
	@python=$$(sh .ci/find-python) && rm -rf $(VENV) && $$python -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.lock)
	@$(if $(TORCH_INDEX),grep -vE '^(cuda-|nvidia-|triton)',cat) requirements.lock > $(VENV)/requirements.txt
	@$(VENV)/bin/uv pip install --python $(PY) --requirements $(VENV)/requirements.txt \
	  $(if $(TORCH_INDEX),--index "$(TORCH_INDEX)" --index-strategy unsafe-best-match)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --editable .
	@$(MIEN) setup tflite --json > /dev/null
	@touch $(READY)

# The documents as a site, under build/site; links are checked.
docs: $(READY)
	@$(PY) -m tests.documents.site

# Wheel, source archive, SBOM and checksums of the last commit, under dist; the same bytes every time.
dist: $(READY)
	@$(PY) -m tests.dist

clean:
	rm -rf $(VENV) build dist
