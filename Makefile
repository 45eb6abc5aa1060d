# Every target first sets up what it needs; a second run finds that done.
BIN := .venv/bin
STAMP := .venv/.complete
BUILD_FILES := requirements-dev.txt pyproject.toml setup.py scripts/setup.sh scripts/system.sh \
	$(wildcard otel_latency/*.h otel_latency/*.c otel_latency/*/*.c)

.PHONY: setup run test lint format bench fuzz parity chaos dashboards deploy-check lock clean help

setup: $(STAMP) ## make .venv with everything the project needs
$(STAMP): $(BUILD_FILES)
	@scripts/setup.sh
	@touch $@

run: $(STAMP) ## start the agent with a synthetic voice pipeline, and say where to look
	@exec $(BIN)/otel-latency demo

test: lint ## lint, then run all tests
	@scripts/e2e_programs.sh
	$(BIN)/python -m pytest

lint: $(STAMP) ## style, types and the direction of imports
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## put imports and layout in order
	$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format --quiet

bench: $(STAMP) ## compare with named references, in one run each; about ten minutes
	$(BIN)/python -m tests.bench

fuzz: $(STAMP) ## damaged requests for the compiled parts, under sanitizers
	@scripts/fuzz.sh

parity: $(STAMP) ## rules against promtool and crashes, the long tiers; about ten minutes
	$(BIN)/python -m tests.fuzz.promql 60000
	$(BIN)/python -m tests.fuzz.alert_states 2000
	$(BIN)/python -m tests.fuzz.notify_kill 200
	$(BIN)/python -m tests.fuzz.agent_kill 200

chaos: $(STAMP) ## kills, power cuts, full disks, clocks and outages, the long tiers; an hour, with nothing beside it
	$(BIN)/python -m tests.chaos.delivery_kill 200
	$(BIN)/python -m tests.chaos.delivery_power_cut 50
	$(BIN)/python -m tests.chaos.stop 50
	$(BIN)/python -m tests.chaos.disk_faults
	$(BIN)/python -m tests.chaos.corruption 200
	$(BIN)/python -m tests.chaos.corruption 4 --seed 845 --trusting
	$(BIN)/python -m tests.chaos.clock
	$(BIN)/python -m tests.chaos.forward_kill 200
	$(BIN)/python -m tests.chaos.upstream
	$(BIN)/python -m tests.chaos.outage

dashboards: $(STAMP) ## write the Grafana dashboards anew
	$(BIN)/python -m scripts.dashboards

deploy-check: $(STAMP) ## linters for the Dockerfile and deploy/, which are fetched
	@scripts/deploy_check.sh

lock: ## renew the locks: newest versions, hashes, no addresses
	@scripts/lock.sh

clean: ## remove everything that is not in the repository
	rm -rf .venv build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find otel_latency tests \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 12
