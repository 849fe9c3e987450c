# `make demo` and `make test` are all a newcomer needs; both call `setup` by themselves.
PY := .venv/bin/python
# The tools that the sandbox has built come first, so that every machine tests with the same ones.
TOOLS = PATH="$$(dirname "$$(python3 -m sandbox tool kubectl)"):$$PATH"

.PHONY: setup demo test test-failed test-unit bench lint lock clean

setup: .venv/.installed
	@python3 -m sandbox build

.venv/.installed: requirements/dev.txt pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lock: ## refresh the pinned versions and their hashes from pyproject.toml
	.venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --upgrade pyproject.toml -o requirements/run.txt
	.venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --upgrade --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test-unit: setup
	$(TOOLS) $(PY) -m pytest -n 2 tests/unit

test: setup lint
	$(TOOLS) $(PY) -m pytest -n 3 --dist worksteal tests

test-failed: setup ## what failed last, one at a time
	$(TOOLS) $(PY) -m pytest --last-failed --last-failed-no-failures none tests

demo: setup
	$(PY) -m demo

bench: setup ## on a quiet machine
	$(PY) -m benchmarks

clean:
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
