# Everything a person or the CI runs. Each target sets up what it needs; nothing else has to be there
# but Python >= 3.11 and a C/C++ compiler.

PYTHON ?= python3
PORT   ?= 8080
BIN    := .venv/bin
CODE   := src tests scripts engine
ENGINE := $(shell find engine -type f -not -path "engine/build/*" -not -path "engine/tests/*" -not -name "*.pyc")

.DEFAULT_GOAL := help
.PHONY: help setup serve test torture check format docs bench clients engine wheels lock clean

help:     ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready  ## make .venv and install edgechat, the engine compiled for this processor

.venv/.ready: pyproject.toml constraints.txt scripts/setup.py scripts/engine.py $(ENGINE)
	@$(PYTHON) scripts/setup.py

.venv/.ready-dev: .venv/.ready
	@$(PYTHON) scripts/setup.py --dev

serve: .venv/.ready  ## serve a model and the chat page (PORT=8080, ARGS="--model …")
	@exec $(BIN)/edgechat serve --port $(PORT) $(ARGS)

test: .venv/.ready-dev  ## all tests that take seconds, the real model and the browser included
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -p xdist -n 2 -p tests.turns $(ARGS) || \
	{ [ $$? = 1 ] && PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS); }

torture: .venv/.ready-dev  ## the long counts: hundreds of kills and disconnects
	EDGECHAT_TORTURE=1 $(BIN)/python -m pytest $(ARGS)
	$(BIN)/python scripts/sanitize.py

check: .venv/.ready-dev  ## format, lint, types, generated docs
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/python scripts/docs.py --check

format: .venv/.ready-dev  ## put the code into the house's format
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

docs: .venv/.ready-dev  ## write the generated pages in docs/
	$(BIN)/python scripts/docs.py

bench: .venv/.ready-dev  ## measure start-up (more probes come with `edgechat bench`)
	$(BIN)/python scripts/bench_startup.py $(ARGS)

clients: .venv/.ready  ## real client packages against a server, each installed apart (ARGS="--model … openai claude")
	$(BIN)/python scripts/clients.py $(ARGS)

engine:   ## compile what changed in engine/, for this processor, and install it
	@$(PYTHON) scripts/setup.py

wheels: .venv/.ready  ## dist/: the engine for every processor of this kind, and edgechat
	@rm -rf dist && mkdir dist
	@cp "$$($(PYTHON) scripts/engine.py portable)" dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist

lock:     ## pin the versions that .venv has now
	$(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(pip|setuptools|wheel)=| @ ' > constraints.txt

clean:    ## remove .venv and object files; compiled engines stay in the user's cache
	rm -rf .venv engine/build
