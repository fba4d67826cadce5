# make run    set up and run the whole exercise
# make test   set up and run the tests
# make check  all that CI runs: lint, types, import contracts, tests
# See CONTRIBUTING.md for the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
ENGINE := CMakeLists.txt $(wildcard src/inkproof/*/csrc/*)

# The editable installation knows the package's files by name: a new one needs a new installation.
FILES := $(shell mkdir -p $(VENV); find src/inkproof -type f ! -name '*.pyc' ! -path '*/csrc/*' | LC_ALL=C sort > $(VENV)/files.new; cmp -s $(VENV)/files.new $(VENV)/files.txt || mv $(VENV)/files.new $(VENV)/files.txt)

.PHONY: run test check lint format bench handwriting test-keras sanitize lock clean

run: $(VENV)/run.stamp
	$(BIN)/inkproof run

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n auto --dist loadgroup

check: lint test

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/dense.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/picture.py

# The model that ships: its data, its training, its calibration; about half an hour on two cores.
handwriting: $(VENV)/dev.stamp
	$(BIN)/python scripts/make_handwriting.py build/handwriting.npz
	$(BIN)/inkproof train studies/handwriting.toml --out build/handwriting.safetensors
	$(BIN)/python scripts/calibrate_handwriting.py build/handwriting.safetensors \
		build/handwriting.npz src/inkproof/shipped

# Keras gets an environment of its own; INKPROOF_KERAS_PYTHON names another one.
test-keras: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/dense.py --prepare --peers keras-tensorflow
	$(BIN)/python -m pytest -n auto --dist loadgroup -m keras

# The engine without Python, under AddressSanitizer, UBSan, ThreadSanitizer and valgrind.
sanitize:
	scripts/sanitize.sh

# Exact versions of what pyproject.toml asks for, as of today.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet nanobind scikit-build-core cmake ninja -e '.[dev]'
	( echo '# Exact versions that the Makefile installs; pyproject.toml has the lower bounds.'; \
	  echo '# Made by `make lock`.'; \
	  build/lock/bin/python -m pip freeze --exclude-editable | LC_ALL=C sort -f ) > constraints.txt

$(VENV)/venv.stamp: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) nanobind scikit-build-core cmake ninja
	touch $@

# The native engine is built here; it is built anew when its sources have changed.
$(VENV)/run.stamp: $(VENV)/venv.stamp $(VENV)/files.txt pyproject.toml $(ENGINE)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/venv.stamp $(VENV)/files.txt pyproject.toml $(ENGINE)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --editable '.[dev]'
	touch $@ $(VENV)/run.stamp

clean:
	rm -rf $(VENV) build
