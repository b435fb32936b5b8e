# Every target sets up what it needs: `make train` and `make test` work on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
RUNS := runs/make-train

.PHONY: setup train test test-avx2 test-gpu test-vision coverage check format reference site package clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The main job: the digits at their reference minibatch and at 16 times it.
train: setup
	rm -rf $(RUNS)
	$(BIN)/bigbatch train digits --output $(RUNS)/digits-16
	$(BIN)/bigbatch train digits --minibatch-size 256 --output $(RUNS)/digits-256
	$(BIN)/bigbatch report $(RUNS)/digits-16 $(RUNS)/digits-256 --figure $(RUNS)/error-curves.png

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

coverage: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term

# The tests that compute; of the longest, those that lean most on the engine.
NUMERIC := gradient_noise layerwise memory_format models nonfinite norms optim step trainer weight_average
EXACT := any_number_of_processes_gives_the_same_bits the_size_of_the_buckets_and_overlap_do_not_matter
COMPUTING := $(EXACT:%=tests/test_exactness.py::test_%) $(NUMERIC:%=tests/test_%.py)

# They run on what an older CPU has: oneDNN's code for AVX2, and a heap that glibc watches. A write beyond a buffer ends
# them at once. glibc's checks are left out where they are not installed.
MALLOC_CHECKS := $(if $(shell ldconfig -p 2>/dev/null | grep libc_malloc_debug.so.0),LD_PRELOAD=libc_malloc_debug.so.0 MALLOC_CHECK_=3)
test-avx2: setup
	ONEDNN_MAX_CPU_ISA=AVX2 $(MALLOC_CHECKS) $(BIN)/python -m pytest -n 2 --dist worksteal $(COMPUTING)

# What needs torchvision, transformers and timm, in an environment of its own: torchvision does not load beside torch's
# build for CPUs. The tests that compute run there too, on that torch.
VISION := .venv-vision/bin
.venv-vision/ready: pyproject.toml constraints-vision.txt
	test -x $(VISION)/python || $(PYTHON) -m venv .venv-vision
	$(VISION)/python -m pip install --quiet --disable-pip-version-check -c constraints-vision.txt -e '.[vision]'
	touch $@

test-vision: .venv-vision/ready
	$(VISION)/python -m pytest -n 2 --dist worksteal tests/vision $(COMPUTING)

# What needs a GPU; that environment's torch is a build for them. Without one, each test says "not run: no GPU".
test-gpu: .venv-vision/ready
	$(VISION)/python -m pytest -m gpu

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The fields of a recipe in docs/recipe.md, from the docstrings of its dataclasses.
reference: setup
	$(BIN)/python docs/recipe_reference.py

# The site, in an environment of its own; a link that leads nowhere fails.
SITE := .venv-site/bin
.venv-site/ready: pyproject.toml
	test -x $(SITE)/python || $(PYTHON) -m venv .venv-site
	$(SITE)/python -m pip install --quiet --disable-pip-version-check "mkdocs-material>=9.6" "mkdocstrings[python]>=0.29"
	touch $@

site: .venv-site/ready
	NO_MKDOCS_2_WARNING=1 $(SITE)/mkdocs build --strict --quiet

# A wheel and an sdist; both are tried in an empty environment, on the digits.
package:
	rm -rf dist .venv-package
	$(PYTHON) -m venv .venv-package
	.venv-package/bin/python -m pip install --quiet --disable-pip-version-check build twine
	.venv-package/bin/python -m build --outdir dist .
	.venv-package/bin/twine check --strict dist/*
	for file in dist/*; do benchmarks/try_package $$file || exit 1; done
	rm -rf .venv-package

clean:
	rm -rf .venv .venv-package .venv-site .venv-vision site runs dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
