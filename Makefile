# Everything here works on a fresh machine with Python >= 3.10, g++ and make; the cluster tests fetch the rest themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FUZZ_RUNS ?= 200000
# Workers import TensorFlow many times: byte code files turn 15 CPU-seconds an import into 5.
unexport PYTHONDONTWRITEBYTECODE
export TF_CPP_MIN_LOG_LEVEL ?= 2

# tests/conftest.py has the slow files begin first.
BESIDE = -n 2 --dist loadfile --no-loadscope-reorder

EXTRAS ?= kubernetes,gcs,s3,tfma,serve
TENSORFLOW ?= tensorflow

.PHONY: help env demo test coverage lint test-unit test-system test-gpu test-clusters bench bench-full bench-docs guard fuzz lock audit prose docs wheels clean

help:
	@echo "make env            build $(VENV) with everything that the demo and the tests need"
	@echo "make demo           336,776 real flights: ingest, analyze, transform, train, evaluate, export, one served answer"
	@echo "make lint           ruff, import-linter, mypy"
	@echo "make test           lint, unit and system tests, and the share of lines that they run (make test-unit, make test-system: one of them alone)"
	@echo "make coverage       the lines that the last make test did not run"
	@echo "make test-clusters  real Flink, Spark, Kubernetes, Ray and TFX, started and stopped by the tests"
	@echo "make test-gpu       what a machine with a GPU must show; skips on any other"
	@echo "make bench          ours beside its peers, in minutes (make bench-full: each case's own size, and the long ones)"
	@echo "make bench-docs     the tables of README and docs, made of benchmarks/results"
	@echo "make guard          instructions of native hot paths and accumulators against benchmarks/guard/baselines.json"
	@echo "make lock           the image's packages with hashes: k8s/requirements.txt (EXTRAS=..., TENSORFLOW=...)"
	@echo "make audit          known weaknesses of code, packages and manifests, and a bill of materials: build/sbom.json"
	@echo "make prose          the words of documents and docstrings, by vale (.vale/)"
	@echo "make docs           the documents as a site: build/site"
	@echo "make wheels         wheels for every Python, in manylinux containers (needs Docker), and the source archive: dist/"
	@echo "make fuzz           the tf.Example and tf.SequenceExample codec, the CSV code, the shape of JSON lines, Parquet footers and JSON requests under ASan and UBSan (FUZZ_RUNS=5000000)"

env: $(VENV)/.complete

$(VENV)/.complete: setup.py pyproject.toml $(wildcard engine/native/*/*.cc engine/native/*/*.h transforms/native/*.cc transforms/native/*.h engine/native/*/*.c trainers/native/*/*.cc trainers/native/*/*.h)
	.ci/make-env $(PYTHON) $(VENV)
	@touch $@

demo: env
	$(BIN)/fullpass run examples/flights/pipeline.toml
	$(BIN)/fullpass serve runs/flights/export/latest/model --name flights --check

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint
	$(BIN)/python -m tests.support.line_hits -m pytest tests/unit tests/system $(BESIDE)

coverage: env
	$(BIN)/python -m coverage report

test-unit test-system: test-%: env
	$(BIN)/python -m pytest tests/$* $(BESIDE)

test-gpu: env
	$(BIN)/python -m pytest tests/gpu

test-clusters: env
	$(BIN)/python -m tests.clusters

bench: env
	$(BIN)/python -m benchmarks.harness.suite --quick

bench-full: env
	$(BIN)/python -m benchmarks.harness.suite --full

bench-docs: env
	$(BIN)/python -m benchmarks.harness.tables

guard: env
	$(BIN)/python -m benchmarks.guard.run

fuzz: env
	$(BIN)/python -m tests.fuzz.run --runs $(FUZZ_RUNS)

lock: env
	.ci/lock $(BIN)/uv "$(EXTRAS)" "$(TENSORFLOW)"

# Tools of their own environment: they bring versions of packages that Fullpass does not want. Each runs, then all are judged.
audit: env
	.ci/audit $(BIN)/uvx

prose: env
	$(BIN)/uvx --quiet pre-commit run vale --all-files

docs: env
	$(BIN)/uvx --quiet --from 'mkdocs>=1.6,<2' --with 'mkdocs-material>=9.6,<10' mkdocs build --strict

wheels: env
	$(BIN)/uvx --quiet --from 'cibuildwheel>=3' cibuildwheel --platform linux --output-dir dist
	$(BIN)/uvx --quiet --from 'build>=1.2' pyproject-build --sdist --outdir dist

clean:
	rm -rf $(VENV) build *.egg-info engine/_native*.so transforms/_native*.so engine/_loopback*.so trainers/_loopback*.so trainers/_serving*.so
