# Everything is set up by the targets themselves, in .venv; make setup tells what they need of the system.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What a target stands on: the package, what tests need besides, and what looks at sources besides that.
BUILT := $(VENV)/.built
TESTING := $(VENV)/.testing
LINTING := $(VENV)/.installed

# Those that the wheel is tried in: all that are found and run.
PYTHONS ?= $(shell for n in 10 11 12 13 14; do \
	python3.$$n -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null; done)

.PHONY: help setup demo test test-stdlib test-windows test-kernels test-peers test-servers stress lint bench check-cost check-native check-wheel check-install check-bare cross clean
.DEFAULT_GOAL := help

help:
	@echo 'make setup         names what is missing, with the command that installs it; the others begin with that'
	@echo 'make demo          the promise, shown on real processes'
	@echo 'make test          all tests'
	@echo 'make test-stdlib   the interpreters'"'"' own suites for subprocesses, on every Python that is found'
	@echo 'make test-windows  the suite and the demo on a Windows Python, under Wine'
	@echo 'make test-kernels  the system suite on Debian kernels under qemu (KERNELS="6.1" picks)'
	@echo 'make test-servers  real servers that are asked to end: redis, nginx, php-fpm, haproxy, PostgreSQL'
	@echo 'make test-peers    the suites of dumb-init, GNU timeout and tini, on treeguard run (PEERS="tini" picks)'
	@echo 'make stress        the tests that take minutes'
	@echo 'make lint          ruff, mypy --strict, C warnings as errors'
	@echo 'make check-native  native tests under sanitizers, valgrind, an emulated aarch64, and with faults injected'
	@echo 'make cross         library, guard and extension for macOS, FreeBSD, aarch64 and musl, warnings as errors'
	@echo 'make check-wheel   one wheel, installed into every Python that is found'
	@echo 'make check-install editable installations and PyInstaller bundles'
	@echo 'make check-bare    a first minute on a Debian that has what README calls enough, and nothing else'
	@echo 'make bench         what it costs, beside what else could be used: a quarter of an hour'
	@echo 'make check-cost    system calls and calls of functions a life, against the ones on record'
	@echo 'make clean'

# Names what is missing of Debian's packages, and how to install it.
setup:
	@tests/setup/needs.sh $(PYTHON) $(CC)

# Installed again when what is compiled or declared changes. The directory of $(BIN)/python tells a half-made one.
$(BUILT): pyproject.toml setup.py build_ffi.py $(wildcard csrc/*.[ch] csrc/*/*.[ch])
	@tests/setup/needs.sh $(PYTHON) $(CC)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

extra = $(BIN)/python tests/setup/extra.py $(1) >$(VENV)/$(1).txt && $(PIP) --requirement $(VENV)/$(1).txt

$(TESTING): $(BUILT)
	$(call extra,test)
	touch $@

$(LINTING): $(TESTING)
	$(call extra,lint)
	touch $@

demo: $(BUILT)
	$(BIN)/treeguard demo

test: $(TESTING)
	$(PYTEST) -n 2 --dist worksteal

# The suites are in each Python's test package; Debian has it in libpython3-testsuite.
SUITES ?= subprocess asyncio
test-stdlib: $(BUILT)
	set -e; for python in $(or $(PYTHONS),$(PYTHON)); do \
		$$python --version && $$python -m venv --clear build/stdlib; \
		build/stdlib/bin/python -m pip install --quiet --disable-pip-version-check cffi msgspec; \
		for suite in $(SUITES); do build/stdlib/bin/python -m tests.stdlib $$suite; done; \
	done

# Needs Debian's wine, wine64 and gcc-mingw-w64-x86-64, and Python 3.11; the rest comes from the registries into a cache.
# Once in many runs a program that Wine starts is gone before Wine has heard of it: that test alone is run once more.
WINE_LOST_IT = --reruns 1 --only-rerun 'Windows error 1359'
test-windows: $(TESTING)
	$(BIN)/python -m tests.windows -m pytest -p no:cacheprovider $(WINE_LOST_IT) tests
	$(BIN)/python -m tests.windows -m treeguard demo

# Debian's servers, each started in several ways and asked to end. A minute.
test-servers: $(TESTING)
	$(PYTEST) -m servers -n 2 --dist worksteal tests/servers

# Suites of other projects, from Debian's mirror: five minutes. See docs/testing.md.
PEERS ?=
test-peers: $(TESTING)
	$(BIN)/python -m tests.peers $(PEERS)

