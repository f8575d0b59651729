# `make demo` shows the main job, `make check` is what CI runs. Each target installs what it needs first.
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install kafka demo test chaos bounds lint types check bench bench-full soak served candidates clean

# The first of these that is 3.11 or later; looked for only when the environment is made.
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) python3)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
PINS := $(addprefix deploy/requirements/,runtime.txt dev.txt nodeps.txt)
POM := deploy/kafka/pom.xml
JARS := .kafka/libs
DEBIAN_PACKAGES := openjdk-17-jre-headless maven
SOURCES := $(wildcard streamer/*.py streamer/*/*.py)
PYTEST_ARGS ?=
# Many tests wait for servers: two processes share them.
PYTEST_PROCESSES ?= 2
ENGINE_TESTS := $(wildcard $(addprefix tests/unit/test_,tables_*.py windows_*.py signals_*.py head_*.py ranking_*.py))

java_works = java -version >/dev/null 2>&1
maven_works = mvn -version >/dev/null 2>&1
jars_there = ls $(JARS)/kafka_*.jar >/dev/null 2>&1

help:
	@echo "make install   virtual environment in $(VENV), Kafka's jars in $(JARS) where Java and Maven are there"
	@echo "make demo      the main job on a real recorded stream, without a broker"
	@echo "make check     lint, types and every test, as CI runs them"
	@echo "make test      tests alone (PYTEST_ARGS='tests/unit -k window'), lint, types: the other parts of check"
	@echo "make chaos     the tests of faults at full size, then a campaign of CHAOS_MINUTES=20 with a report in .chaos"
	@echo "make bounds    the tests of kernels with every index checked (compiles them anew, minutes)"
	@echo "make bench     throughput and latency on this machine"
	@echo "make bench-full  cost by size, by partitions and over ten million events; memory, snapshots and starts at a million users and items"
	@echo "make soak      an hour of mixed load with faults: does anything grow?"
	@echo "make served    14 recorded days through Kafka and Redis in 12 minutes: are lists as served as good as the backtest says?"
	@echo "make candidates  what candidates lose against ranking the full catalogue"
	@echo "make clean     removes caches and build outputs; keeps $(VENV), $(JARS) and .streamer"

# Compiled where somebody imports them: a quarter of all code, mostly models of which an encoder loads one.
SELDOM_IMPORTED := site-packages/.*/tests?/|/transformers/models/(?!auto/|__init__)

install: $(VENV)/.stamp-packages kafka $(VENV)/.stamp-warm

# Nothing here is done twice: each stamp is as new as the files it was made from. Most of the packages are compiled on all cores, after all of them are there.
$(VENV)/.stamp-packages: $(PINS) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"$(PYTHON) is Python {v[0]}.{v[1]}: Streamer needs 3.11 or later. Name another one: make PYTHON=python3.11" if v < (3, 11) else 0)'
	@test -x $(PY) || { echo "== virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== packages (torch and what it brings are several GB; minutes the first time)"
	$(PIP) install --no-compile -r deploy/requirements/runtime.txt -r deploy/requirements/dev.txt
	$(PIP) install --no-compile --no-deps -r deploy/requirements/nodeps.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	-@$(PY) -m compileall -qq -j 0 -x "$(SELDOM_IMPORTED)" $(VENV)/lib
	@touch $@

# Kafka serves the tests; the demo and the embedded log go without it, so its absence is said and never fatal here.
kafka:
	@if $(jars_there) && test $(VENV)/.stamp-kafka -nt $(POM); then exit 0; fi; \
	if ! { $(java_works) && $(maven_works); }; then \
	  echo "== left out: Apache Kafka for the tests (needs Java and Maven; on Debian: apt-get install $(DEBIAN_PACKAGES))"; exit 0; fi; \
	echo "== Apache Kafka's jars (54 MB) into $(JARS)"; rm -rf .kafka/fetched; \
	if mvn -q -B -f $(POM) dependency:copy-dependencies -DoutputDirectory="$(CURDIR)/.kafka/fetched"; then \
	  rm -rf $(JARS); mv .kafka/fetched $(JARS); touch $(VENV)/.stamp-kafka; \
	else echo "== left out: Apache Kafka for the tests (Maven could not fetch it, see above; make install tries again)"; fi

$(VENV)/.stamp-warm: $(VENV)/.stamp-packages $(SOURCES)
	@echo "== compiled kernels"
	$(PY) -m streamer.engine.warm
	@touch $@

demo: install
	$(VENV)/bin/streamer demo

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: install
	$(PY) -m mypy

test: install
	@$(jars_there) && $(java_works) || { \
	  echo "The tests run against a real Apache Kafka and found no Java, or no jars in $(JARS)."; \
	  echo "On Debian: apt-get install $(DEBIAN_PACKAGES)   then: make test"; exit 2; }
	$(PY) -m pytest -n $(PYTEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

# The tests at full size first, then a campaign of faults with its report; CHAOS_SEED=N repeats the plan of one.
CHAOS_MINUTES ?= 20
CHAOS_OUT ?= .chaos
CHAOS_SEED ?=

chaos: PYTEST_ARGS := -m chaos $(PYTEST_ARGS)
chaos: PYTEST_PROCESSES := 0
chaos: test
	$(PY) -m tests.chaos --minutes $(CHAOS_MINUTES) --out $(CHAOS_OUT) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

check: lint types test

bounds: install
	NUMBA_BOUNDSCHECK=1 $(PY) -m pytest tests/laws/test_engine_laws.py tests/laws/test_eviction_laws.py tests/unit/test_judged_groups.py $(ENGINE_TESTS)

bench: install
	$(PY) -m benchmarks

BENCH_STAGES ?=

bench-full: install
	$(PY) -m benchmarks.full $(if $(BENCH_STAGES),--only $(BENCH_STAGES))

SOAK_MINUTES ?= 60

soak: install
	$(PY) -m benchmarks.soak --minutes $(SOAK_MINUTES)

served: install
	$(PY) -m benchmarks.served_slice

candidates: install
	$(PY) -m benchmarks.candidate_loss

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist *.egg-info
	find streamer consumers producers tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
