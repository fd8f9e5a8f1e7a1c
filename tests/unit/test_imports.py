"""Imports point one way, and nothing heavy is imported before it is used."""

import ast
import contextlib
import graphlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORDER = ("engine", "transforms", "trainers", "cluster")
HEAVY = (
    "tensorflow",
    "keras",
    "tf_keras",
    "apache_beam",
    "ray",
    "kubernetes",
    "tensorflow_transform",
    "tensorflow_model_analysis",
)


@pytest.mark.parametrize("package", ORDER)
def test_imports_of_package_point_to_lower_packages_only(package):
    above = set(ORDER[ORDER.index(package) + 1 :])
    wrong = []
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}:{node.lineno}: relative import"
                names = [node.module or ""]
            wrong += [f"{file.relative_to(ROOT)}:{node.lineno}: {n}" for n in names if n.split(".")[0] in above]
    assert not wrong


def test_private_names_of_other_libraries_are_imported_at_the_doors_alone():
    """Ruff's SLF001 sees an attribute, not an import."""
    wrong = []
    for package in ORDER:
        for file in sorted((ROOT / package).rglob("*.py")):
            if file.is_relative_to(ROOT / "transforms" / "tft") or file.is_relative_to(ROOT / "trainers" / "compat"):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in {*ORDER, "__future__"}:
                    private = [a.name for a in node.names if a.name.startswith("_") and not a.name.startswith("__")]
                    wrong += [f"{file.relative_to(ROOT)}:{node.lineno}: {node.module}.{name}" for name in private]
    assert not wrong


@pytest.mark.parametrize(
    "first", ["import engine.ingestion.ingestion", "from engine import open_source", "import engine"]
)
def test_engine_ingest_is_the_function_whatever_was_imported_before(first):
    code = f"{first}\nfrom engine import ingest\nimport engine\nassert callable(ingest) and engine.ingest is ingest"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def _imported(statement):
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split())


@pytest.mark.parametrize("package", ORDER)
def test_import_of_package_brings_nothing_heavy(package):
    assert not _imported(f"import {package}") & set(HEAVY)


@pytest.mark.parametrize("module", ["trainers.checkpoints.checkpoint", "cluster.tuning.search"])
def test_import_of_what_only_starts_trainings_brings_nothing_heavy(module):
    assert not _imported(f"import {module}") & set(HEAVY)


def test_help_of_every_command_brings_nothing_heavy():
    statement = """
import contextlib, io
from cluster.cli.main import available_commands, main
assert len(available_commands()) > 5
for words in [["--help"], *([name, "--help"] for name in available_commands())]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(words)
    assert "usage: fullpass" in out.getvalue(), words
"""
    assert not _imported(statement) & {*HEAVY, "pyarrow"}


def test_public_modules_list_their_names():
    missing = [
        str(file.relative_to(ROOT))
        for package in ORDER
        for file in sorted((ROOT / package).rglob("*.py"))
        if file.name != "__init__.py"
        and not file.name.startswith("_")
        and "commands" not in file.parts
        and "__all__" not in file.read_text()
    ]
    assert not missing


@pytest.mark.parametrize("package", ORDER)
def test_every_source_file_stays_under_400_lines(package):
    long = [
        f"{f.relative_to(ROOT)}: {n}"
        for f in (ROOT / package).rglob("*.py")
        if (n := len(f.read_text().splitlines())) > 400
    ]
    assert not long


def test_no_circle_of_modules_not_even_by_imports_inside_functions():
    modules = {
        str(file.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): file
        for package in ORDER
        for file in (ROOT / package).rglob("*.py")
    }
    graph = {name: _imports_of(file, modules) - {name} for name, file in modules.items()}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _imports_of(file, modules):
    """Modules that a file imports when it is run, anywhere in it; not those that only a type checker sees."""
    tree, found = ast.parse(file.read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & set(modules) or {node.module}
    return found & set(modules)


@pytest.mark.parametrize(
    ("module", "raises"), [("engine", True), ("trainers.loop.trainer", True), ("keras.src", False)]
)
def test_what_is_deprecated_is_an_error_in_our_own_modules_alone(module, raises):
    with pytest.raises(DeprecationWarning) if raises else contextlib.nullcontext():
        warnings.warn_explicit("will go", DeprecationWarning, "file.py", 1, module=module)
