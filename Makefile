# Everything is set up by the targets themselves, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
STAMP := $(VENV)/.installed

.PHONY: demo test lint check-native bench clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo          the promise, shown on real processes'
	@echo 'make test          all tests'
	@echo 'make lint          ruff, mypy --strict, C warnings as errors'
	@echo 'make check-native  native tests under sanitizers, valgrind and an emulated aarch64'
	@echo 'make clean'

# Installed again when what is compiled or declared changes. The directory of $(BIN)/python tells a half-made one.
$(STAMP): pyproject.toml setup.py build_ffi.py $(wildcard csrc/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lint]'
	touch $@

demo: $(STAMP)
	$(BIN)/treeguard demo

test: $(STAMP)
	$(PYTEST) -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(MAKE) --no-print-directory -C tests/native lint

check-native:
	$(MAKE) --no-print-directory -C tests/native plain sanitized valgrind aarch64

clean:
	rm -rf $(VENV) build dist *.egg-info treeguard/_treeguard*.so treeguard/_treeguard.c treeguard/treeguard-guard
