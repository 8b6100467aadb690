# SPDX-License-Identifier: MIT
#
# A short way to the usual Meson commands; `make help` lists the targets.

MESON   ?= meson
NINJA   ?= ninja
BUILD   ?= build
DEBUG   ?= build-debug
ASAN    ?= build-asan
UBSAN   ?= build-ubsan
TSAN    ?= build-tsan
FUZZ    ?= build-fuzz
MUTANTS ?= build-mutants
PREFIX  ?= /usr/local
DESTDIR ?=
ARGS    ?=
TRACES  ?= $(wildcard tests/data/*.strace.xz)

# Ninja runs the jobs in parallel; the targets here are steps, in their order.
.NOTPARALLEL:
.PHONY: all debug asan deps run replay check check-sanitize mutants fuzz soak models bench instructions torture install clean help

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
	@scripts/run-guests.sh $(BUILD)/stage2 $(BUILD)/guests $(ARGS)

replay: deps all
	$(BUILD)/stage2 replay --vcpus 2 $(ARGS) $(TRACES)

# The summary decides: it counts each test case, and a build without a log as a failure.
check: deps
	@rm -f $(BUILD)/meson-logs/testlog.json $(DEBUG)/meson-logs/testlog.json \
		$(ASAN)/meson-logs/testlog.json
	@$(MAKE) --no-print-directory all debug asan
	@$(MESON) test -C $(BUILD) --no-rebuild --no-stdsplit --print-errorlogs --no-suite checked || true
	@$(MESON) test -C $(DEBUG) --no-rebuild --no-stdsplit --print-errorlogs --no-suite once || true
	@$(MESON) test -C $(ASAN) --no-rebuild --no-stdsplit --print-errorlogs --no-suite long || true
	@python3 scripts/test-summary.py $(BUILD) $(DEBUG) $(ASAN)

# gcc has AddressSanitizer and its own idea of undefined behaviour in one build. clang, if
# it is there, has another idea of that, and a ThreadSanitizer that lets every test run.
CLANG = $(shell echo 'int main(void) {}' | clang -fsanitize=thread -x c - -o /dev/null 2>/dev/null && \
	echo clang || echo cc)
$(ASAN)/build.ninja: SANITIZER = address,undefined
$(UBSAN)/build.ninja: SANITIZER = undefined
$(UBSAN)/build.ninja: export CC = $(CLANG)
$(TSAN)/build.ninja: SANITIZER = thread
$(TSAN)/build.ninja: export CC = $(CLANG)
$(ASAN)/build.ninja $(UBSAN)/build.ninja $(TSAN)/build.ninja:
	@$(MESON) setup -Ddebug_checks=true -Db_sanitize=$(SANITIZER) -Db_lundef=false $(@D)

asan: $(ASAN)/build.ninja
	@$(NINJA) -C $(ASAN)

check-sanitize: deps
	@rm -f $(ASAN)/meson-logs/testlog.json $(UBSAN)/meson-logs/testlog.json \
		$(TSAN)/meson-logs/testlog.json
	@for build in $(ASAN) $(UBSAN) $(TSAN); do \
		$(MAKE) --no-print-directory $$build/build.ninja && $(NINJA) -C $$build && \
		$(MESON) test -C $$build --no-rebuild --no-stdsplit --print-errorlogs; \
	done || true
	@python3 scripts/test-summary.py $(ASAN) $(UBSAN) $(TSAN)

mutants: deps
	@scripts/mutants.py --build $(MUTANTS) $(ARGS)

$(FUZZ)/build.ninja:
	@command -v clang >/dev/null || \
		{ echo 'make fuzz: libFuzzer comes with clang, which is not installed' >&2; exit 1; }
	@CC=clang $(MESON) setup -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false $(FUZZ)

# What is found is left in $(FUZZ)/found; the corpus grows in $(FUZZ), not in the sources.
SECONDS := 60
fuzz: deps $(FUZZ)/build.ninja
	@$(NINJA) -C $(FUZZ) tests/fuzz_strace tests/fuzz_api
	@mkdir -p $(FUZZ)/found
	@for target in strace api; do \
		mkdir -p $(FUZZ)/corpus/$$target; \
		$(FUZZ)/tests/fuzz_$$target -max_total_time=$(SECONDS) -timeout=20 -max_len=2048 \
			-artifact_prefix=$(FUZZ)/found/$$target- -print_final_stats=1 -verbosity=0 \
			-dict=tests/fuzz/$$target.dict \
			$(FUZZ)/corpus/$$target tests/fuzz/corpus/$$target || exit; \
	done

HOURS ?= 1
soak: all
	@scripts/soak.sh $(BUILD)/stage2 $(HOURS)

# What is compared with may be missing: the report says so. That it does not build is an error.
bench: deps
	@scripts/install-packages.sh bench/packages.txt
	@$(MAKE) --no-print-directory all
	@bench/peers/vm-memory/build.sh $(BUILD)/bench || [ $$? -eq 77 ]
	@scripts/bench.py --build $(BUILD) $(ARGS)

# Needs valgrind, and says so.
instructions: all
	@scripts/instructions.py --build $(BUILD) $(ARGS) || [ $$? -eq 77 ]

models: deps
	models/run.sh $(ARGS)

torture: all
	$(BUILD)/stage2 torture $(ARGS)

install: all
	@$(MESON) configure $(BUILD) -Dprefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD)
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" -eq 0 ]; then ldconfig; fi

clean:
	rm -rf $(BUILD) $(DEBUG) $(ASAN) $(UBSAN) $(TSAN) $(FUZZ) $(MUTANTS)

help:
	@echo 'make            build the library and the program stage2, in $(BUILD)/'
	@echo 'make run        run real programs as guests in too little memory, under each gate, and check their results'
	@echo 'make replay     replay the sample recordings through the four gates, with live vCPUs'
	@echo 'make check      run every test, with and without debug_checks, and most with AddressSanitizer'
	@echo 'make check-sanitize  run the tests and torture under Address-, UB- and ThreadSanitizer'
	@echo 'make fuzz       search for inputs that break the API or the strace reader; SECONDS=60 each'
	@echo 'make soak       torture with more and more VMs for HOURS=1, and watch memory and descriptors'
	@echo 'make mutants    break the protocol step by step; a table of what notices, and how fast'
	@echo 'make models     check the models of the protocol, and their mutants; ARGS=--quick for fewer states'
	@echo 'make bench      measure stage2 and what it is compared with: tables and plots in bench/results/'
	@echo 'make instructions  count the instructions that each operation takes, with valgrind'
	@echo 'make torture    run the torture test; ARGS="--gate range --seconds 60" for its options'
	@echo 'make deps       install the packages that packages.txt names, or say which are missing'
	@echo 'make install    install to PREFIX ($(PREFIX)), under DESTDIR if that is set'
	@echo 'make clean      remove $(BUILD)/ and $(DEBUG)/'
