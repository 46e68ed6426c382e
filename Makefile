# The two commands a newcomer needs: `make run` and `make test`. README.md says what they do.

PYTHON ?= python3
VENV := .venv
IN := $(VENV)/bin/python

.PHONY: run test coverage lint bench

run: $(VENV)/run.stamp
	@$(IN) -m kinesis_admin.run

test: $(VENV)/dev.stamp
	@./scripts/system-packages.sh test
	@$(IN) -m tests $(TESTS)

coverage: export COVERAGE = 1
coverage: test

lint: $(VENV)/dev.stamp
	@./scripts/system-packages.sh lint
	@./scripts/lint.sh

bench: $(VENV)/dev.stamp
	@$(IN) -m bench

$(VENV)/run.stamp: requirements.txt
	@PYTHON="$(PYTHON)" ./scripts/packages.sh $(VENV) requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt
	@PYTHON="$(PYTHON)" ./scripts/packages.sh $(VENV) requirements-dev.txt
	@touch $(VENV)/run.stamp $@
