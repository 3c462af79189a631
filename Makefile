# Every target says what it is for in the comment behind its name; `make` alone prints them.
.DEFAULT_GOAL := help
BIN := .venv/bin
ARGS :=
# Tests run side by side, file by file: most of their time is waiting, for Kafka above all. JOBS=0 runs them in one process.
JOBS := 3

BENCHES := codec streams stalls peers evaluate lake compact simulate pipeline

.PHONY: help setup demo test test-real lint lock docs soak-alerts soak-streams soak-lake $(BENCHES:%=bench-%)

help: ## List what make can do here
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "make %s\n          %s\n", $$1, $$NF }' $(MAKEFILE_LIST)

setup: ## Bring what is needed to run: packages, Kafka's jars, a Java where there is none
	@scripts/set-up.sh

demo: setup ## Run a simulated campus through Kafka, streams and lake; ARGS="--scale 2MW"
	@exec $(BIN)/python -I -S broker/leash.py parent:$$PPID $(BIN)/wattline demo $(ARGS)

test: ## Prove it, in ten minutes at most, without root; ARGS="tests/broker -k jars"
	@scripts/set-up.sh --dev
	@$(BIN)/pytest -m "not real and not soak" -n $(JOBS) --dist loadfile $(ARGS)

test-real: ## Prove it with Debian's kcat, docker-compose and Prometheus (says what to install)
	@scripts/set-up.sh --dev
	@scripts/real-parts.sh
	@$(BIN)/pytest -m real $(ARGS)

lint: ## Check style and types
	@scripts/set-up.sh --dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: ## Lock the dependencies of pyproject.toml anew
	@scripts/lock.sh

docs: ## Write docs/reference.md from the code
	@scripts/set-up.sh --dev
	@$(BIN)/python -m wattline.reference

bench-codec bench-streams bench-stalls bench-lake bench-simulate bench-pipeline: bench-%: ## Measure one part; a JSON line a figure; bench-pipeline ARGS="--scale 35MW"
	@scripts/set-up.sh --dev
	@$(BIN)/python -m benchmarks.$*.run $(ARGS)

bench-peers: ## Measure Kafka Streams (needs javac) and Faust with one reading a message
	@scripts/set-up.sh --dev
	@$(BIN)/python -m benchmarks.peers.run $(ARGS)

bench-compact: ## Compact a whole campus hour, 223 M rows, which takes ten minutes to make; ARGS="--flushes 36" is a tenth
	@scripts/set-up.sh --dev
	@$(BIN)/python -m benchmarks.lake.compact_hour $(ARGS)

bench-evaluate: ## Measure the evaluator at campus load
	@scripts/set-up.sh --dev
	@$(BIN)/python -m benchmarks.streams.evaluate $(ARGS)

soak-alerts: ## Kill the evaluator for four minutes; the alert log must be that of an undisturbed run
	@scripts/set-up.sh --dev
	@$(BIN)/pytest -m soak tests/streams/test_evaluate_kafka.py $(ARGS)

soak-streams: ## Kill workers and evaluator 200 times; windows must be those of the raw rows, alerts those of a quiet run
	@scripts/set-up.sh --dev
	@$(BIN)/pytest -m soak tests/streams/live_equals_lake $(ARGS)

soak-lake: ## Make the lake's writers, broker and disk fail for 20 minutes, go on from the last run; no row lost or doubled
	@scripts/set-up.sh --dev
	@$(BIN)/python -m tests.lake.soak.run $(ARGS)