# Real kernels, in machines of their own; the images are kept in ~/.cache/treeguard. See docs/testing.md.
KERNELS ?=
test-kernels: $(TESTING)
	$(BIN)/python -m tests.kernels $(KERNELS)
	$(PYTEST) -m kernels tests/kernels

# What takes minutes: the core of the suite without the system calls that old kernels and filters lack; and tens of
# thousands of trees while guards and supervisors are killed, for STRESS_SECONDS.
STRESS_SECONDS ?= 600
stress: $(TESTING)
	$(PYTEST) -m stress
	timeout -k 10 $$(($(STRESS_SECONDS) + 120)) $(BIN)/python -m tests.stress --seconds $(STRESS_SECONDS)

# What only Windows imports, or imports as well.
OF_WINDOWS := $(addprefix treeguard/,local.py _wire/channel.py) \
	$(addprefix treeguard/_core/,native_windows.py poll_thread.py inspection/tree_job.py spec/compiler_windows.py) \
	$(addprefix treeguard/_core/,engine/watch.py engine/watch_windows.py containment/backends_windows.py containment/host.py) \
	$(addprefix treeguard/_transport/,__init__.py abc.py pipes_windows.py) $(addprefix treeguard/child/,__init__.py aio.py handshake.py) \
	$(addprefix treeguard/_blocking/,arguments_windows.py command.py exchange_windows.py manager.py pipes_windows.py popen.py) \
	$(addprefix treeguard/_blocking/,popen_windows.py pump_windows.py searching.py system.py) treeguard/_core/spec/command_line.py \
	treeguard/tree.py $(addprefix treeguard/aio/,create.py command.py loops.py opening.py run.py) \
	$(addprefix treeguard/_core/,options.py outcome.py standard_names.py inspection/left.py inspection/single.py) \
	$(addprefix treeguard/_core/streams/,exchange.py lines.py pipes.py reader.py streams.py) \
	$(addprefix treeguard/control/,listener.py listener_windows.py bootstrap.py peer.py server.py) \
	$(addprefix treeguard/_cli/,sample_programs_windows.py process_view_windows.py foreground_windows.py host_windows.py) \
	$(addprefix treeguard/_cli/,marked_processes.py sample_supervisor.py experiments.py doctor.py demo.py run.py commands.py) \
	$(addprefix tests/windows/,adversary.py blocking.py fixtures.py judge.py marks.py supervisor.py) \
	$(addprefix tests/windows/,test_control.py test_doctor.py test_blocking_run.py test_popen.py test_pump.py test_inspection.py test_native.py test_jobs.py test_run.py test_streams.py)

lint: $(LINTING)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --follow-imports=silent $(OF_WINDOWS)
	$(BIN)/python -m tests.house
	$(MAKE) --no-print-directory -C tests/native lint

# What macOS, FreeBSD and other Linuxes need is built, not run. The compiler comes from PyPI, and keeps what it has built.
cross: $(TESTING)
	$(call extra,cross)
	$(BIN)/python tests/cross

check-native:
	$(MAKE) --no-print-directory -C tests/native plain sanitized valgrind aarch64 faults kqueue

# Samples, table and picture go to build/bench/out. BENCH=--quick takes three minutes.
bench: $(TESTING)
	$(call extra,bench)
	$(BIN)/python -m benchmarks --save build/bench/out $(BENCH)

check-cost: $(TESTING)
	$(BIN)/python -m benchmarks.cost $(COST)

# Editable in both modes, and packed by PyInstaller: a minute and a half.
check-install:
	tests/setup/packaged.sh $(PYTHON)

# In a chroot of its own, which takes root and debootstrap: some minutes. See docs/testing.md.
check-bare:
	tests/setup/bare.sh

# One wheel for all of them; it is tried outside of the checkout, so that nothing but the wheel is imported.
check-wheel: $(BUILT)
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	ls build/wheel && ls build/wheel/treeguard-*-cp310-abi3-linux_*.whl
	set -e; for python in $(or $(PYTHONS),$(PYTHON)); do \
		$$python --version && $$python -m venv --clear build/wheel/venv; \
		build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check build/wheel/*.whl; \
		(cd / && $(CURDIR)/build/wheel/venv/bin/treeguard demo); \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info treeguard/_treeguard*.so treeguard/_treeguard.c treeguard/treeguard-guard
