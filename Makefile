# The two commands to begin with: `make demo` and `make test`. `make help` shows all.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export SAM_CLI_TELEMETRY := 0
export ARTILLERY_DISABLE_TELEMETRY := true
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
# A person's words: through the environment, so that no shell reads them as its own.
export REASON ID QUEUE RATE ONLY_REASON MAXIMUM RULE FROM TO ORDER MODE
# The functions' interpreter comes first on PATH, so that `sam build` finds it wherever it was installed.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

FUNCTIONS := $(notdir $(wildcard functions/*))
STACK ?= event-hub
TOOLS := .venv/.installed
EMULATOR := .venv-emulator/.installed
ARTILLERY := loadtest/node_modules/.installed
BROWSER := tests/browser/node_modules/.installed

##@ Begin here

demo: $(TOOLS) $(EMULATOR) $(ARTILLERY) ## Set up, deploy both variants on this machine, send both the same load, compare
	python -m loadtest demo

# The files that take minutes come first, so that the short ones fill the workers' last minute.
test: $(TOOLS) $(EMULATOR) $(ARTILLERY) $(BROWSER) ## Set up and run every test (minutes)
	pytest tests/unit tests/template -n 2 --cov --cov-report=term
	pytest tests/integration tests/conformance tests/runtime tests/browser -n 3 --dist loadfile --no-loadscope-reorder

##@ Develop

setup: $(TOOLS) $(EMULATOR) $(ARTILLERY) $(BROWSER) ## Install everything into this folder, and nothing elsewhere

test-unit: $(TOOLS) ## Run the unit tests only (2 minutes)
	pytest tests/unit -n 2

lint: $(TOOLS) ## Check code, types and template
	ruff check .
	ruff format --check .
	mypy --package hub
	for name in $(FUNCTIONS); do MYPYPATH=layers/hub:functions/$$name mypy functions/$$name; done
	mypy local loadtest tests/runtime
	cfn-lint
	python -m tests.template.lint_state_machines
	sam validate --lint
	sam validate --region eu-west-1

format: $(TOOLS) ## Format the code
	ruff check --fix .
	ruff format .

build: $(TOOLS) ## Package the stack as it goes to AWS
	sam build

invoke: $(TOOLS) ## Run one function on its sample event: make invoke FUNCTION=delivery [EVENT=file]
	@test -n "$(FUNCTION)" || { echo "Say which: make invoke FUNCTION=<$(subst $() ,|,$(FUNCTIONS))>"; exit 2; }
	python -m tests.runtime invoke $(FUNCTION) $(if $(EVENT),--event $(EVENT))

##@ Run on this machine

up: $(TOOLS) $(EMULATOR) ## Start the emulator and deploy: make up [VARIANT=flow-control|no-flow-control|both]
	python -m local up --variant $(or $(VARIANT),flow-control)

down: $(TOOLS) ## Stop what make up started, and nothing else
	python -m local down

status: $(TOOLS) ## Show what is running
	python -m local status

logs: $(TOOLS) ## Show the last logs of the emulator and of the functions: make logs [MINUTES=5]
	python -m local logs --minutes $(or $(MINUTES),5)

courier: $(TOOLS) ## Switch the simulated courier: make courier MODE=outage|refuse|slow|…|healthy
	@python -m local courier "$$MODE"

bench: $(TOOLS) $(EMULATOR) $(ARTILLERY) ## Measure delivery at the courier's limit, and cold starts
	python -m loadtest bench

outage: $(TOOLS) $(EMULATOR) $(ARTILLERY) ## Measure how the circuit breaker gets through an outage of 90 s
	python -m loadtest outage

##@ The twin: both variants in virtual time, in seconds

twin: $(TOOLS) ## Simulate, size or calibrate: make twin ARGS='run --variant no-flow-control' (docs/sizing.md)
	python -m loadtest.twin $(or $(ARGS),--help)

compare: $(TOOLS) ## Run three builds over the published load in virtual time: loadtest/out/compare.html (15 s)
	python -m loadtest.twin.report

##@ Orders (on AWS, or on this machine with AWS_ENDPOINT_URL)

story: $(TOOLS) ## Tell what became of an order: make story ID=<correlation id or order id> [STACK=event-hub] [SINCE=24h]
	@test -n "$$ID" || { echo 'Say which: make story ID=<correlation id or order id>'; exit 2; }
	@python -m local.story "$$ID" --stack $(STACK) --since $(or $(SINCE),24h) $(if $(JSON),--json)

produce: $(TOOLS) ## Send orders politely: make produce [STACK=event-hub] [ORDERS=20] [RATE=5] [FILE=orders.jsonl]
	@python -m loadtest.producer $(FILE) --stack $(STACK) \
		--orders $(or $(ORDERS),20) --rate $(or $(RATE),5)

##@ The circuit breaker by hand (on AWS, or on this machine with AWS_ENDPOINT_URL)

circuit-status: $(TOOLS) ## Show the circuit: make circuit-status [STACK=event-hub]
	python -m local.circuit status --stack $(STACK)

circuit-open: $(TOOLS) ## Stop deliveries: make circuit-open REASON="why" [STACK=event-hub]
	$(by_hand)

circuit-probe: $(TOOLS) ## Try the courier now: make circuit-probe REASON="why" [STACK=event-hub]
	$(by_hand)

circuit-close: $(TOOLS) ## Let deliveries ramp up without a probe: make circuit-close REASON="why" [STACK=event-hub]
	$(by_hand)

define by_hand
@test -n "$$REASON" || { echo 'Say why: make $@ REASON="..."'; exit 2; }
python -m local.circuit $(@:circuit-%=%) --stack $(STACK) --reason "$$REASON"
endef

##@ Dead letters by hand (on AWS, or on this machine with AWS_ENDPOINT_URL)

dead-letters: $(TOOLS) ## Show every dead-letter queue, with reasons: make dead-letters [STACK=event-hub]
	python -m local.recovery letters --stack $(STACK)

redrive: $(TOOLS) ## Send letters again: make redrive QUEUE=delivery [RATE=5] [ONLY_REASON="text"] [MAXIMUM=10] [STACK=]
	@test -n "$$QUEUE" || { echo 'Say which: make $@ QUEUE=<a name that make dead-letters shows>'; exit 2; }
	python -m local.recovery redrive --stack $(STACK) --queue "$$QUEUE" --rate "$${RATE:-5}" \
		--only-reason "$$ONLY_REASON" $(if $(MAXIMUM),--maximum "$$MAXIMUM")

replay: $(TOOLS) ## Replay the archive to one consumer: make replay RULE=sales FROM=-2h TO=now [STACK=event-hub]
	@test -n "$$RULE" -a -n "$$FROM" -a -n "$$TO" || { \
		echo 'Say what: make $@ RULE=<sales|delivery> FROM=<2026-11-21T09:00:00Z or -2h> TO=<the same, or now>'; exit 2; }
	python -m local.recovery replay --stack $(STACK) --rule="$$RULE" --from="$$FROM" --to="$$TO"

##@ The sales export (on AWS, or on this machine with AWS_ENDPOINT_URL)

export-replay: $(TOOLS) ## Show what the export gave up: make export-replay [REPLAY=yes] [ORDER=id] [STACK=event-hub]
	@python -m local.sales_export --stack $(STACK) \
		$(if $(ORDER),--order "$$ORDER") $(if $(filter yes,$(REPLAY)),--replay)

##@ Run on AWS

deploy: $(TOOLS) build ## Deploy with flow control, to the account and Region of your credentials
	sam deploy

deploy-no-flow-control: $(TOOLS) build ## Deploy the variant without flow control beside it
	sam deploy --config-env no-flow-control

loadtest: $(TOOLS) $(ARTILLERY) ## Load a deployed stack: make loadtest [STACK=event-hub] [PROFILE=published|short]
	python -m loadtest run --stack $(STACK) --profile $(or $(PROFILE),published)

##@ Look after the repository

lock: $(TOOLS) ## Resolve all dependencies anew, to their newest releases
	for set in uv dev emulator; do \
		uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python .venv/bin/python \
			requirements/$$set.in --output-file requirements/$$set.txt; done
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python .venv/bin/python \
		$(addprefix --no-emit-package ,botocore jmespath python-dateutil six) \
		layers/dependencies/requirements.in --output-file layers/dependencies/requirements.txt

clean: ## Remove what was installed and built here
	rm -rf .venv .venv-emulator .aws-sam .local loadtest/node_modules tests/browser/node_modules loadtest/out .coverage .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) } \
		/^[a-z -]+:.*## / { printf "  \033[36m%-24s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------------- installing

# Python 3.13 is the functions' runtime: from PATH (without the .venv that is about to be replaced), or from pyenv.
define find_python
$$(PATH="$${PATH#*:}"; if command -v python3.13 >/dev/null && python3.13 -c '' 2>/dev/null; then command -v python3.13; \
elif command -v pyenv >/dev/null; then \
version=$$(pyenv versions --bare | grep -E '^3\.13(\.|$$)' | tail -n 1); \
if [ -n "$$version" ]; then PYENV_VERSION=$$version pyenv which python3.13; fi; fi)
endef

.venv/bin/uv: requirements/uv.txt
	@python=$(find_python); \
	if [ -z "$$python" ]; then \
		echo "Python 3.13 is missing, the runtime of the functions. Install it, for example with" \
			"'pyenv install 3.13', 'brew install python@3.13' or 'apt install python3.13-venv', and try again."; exit 1; fi; \
	echo "Setting up with $$("$$python" --version)"; \
	"$$python" -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(TOOLS): .venv/bin/uv requirements/dev.txt
	@echo "Installing the tools (SAM CLI, linters, test tools)"
	@uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/dev.txt
	@touch $@

$(EMULATOR): $(TOOLS) requirements/emulator.txt
	@echo "Installing the AWS emulator"
	@uv venv --quiet --clear --python .venv/bin/python .venv-emulator
	@uv pip install --quiet --python .venv-emulator/bin/python --require-hashes -r requirements/emulator.txt
	@touch $@

$(ARTILLERY): loadtest/package-lock.json loadtest/package.json
	@command -v npm >/dev/null || { \
		echo "Node.js 20 or newer with npm is missing, which runs the load test. Install it and try again."; exit 1; }
	@echo "Installing artillery"
	@npm ci --prefix loadtest --no-audit --no-fund --loglevel=error
	@touch $@

$(BROWSER): tests/browser/package-lock.json tests/browser/package.json
	@command -v npm >/dev/null || { \
		echo "Node.js 20 or newer with npm is missing, which drives the browser of the tests. Install it and try again."; \
		exit 1; }
	@echo "Installing a headless browser for the tests"
	@npm ci --prefix tests/browser --no-audit --no-fund --loglevel=error
	@node tests/browser/chromium.mjs
	@touch $@

.PHONY: $(shell sed -nE 's/^([a-z-]+):.*\#\# .*/\1/p' $(MAKEFILE_LIST))
