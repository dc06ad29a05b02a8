# make help lists the targets. The only requirement is Python 3.11 to 3.13; `make PYTHON=/path/to/python3` picks one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PORT ?= 8000
BUNDLE ?= artifacts/default
BENCH ?= --output benchmarks/results
# Processes that run tests. Most of their time is waiting for servers, so two on two cores are not too many; each starts
# servers of its own, of some 400 MB.
WORKERS ?= 2
# The first suitable interpreter on PATH. A command that starts but is too old or too new is passed over.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo "$$candidate"; break; }; done)

SECONDS ?= 600
MINUTES ?= 30

# OpenMP's threads otherwise spin while they wait, and on few cores two processes that do so starve each other: an
# evaluation beside a test run was measured ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ := build/fuzz-env/bin
FUZZ_STAMP := build/fuzz-env/.installed

.PHONY: help serve test test-slow lint bench day page soak fuzz nightly audit licences sbom pin-images lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

serve: $(STAMP) ## serve BUNDLE (artifacts/default) on PORT (8000)
	$(BIN)/cxr-gate serve --bundle $(BUNDLE) --port $(PORT)

test: lint ## run every check and test
	scripts/debian-packages.sh
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

test-slow: $(STAMP) ## the long suites: a thousand requests in flat memory, twenty kills of the forwarder and the service
	$(BIN)/pytest -m slow

bench: $(STAMP) ## BUNDLE served by us and by other frameworks, in turns: benchmarks/results (BENCH=--quick for minutes)
	$(BIN)/python -m benchmarks.serving --bundle $(BUNDLE) $(BENCH)

day: $(STAMP) ## live through a day in half an hour, with Prometheus and the shared films: reports/day, docs/day.md
	$(BIN)/python -m benchmarks.day --bundle $(BUNDLE)

soak: $(STAMP) ## load for MINUTES (30), then 100,000 requests with a network that costs nothing: build/soak
	$(BIN)/python -m benchmarks.soak --bundle $(BUNDLE) --minutes $(MINUTES) --output build/soak/minutes.json
	$(BIN)/python -m benchmarks.soak --bundle $(BUNDLE) --requests 100000 --output build/soak/requests.json

fuzz: $(FUZZ_STAMP) ## fuzz decoders, multipart and connections for SECONDS (600) each; build/fuzz keeps corpus and findings
	$(FUZZ)/python -m tests.fuzz decode build/fuzz $(SECONDS)
	$(FUZZ)/python -m tests.fuzz multipart build/fuzz $(SECONDS)
	$(FUZZ)/python -m tests.fuzz connection build/fuzz $(SECONDS)

nightly: $(STAMP) ## what takes hours: test-slow, fuzz, soak, audit, one after the other; all run, and any failure is told at the end
	$(MAKE) --keep-going --jobs=1 test-slow fuzz soak audit

# The environments of these tools are their own, and are part of no other. Licences come first: they need no network.
audit: licences build/tools/.installed ## licences and known vulnerabilities of what is served (pip-audit asks PyPI; fails where it cannot)
	build/tools/bin/pip-audit --requirement requirements-serve.lock --require-hashes --disable-pip --strict \
		--progress-spinner off

licences: $(STAMP) ## whether all that is served may be served, by what is installed; asks no network
	$(BIN)/python -m scripts.licences

# Debian's packages are those of the image, so only a built one can tell them.
sbom: $(STAMP) ## list what is served, with BUNDLE, and with IMAGE=TAG the Debian packages of a built image: build/sbom.json (CycloneDX)
	@mkdir -p build
	$(if $(IMAGE),docker run --rm --network none --entrypoint dpkg-query $(IMAGE) \
		--show --showformat='$${Package}\t$${Version}\t$${Architecture}\n' > build/debian-packages.tsv)
	$(BIN)/python -m scripts.sbom --bundle $(BUNDLE) $(if $(IMAGE),--debian-packages build/debian-packages.tsv) \
		--output build/sbom.json

pin-images: $(STAMP) ## put the digest of each base image behind its tag, in the Dockerfiles and docker-compose.yml (needs docker and registries)
	$(BIN)/python -m scripts.pin_images

build/tools/.installed: requirements-tools.lock
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11, 3.12 or 3.13 on PATH" >&2; exit 1; }
	"$(PYTHON)" -m venv build/tools
	build/tools/bin/pip install --disable-pip-version-check --quiet --require-hashes -r requirements-tools.lock
	@touch $@

# Beside atheris it sees what $(VENV) holds.
$(FUZZ_STAMP): $(STAMP) requirements-fuzz.lock
	$(BIN)/python -m venv build/fuzz-env
	$(FUZZ)/pip install --disable-pip-version-check --quiet --only-binary :all: --require-hashes -r requirements-fuzz.lock
	realpath $(VENV)/lib/python3*/site-packages > "$$(echo build/fuzz-env/lib/python3*/site-packages)/base.pth"
	@touch $@
page: ## check web/, test it and build it anew into app/http/static/page, which is committed (needs Node 20 and npm)
	cd web && npm ci --no-fund --no-audit && npm run types && npm run check && npm run build

# No machine needs Node but one on which web/ is worked at: there `make page` has installed what its checks take.
lint: $(STAMP) ## check formatting, lint, prose, spelling and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m scripts.check_prose
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/mypy
	@if [ -d web/node_modules ]; then npm --prefix web run --silent check; \
	else echo "web/ is not checked: its tools are absent, and make page installs them"; fi

# An environment without the stamp, made by another hand, is installed into. The stamp comes last, so an installation
# that was cut short is taken up again.
$(STAMP): requirements.lock pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "No Python 3.11, 3.12 or 3.13 on PATH. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
			exit 1; \
		fi; \
		echo "Making $(VENV) with $(PYTHON)"; \
		"$(PYTHON)" -m venv $(VENV) || { \
			echo "python3 -m venv failed; on Debian and Ubuntu it needs the package python3-venv." >&2; \
			rm -rf $(VENV); exit 1; }; \
	fi
	@$(BIN)/python -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
		"$(VENV) has Python %d.%d, and Python 3.11 to 3.13 is needed: run make clean, then again" % v)'
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# The lock files are made anew at the newest versions allowed, but torch and torchvision stay where they are put here.
# uv has an environment of its own, with the other tools, and is part of no other.
TORCH_PINS := torch==2.12.0 torchvision==0.27.0
LOCK := build/tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-config --custom-compile-command 'make lock' --upgrade

lock: build/tools/.installed ## resolve all requirements*.lock anew
	printf '%s\n' $(TORCH_PINS) > build/tools/pins.txt
	printf '%s\n' pip-audit uv > build/tools/tools.in
	echo atheris > build/tools/fuzz.in
	$(LOCK) --no-annotate --output-file requirements-tools.lock build/tools/tools.in
	$(LOCK) --no-annotate --output-file requirements-fuzz.lock build/tools/fuzz.in
	$(LOCK) --no-annotate --constraints build/tools/pins.txt --extra offline --extra attacks --extra dev \
		--output-file requirements.lock pyproject.toml
	$(LOCK) --no-annotate --constraints requirements.lock --extra openvino --extra otel --extra postgresql \
		--output-file requirements-serve.lock pyproject.toml

clean: ## remove the environment, build products and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find app offline tests -type d -name __pycache__ -prune -exec rm -rf {} +
