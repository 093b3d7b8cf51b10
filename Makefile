# Everything here sets up what it needs, on a machine with Python (3.11 or newer, with venv), make
# and git. What is set up already is left alone.

PYTHON ?= python3
DEV = .venv/dev/bin/python

.PHONY: help demo test test-fast test-installed fuzz mutants pictures bench serve format copies \
  lock clean

help:
	@echo "make demo       the workflows at work on images, in a real Galaxy"
	@echo "make test       everything that is tested"
	@echo "make test-fast  all of it that needs no Galaxy"
	@echo "make test-installed  publish to a local Tool Shed, install from there, and test what was"
	@echo "                installed, with every job on a local remote job server"
	@echo "make fuzz       the tests with made-up examples, others in every run and many more of them"
	@echo "make mutants    change the code in small ways, and see that the tests notice; some minutes"
	@echo "make pictures   take the pictures in the documentation anew"
	@echo "make bench      how fast the tools are beside their peers; an hour or two, on a quiet machine"
	@echo "                (PART=sums, pixels, panels, trail, similarity, verify or workflows for one)"
	@echo "make serve      a local Galaxy with the tools, to try the forms (PORT=8080)"
	@echo "make format     format Python and XML"
	@echo "make copies     copy the shared modules to the other tools"
	@echo "make lock       pin the versions of all requirements anew"
	@echo "make clean      remove what was set up and made"

demo: .set-up-galaxy
	$(DEV) -m dev.demo

test: .set-up-galaxy
	$(DEV) -m pytest

test-fast: .set-up
	$(DEV) -m pytest -m "not galaxy"

test-installed: .set-up-galaxy
	$(DEV) -m pytest tests/test_installed.py

fuzz: .set-up
	ISCC_FUZZ=1 $(DEV) -m pytest -m "(hypothesis or explores) and not galaxy" --timeout 3600

mutants: .set-up
	$(DEV) -m dev.mutants

# The browser test looks at them, too, and fails as long as they are old.
pictures: .set-up-galaxy
	rm -rf screenshots
	-$(DEV) -m pytest tests/test_browser.py -k tutorial
	cp "screenshots/form of ISCC similarity.png" docs/images/form.png
	cp "screenshots/heat map.png" docs/images/heat-map.png
	cp "screenshots/sheet of figure.png" docs/images/sheet-of-figure.png

bench: $(if $(filter sums pixels panels trail similarity verify,$(PART)),.set-up,.set-up-galaxy)
	$(DEV) -m benchmarks.run $(PART)

serve: .set-up-galaxy
	$(DEV) -m dev.local_galaxy $(if $(PORT),--port $(PORT))

format: .set-up
	$(DEV) -m ruff check --fix .
	$(DEV) -m ruff format .
	.venv/dev/bin/planemo format --recursive tools

copies:
	for module in codes coding command folders inputs manifest messages outputs startup workers; do \
	  cp tools/iscc_sum/$$module.py tools/iscc_similarity/ && \
	  cp tools/iscc_sum/$$module.py tools/iscc_verify/ || exit 1; \
	done
	cp tools/iscc_sum/fonts.py tools/iscc_similarity/
	cp tools/iscc_similarity/columns.py tools/iscc_similarity/lists.py tools/iscc_verify/

lock: .set-up
	for part in dev galaxy pulsar tools; do \
	  $(DEV) -m uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
	    --upgrade dev/requirements/$$part.in --output-file dev/requirements/$$part.txt || exit 1; \
	done

clean:
	rm -rf .venv demo-results logs screenshots .pytest_cache .hypothesis .ruff_cache

.PHONY: .set-up .set-up-galaxy

.set-up:
	@$(PYTHON) -m dev.environments dev

.set-up-galaxy:
	@$(PYTHON) -m dev.environments dev packages galaxy pulsar
