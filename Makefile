# Each target sets up .venv by itself when it is missing or when the requirements changed.
PYTHON ?= python3
BIN := .venv/bin
REQUIREMENTS := settings.ini setup.py constraints.txt
# where Python may not keep what it compiled, each process compiles every library again: a day takes twice as long
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lab mutants picture soak bench notebooks readme

run: .venv/installed
	@$(BIN)/otsport run trading_day $(ARGS)

test: .venv/installed-dev
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lab: .venv/installed-dev
	@$(BIN)/otsport lab

mutants: .venv/installed-dev
	@$(BIN)/python tests/mutants.py --part 1/2 $(ARGS) & $(BIN)/python tests/mutants.py --part 2/2 $(ARGS); r=$$?; wait $$! && exit $$r

picture: .venv/installed-dev
	@$(BIN)/python tests/picture.py $(ARGS)

soak: .venv/installed-dev
	@$(BIN)/python -m pytest -m soak -v $(ARGS)

bench: .venv/installed-dev
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev,bench]'
	@$(BIN)/otsport bench --json bench/results.json
	@$(BIN)/python bench/readme.py
	@$(MAKE) -s readme

notebooks: .venv/installed-dev
	@$(BIN)/nbdev-export && $(BIN)/nbdev-clean && $(BIN)/nbdev-test --n-workers 2 --skip-folder-re howto
	@$(BIN)/jupyter nbconvert --log-level WARN --ClearOutputPreprocessor.enabled=True --to notebook nbs/howto/first_hour.ipynb --output-dir otsport/app/sample

readme: .venv/installed-dev
	@$(BIN)/jupyter nbconvert --log-level WARN --to markdown nbs/index.ipynb --output-dir . --output README --TemplateExporter.exclude_output=True --ExtractOutputPreprocessor.enabled=False
	@sed -i 's#](images/#](nbs/images/#g; s#src="images/#src="nbs/images/#g' README.md

.venv/bin/uv: constraints.txt
	@echo "Setting up .venv (once, about half a minute) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	@touch $@

.venv/installed: .venv/bin/uv $(REQUIREMENTS)
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[ib]'
	@touch $@

.venv/installed-dev: .venv/bin/uv $(REQUIREMENTS)
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@ .venv/installed
