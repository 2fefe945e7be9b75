# Everything runs in .venv, which the first command makes. Try `make help`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv tour test lab bench figures notebooks site lite explainer lint clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# A .venv that a Ctrl-C left without pip, or that an older Python made, is made again.
define VENV
	@$(BIN)/python -c "$(NEW_ENOUGH)" 2> /dev/null && $(BIN)/python -m pip show --quiet pip > /dev/null 2>&1 || { \
	$(PYTHON) -c "$(NEW_ENOUGH)" || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }; \
	$(PYTHON) -m venv --clear .venv; }
endef
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

venv:
	$(VENV)

# TORCH=none leaves PyTorch out, cpu and cuda choose its build: see install.py.
TORCH ?= auto
INSTALL = @$(BIN)/python install.py --torch $(TORCH)
WITH_TORCH := $(if $(filter none,$(TORCH)),,.venv/.torch-$(TORCH))

.venv/.run: requirements.txt pyproject.toml
	$(VENV)
	$(INSTALL) say $(MAKECMDGOALS)
	$(INSTALL) run
	@touch $@

.venv/.torch-%: .venv/.run requirements-torch.txt
	$(INSTALL) say $(MAKECMDGOALS)
	$(INSTALL) torch
	@rm -f .venv/.torch-*; touch $@

.venv/.lab: .venv/.run $(WITH_TORCH) requirements-lab.txt
	$(INSTALL) lab
	@touch $@

.venv/.dev: .venv/.lab requirements-dev.txt
	$(INSTALL) dev
	@touch $@

.venv/.docs: requirements-docs.txt
	@echo "Setting up what the site needs"
	$(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

.venv/.lite: requirements-lite.txt
	@echo "Setting up what the chapters in the page need"
	$(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-lite.txt
	@touch $@

# PRETRAINED=1 takes Swin-T's published weights, from the Hugging Face hub; PRETRAINED=NAME those of another model.
TOUR_WEIGHTS := $(if $(PRETRAINED),--pretrained $(filter-out 1,$(PRETRAINED)))

tour: .venv/.run $(WITH_TORCH)  ## a photograph through Swin-T twice, NumPy and PyTorch, with every difference measured
	@$(BIN)/python -m $(if $(WITH_TORCH),swin_torch.tour,swin_numpy figures/photos/chelsea.jpg) $(TOUR_WEIGHTS)

# Two processes on two cores, at most four; the tests of a file stay together, since they share what they set up.
test: .venv/.dev  ## all tests, notebooks included
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lab: .venv/.lab  ## JupyterLab on the first chapter; LANGUAGE=zh: in Chinese
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --config=notebooks/lab/jupyter_lab_config.py

bench: .venv/.dev  ## time and memory of both twins, as ratios; DEVICE=cuda: on a GPU, in 8 minutes
	$(BIN)/python -m tests.benchmarks $(if $(DEVICE),--device $(DEVICE))

figures: .venv/.run $(WITH_TORCH)  ## draw figures/gallery again, and fill in the README
	$(BIN)/python -m figures
	$(BIN)/python docs/readme.py

notebooks: .venv/.dev  ## execute notebooks/source into notebooks/*.ipynb; LANGUAGE=zh: write notebooks/zh
	$(BIN)/python -m $(if $(filter zh,$(LANGUAGE)),docs.chinese write,notebooks.build)

site: .venv/.docs  ## build the web site, docs/build/html
	$(BIN)/python docs/make_site.py

lite: .venv/.lite  ## chapters that run in a browser, docs/build/lite; PYODIDE=FOLDER makes them need no network
	$(BIN)/python -m docs.lite.build $(if $(PYODIDE),--pyodide $(PYODIDE))

explainer: .venv/.run $(WITH_TORCH)  ## the page docs/build/explainer.html, on which Swin can be touched
	$(BIN)/python docs/explainer/build.py

lint: .venv/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:  ## remove .venv and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
