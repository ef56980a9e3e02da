# make demo    set up .venv and watch a small front-end and back-end talk
# make test    set up everything and run all checks and tests
# make quick   lint, types, contracts and unit tests: under a minute, no root, no other programs
# make check   the same as make test, without installing packages of the distribution
# make fuzz    look for inputs that nothing was ready for, each harness for SECONDS=60
# make bench   measure speed and memory (the soak alone takes ten minutes)
# make golden  write the expected outputs of the captures again, after a change of output that is meant
# make generated  write reference, man page and completions again
# make conformance  put the packaged programs through vusniff test, for the table in docs/conformance.md (as root)
# make captures  record the captures again from real programs (as root)
PYTHON ?= python3
WORKERS ?= 2
SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin

# Tests and benchmarks start Python often: where this is set, each start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: conformance demo test quick check lint tests fuzz bench generated golden captures packages kernels tshark qemu clean

demo: $(VENV)/vusniff.stamp
	@$(BIN)/vusniff demo

test: packages kernels tshark qemu
	@$(MAKE) --no-print-directory check

check: lint tests

quick: lint
	$(BIN)/pytest -n $(WORKERS) -m "not slow"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(wildcard tests captures bench)
	$(BIN)/lint-imports

tests: $(VENV)/dev.stamp
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

fuzz: $(VENV)/dev.stamp
	PYTHONPATH=tests:. $(BIN)/python -m fuzz.run --seconds $(SECONDS) --jobs $(WORKERS)

bench: $(VENV)/dev.stamp
	@for script in bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

generated: $(VENV)/dev.stamp
	COLUMNS=80 $(BIN)/python scripts/generated.py

golden: $(VENV)/dev.stamp
	$(BIN)/python captures/golden.py

conformance: $(VENV)/dev.stamp
	$(BIN)/python captures/conformance.py
	@$(MAKE) --no-print-directory generated

captures: $(VENV)/dev.stamp packages
	PYTHONPATH=tests $(BIN)/python captures/record.py
	$(BIN)/python captures/golden.py

packages:
	@scripts/packages

# Kernels for the tests in virtual machines: unpacked in the user's cache, not installed.
kernels: packages $(VENV)/dev.stamp
	@$(BIN)/python tests/vm/fetch.py || { echo "no kernel: the tests in virtual machines are skipped"; [ "$$CI" != true ]; }

# A newer tshark, as a second one: in the user's cache, not installed.
tshark: packages $(VENV)/dev.stamp
	@$(BIN)/python tests/fetch_tshark.py || { echo "no newer tshark: the tests with it are left out"; [ "$$CI" != true ]; }

# A QEMU that speaks vfio-user, where the installed one is older than 10.1: in the user's cache, not installed.
qemu: packages $(VENV)/dev.stamp
	@$(BIN)/python tests/fetch_qemu.py || { echo "no QEMU with vfio-user: a test with it is left out"; [ "$$CI" != true ]; }

# Nothing is installed twice while pyproject.toml stays as it is; the project itself is installed editable.
$(VENV)/vusniff.stamp: pyproject.toml
	@PYTHON=$(PYTHON) scripts/environment $(VENV)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml
	@PYTHON=$(PYTHON) scripts/environment $(VENV) dev,fast
	@touch $(VENV)/vusniff.stamp $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
