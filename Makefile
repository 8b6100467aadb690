# SPDX-License-Identifier: MIT
#
# A short way to the usual Meson commands; `make help` lists the targets.

MESON   ?= meson
NINJA   ?= ninja
BUILD   ?= build
DEBUG   ?= build-debug
PREFIX  ?= /usr/local
DESTDIR ?=
ARGS    ?=
TRACES  ?= $(wildcard tests/data/*.strace.xz)

# Ninja runs the jobs in parallel; the targets here are steps, in their order.
.NOTPARALLEL:
.PHONY: all debug deps run check bench torture install clean help

all: $(BUILD)/build.ninja
	@$(NINJA) -C $(BUILD)

debug: $(DEBUG)/build.ninja
	@$(NINJA) -C $(DEBUG)

$(BUILD)/build.ninja:
	@$(MESON) setup $(BUILD)

$(DEBUG)/build.ninja:
	@$(MESON) setup -Ddebug_checks=true $(DEBUG)

deps:
	@scripts/install-packages.sh

run: deps all
	$(BUILD)/stage2 replay --vcpus 2 $(ARGS) $(TRACES)

# The summary decides: it counts each test case, and a build without a log as a failure.
check: deps
	@rm -f $(BUILD)/meson-logs/testlog.json $(DEBUG)/meson-logs/testlog.json
	@$(MAKE) --no-print-directory all debug
	@$(MESON) test -C $(BUILD) --no-rebuild --no-stdsplit --print-errorlogs || true
	@$(MESON) test -C $(DEBUG) --no-rebuild --no-stdsplit --print-errorlogs || true
	@python3 scripts/test-summary.py $(BUILD) $(DEBUG)

bench: all
	for b in gate access fault slots; do $(BUILD)/stage2 bench $$b $(ARGS) || exit; done

torture: all
	$(BUILD)/stage2 torture $(ARGS)

install: all
	@$(MESON) configure $(BUILD) -Dprefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD)
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" -eq 0 ]; then ldconfig; fi

clean:
	rm -rf $(BUILD) $(DEBUG)

help:
	@echo 'make            build the library and the program stage2, in $(BUILD)/'
	@echo 'make run        replay the sample recordings through the four gates, with live vCPUs'
	@echo 'make check      run every test, with and without debug_checks'
	@echo 'make bench      measure the gates, guest accesses, faults and memslot updates'
	@echo 'make torture    run the torture test; ARGS="--gate range --seconds 60" for its options'
	@echo 'make deps       install the packages that packages.txt names, or say which are missing'
	@echo 'make install    install to PREFIX ($(PREFIX)), under DESTDIR if that is set'
	@echo 'make clean      remove $(BUILD)/ and $(DEBUG)/'
