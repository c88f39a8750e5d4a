# The demo: drawn images, a small training, captions. Nothing but the Python packages is fetched.
DEMO_TRAIN ?= 1200
DEMO_VALID ?= 150
DEMO_TEST ?= 150
DEMO_SEED ?= 1
DEMO_CAPTIONS ?= 4
LARGE_TRAIN ?= 6000
LARGE_VALID ?= 500
LARGE_TEST ?= 500
LARGE_SEED ?= 2
TEST_WORKERS ?= 2
OUT ?= runs/study
# CUDA's libraries, where NVIDIA's driver answers: 2 GB more to download. `make venv CUDA_EXTRA=` leaves them out.
CUDA_EXTRA ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo ,gpu)

VENV := .venv
PYTHON_HERE := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs-installed
AUDIT := build/audit
PHANTOMS := runs/phantoms
PHANTOMS_DRAWN := runs/.phantoms-$(DEMO_TRAIN)-$(DEMO_VALID)-$(DEMO_TEST)-$(DEMO_SEED)
DEMO := runs/demo
LARGE_PHANTOMS := runs/phantoms_large
LARGE_DRAWN := runs/.large_phantoms-$(LARGE_TRAIN)-$(LARGE_VALID)-$(LARGE_TEST)-$(LARGE_SEED)
LARGE := runs/large
.DEFAULT_GOAL := help
.PHONY: help venv demo large test quick lint check docs audit-deps results clean
.DELETE_ON_ERROR:

help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## .venv with all that the package needs, pinned; with CUDA where an NVIDIA card answers

demo: $(INSTALLED) $(PHANTOMS_DRAWN) ## draw a data set, train on it, caption some test images; again: resumes
	$(PYTHON_HERE) train.py --data $(PHANTOMS) --out $(DEMO) --config assets/demo.json \
		$(if $(wildcard $(DEMO)/config.json),--resume)
	$(PYTHON_HERE) -m medcap_tf caption $(DEMO) $$(ls -d $(PHANTOMS)/test/images/* | head -n $(DEMO_CAPTIONS))
	@echo
	@echo "The run is in $(DEMO)/: scores.json, predictions.csv and history.csv are for reading."
	@echo "The images are in $(PHANTOMS)/. Try: $(PYTHON_HERE) -m medcap_tf --help"

large: $(INSTALLED) $(LARGE_DRAWN) ## the same on five times as many images (an hour), then what its explanations are worth
	$(PYTHON_HERE) train.py --data $(LARGE_PHANTOMS) --out $(LARGE) --config assets/phantoms_large.json \
		$(if $(wildcard $(LARGE)/config.json),--resume)
	$(PYTHON_HERE) -m medcap_tf audit $(LARGE) --data $(LARGE_PHANTOMS)

test: $(INSTALLED) ## every test; those that need a graphics processor skip by themselves
	$(PYTHON_HERE) -m pytest -n $(TEST_WORKERS) --dist worksteal

quick: $(INSTALLED) ## the tests without the slow ones
	$(PYTHON_HERE) -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not slow"

lint: $(INSTALLED) ## format, lint, types
	$(PYTHON_HERE) -m ruff format --check .
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m mypy medcap_tf train.py export.py

check: lint test ## format, lint, types, then every test

docs: $(DOCS_INSTALLED) ## the pages and the API reference, in build/docs; a warning is an error
	$(PYTHON_HERE) -m sphinx --fail-on-warning --keep-going --quiet --fresh-env \
		--doctree-dir build/doctrees --builder html docs build/docs
	@echo "build/docs/index.html"

# Strict: else a package that could not be looked up counts as sound. pip-audit stays out of .venv.
audit-deps: $(INSTALLED) ## known vulnerabilities of the pinned packages, by pip-audit (needs its service)
	$(PYTHON_HERE) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --no-input pip-audit
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

results: $(INSTALLED) ## compare captioners on a data set: make results DATA=DIR [OUT=runs/study]; resumes (hours)
	@test -n "$(DATA)" || { echo "make results DATA=DIR: DIR is a data set with train, valid and test"; exit 2; }
	$(PYTHON_HERE) benchmarks/quality.py --data $(DATA) --out $(OUT) \
		$(if $(TORCH_PYTHON),--torch-python $(TORCH_PYTHON))

clean: ## remove what make has made: .venv, the demo's run and images, caches; other runs stay
	rm -rf $(VENV) $(PHANTOMS) runs/.phantoms-* $(DEMO) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that an interruption left without pip is made anew.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@if ! $(PYTHON_HERE) -m pip --version >/dev/null 2>&1; then \
		python=$$(sh .ci/find-python) || exit 1; \
		echo "Making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	$(PYTHON_HERE) -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[dev$(CUDA_EXTRA)]'
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(PYTHON_HERE) -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[docs]'
	@touch $@

# The stamp is named after the numbers: other numbers draw the images anew.
$(PHANTOMS_DRAWN): | $(INSTALLED)
	rm -rf $(PHANTOMS) runs/.phantoms-*
	$(PYTHON_HERE) -m medcap_tf phantoms $(PHANTOMS) --train $(DEMO_TRAIN) --valid $(DEMO_VALID) --test $(DEMO_TEST) \
		--seed $(DEMO_SEED)
	@touch $@

$(LARGE_DRAWN): | $(INSTALLED)
	rm -rf $(LARGE_PHANTOMS) runs/.large_phantoms-*
	$(PYTHON_HERE) -m medcap_tf phantoms $(LARGE_PHANTOMS) --train $(LARGE_TRAIN) --valid $(LARGE_VALID) \
		--test $(LARGE_TEST) --seed $(LARGE_SEED)
	@touch $@
