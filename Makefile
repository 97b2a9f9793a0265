# Everything runs in .venv, which the first target that needs it creates. Paths are relative throughout, because the
# path of the clone may hold spaces. What gets installed is said in setup.cfg alone.

PYTHON ?= python3
BIN := .venv/bin
EXAMPLES := $(wildcard examples/*/pyproject.toml)
METADATA := setup.cfg pyproject.toml $(wildcard examples/*/setup.cfg) $(EXAMPLES)

# Every Debian package whose programs the tests call; tests/conftest.py names the programs.
DEBIAN_PACKAGES := bind9-dnsutils curl dante-client dante-server dnsmasq-base freeradius gcc gnutls-bin haproxy \
    iproute2 lftp microsocks mingw-w64-tools mount ncat nftables nginx openssh-client openssh-server openssl postgresql \
    procps python3-venv slapd socat squid swaks systemd tcpdump tinyproxy-bin tor util-linux vsftpd wget

.DEFAULT_GOAL := help
FUZZ_TARGETS := socks4 socks5 http_connect http_request http_response proxy_header socks5_answer \
    http_connect_answer socks5_datagram client_hello smtp_dialogue ftp_dialogue dns_message radius_answer
FUZZ_SECONDS ?= 30
# Four runs side by side, because two cores have to be busy until the end. Those that start the service and other programs
# are not measured: coverage is that of the parts' tests, and to measure it costs half as much processor time again. A new
# file or folder of tests that is named nowhere here is in the last run.
SCRIPTS := tests/test_benchmarks.py tests/test_fuzz.py tests/test_makefile.py tests/test_packaging.py
WHOLE_1 := $(wildcard tests/integration/test_[a-o]*.py) tests/test_paths.py $(SCRIPTS)
WHOLE_2 := $(wildcard tests/integration/test_[p-z]*.py) tests/test_paths.py
PARTS_1 := tests/fwx
PARTS_2 := tests $(addprefix --ignore=,tests/integration tests/test_paths.py $(SCRIPTS) $(PARTS_1))

.PHONY: help demo test lint docs bench paths fuzz clean venv debian-deps
.NOTPARALLEL:

help: ## Print this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

demo: .venv/.demo ## Set up, then send real traffic through a service with filters.
	$(BIN)/fwx demo

test: .venv/.test ## Run the tests, with a coverage floor for those of the parts; builds, installs and runs the wheel too.
	$(BIN)/python -m coverage erase
	result=0; \
	$(BIN)/python -m pytest $(WHOLE_1) >.venv/whole-1.log 2>&1 & whole_1=$$!; \
	$(BIN)/python -m pytest $(WHOLE_2) >.venv/whole-2.log 2>&1 & whole_2=$$!; \
	$(BIN)/python -m coverage run -m pytest $(PARTS_1) >.venv/parts-1.log 2>&1 & parts_1=$$!; \
	$(BIN)/python -m coverage run -m pytest $(PARTS_2) || result=$$?; \
	for run in $$whole_1 $$whole_2 $$parts_1; do wait $$run || result=$$?; done; \
	cat .venv/parts-1.log .venv/whole-1.log .venv/whole-2.log; exit $$result
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: .venv/.lint ## Check style, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

docs: .venv/.docs ## Build the documentation into docs/_build/html, and run its examples.
	$(BIN)/python -m sphinx -n -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python -m sphinx -n -W --keep-going -q -b doctest docs docs/_build/doctest

bench: .venv/.demo ## Run the benchmarks.
	set -e; for script in benchmarks/*.py; do $(BIN)/python "$$script" --quick; done

paths: .venv/.test ## Run the tests of ways through the service; list those that pass in docs/paths.csv.
	$(BIN)/python -m pytest -q -m path --write-paths

fuzz: .venv/.fuzz ## Fuzz each parser, half a minute each, or FUZZ_SECONDS.
	set -e; for target in $(FUZZ_TARGETS); do \
	    $(BIN)/python fuzz/run.py $$target -max_total_time=$(FUZZ_SECONDS) -timeout=10; done

clean: ## Remove .venv and everything that was built.
	rm -rf .venv build dist docs/_build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	    .import_linter_cache *.egg-info examples/*/build examples/*/*.egg-info
	find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

venv: .venv/.created ## Create the empty environment .venv.

.venv/.created:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'fwx needs Python 3.11 or newer as "$(PYTHON)": install the Debian package python3, or name another' \
	        'interpreter: make PYTHON=/path/to/python' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo '"$(PYTHON)" cannot create a virtual environment: install the Debian package python3-venv' \
	        '(apt-get install python3-venv)' >&2; exit 1; }
	rm -rf .venv
	"$(PYTHON)" -m venv .venv
	@touch $@

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.venv/.demo: .venv/.created $(METADATA)
	$(INSTALL) -e . $(addprefix -e ./,$(dir $(EXAMPLES)))
	@touch $@

.venv/.test: .venv/.created $(METADATA)
	$(INSTALL) -e '.[test]' $(addprefix -e ./,$(dir $(EXAMPLES)))
	@touch $@

.venv/.fuzz: .venv/.created $(METADATA)
	$(INSTALL) -e '.[fuzz]'
	@touch $@

# The types of pytest are needed to check fwx.testing's plugin.
.venv/.lint: .venv/.created $(METADATA)
	$(INSTALL) -e '.[lint,test]'
	@touch $@

.venv/.docs: .venv/.created $(METADATA)
	$(INSTALL) -e '.[docs]'
	@touch $@

# The policy-rc.d file keeps the packages' daemons from being started; one that is there already is left alone.
debian-deps: ## As root: install the Debian programs that the tests call.
	@missing=; for package in $(DEBIAN_PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed \
	        || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then echo 'debian-deps: all there'; exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "debian-deps: as root, install:$$missing" >&2; exit 1; fi; \
	set -e; policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
	    trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
	    printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -q update; apt-get -q install --yes --no-install-recommends $$missing
