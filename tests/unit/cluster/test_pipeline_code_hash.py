"""What changes the hash of a function and what does not."""

import os

import pytest

from cluster.user_code.code_hash import code_hash
from cluster.user_code.module import load_user_module, user_function
from engine.core.errors import ConfigError

SOURCE = '''
"""Docstring."""
import math
from helper import scale

LIMIT = 3

def inner(x):
    return math.floor(x) + LIMIT

def used(x):
    return inner(scale(x))

def other(x):
    return x
'''


@pytest.fixture
def module(tmp_path):
    (tmp_path / "helper.py").write_text("from deeper import F\n\ndef scale(x):\n    return x * F\n")
    (tmp_path / "deeper.py").write_text("F = 2\n")
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("LIMIT = 3", "LIMIT = 4", True),
        ("math.floor(x)", "math.ceil(x)", True),
        ("inner(scale(x))", "inner(x)", True),
        ("LIMIT = 3", "LIMIT = 3  # a remark", False),
        ("def other(x):\n    return x", "def other(x):\n    return x + 1", False),
        ('"""Docstring."""', '"""Another."""', False),
        ("LIMIT = 3", "LIMIT = 3\nif LIMIT:\n    LIMIT = 5", True),
        ("def other(x):", "def added():\n    pass\n\ndef other(x):", False),
    ],
)
def test_code_hash_changes_with_what_the_function_reaches(module, old, new, changes):
    before = code_hash(module, "used")
    assert old in SOURCE
    module.write_text(SOURCE.replace(old, new, 1))
    assert (code_hash(module, "used") != before) is changes


PACKAGED = {
    "model/mine.py": "from . import beside\nimport absolute.part\n\ndef used(x):\n    return beside.f(absolute.part.f(x))\n",
    "model/__init__.py": "",
    "model/beside.py": "from ..above import core\n\ndef f(x):\n    return core.f(x)\n",
    "above/__init__.py": "G = 1\n",
    "above/core.py": "from .inner import f\n",
    "above/inner.py": "def f(x):\n    return x\n",
    "model/absolute/__init__.py": "",
    "model/absolute/part.py": "from absolute import K\n\ndef f(x):\n    return x\n",
    "above/other.py": "",
}


def test_code_hash_covers_packages_and_relative_imports(tmp_path):
    for name, text in PACKAGED.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = code_hash(tmp_path / "model" / "mine.py", "used")
    for name, text in PACKAGED.items():
        (tmp_path / name).write_text(f"{text}\nNEW = 1\n")
        changed = code_hash(tmp_path / "model" / "mine.py", "used") != before
        # What nothing imports, and what the module itself does not use, does not count.
        assert changed is (name not in ("above/other.py", "model/mine.py")), name
        (tmp_path / name).write_text(text)


def test_code_hash_covers_absolute_imports_of_the_own_package(tmp_path):
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    files = {
        "pkg/__init__.py": "",
        "pkg/mod.py": "from . import near\nfrom pkg import other\n\ndef used(x):\n    return other.f(x) + near.f(x)\n",
        "pkg/other.py": "import pkg.third\n",
        "pkg/third.py": "",
        "pkg/near.py": "from .sub import deep\n",
        "pkg/sub/deep.py": "from pkg.fourth import f\nimport beside\n",
        "pkg/fourth.py": "",
        "beside.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "link.py").symlink_to(tmp_path / "pkg" / "mod.py")
    before = code_hash(tmp_path / "pkg" / "mod.py", "used")
    assert code_hash(tmp_path / "link.py", "used") == before
    for name in set(files) - {"pkg/mod.py"}:
        (tmp_path / name).write_text(f"{files[name]}NEW = 1\n")
        assert code_hash(tmp_path / "pkg" / "mod.py", "used") != before, name
        (tmp_path / name).write_text(files[name])


@pytest.mark.parametrize("name", ["helper.py", "deeper.py"])
def test_code_hash_covers_imported_files_beside(module, name):
    before, other = code_hash(module, "used"), code_hash(module, "other")
    file = module.parent / name
    file.write_text(file.read_text().replace("2", "3") + "\nG = 1\n")
    assert code_hash(module, "used") != before
    assert code_hash(module, "other") == other


def test_code_hash_of_absent_function_is_none(module):
    assert code_hash(module, "nothing") is None


def test_code_hash_with_dynamic_lookup_covers_the_whole_file(module):
    text = SOURCE + "\ndef dynamic():\n    return globals()['other'](1)\n"
    module.write_text(text)
    before = code_hash(module, "dynamic")
    module.write_text(text.replace("return x\n", "return x + 1\n"))
    assert code_hash(module, "dynamic") != before


def test_code_hash_of_broken_file_names_the_line(module):
    module.write_text("def f(:\n")
    with pytest.raises(ConfigError, match=r"mine\.py:1: not Python"):
        code_hash(module, "f")


def test_user_function_error_names_file_line_and_function(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def broken(x):\n    y = x\n    return y['a']\n")
    with pytest.raises(ConfigError, match=r"mine\.py:3: broken raised KeyError: 'a'"):
        user_function(path, "broken")({})


def test_user_function_that_ends_the_process_is_an_error(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def build_model(context):\n    raise SystemExit(0)\n")
    with pytest.raises(
        ConfigError, match=r"mine\.py:2: build_model raised SystemExit\(0\): .*must not end the process"
    ):
        user_function(path, "build_model")(None)


def test_user_function_absent_lists_those_there(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from math import floor\ndef preprocess():\n    pass\n")
    with pytest.raises(ConfigError, match=r"no function preprocessing_fn; it has preprocess$"):
        user_function(path, "preprocessing_fn")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(:\n", ":1: SyntaxError"),
        ("import nothing_there\n", ":1: ModuleNotFoundError"),
        (
            "import sys\nsys.exit()\n",
            r":2: SystemExit\((None|0)\).*if __name__",
        ),  # else the command ends with 0, nothing done
    ],
)
def test_load_user_module_that_fails_names_the_line(tmp_path, text, expected):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_user_module(path)


def test_load_user_module_returns_the_same_until_the_file_changes(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("A = 1\n")
    first = load_user_module(path)
    assert load_user_module(path) is first
    path.write_text("A = 2\n")
    assert load_user_module(path).A == 2


def test_load_user_module_keeps_the_working_directory(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    path = tmp_path / "mine.py"
    path.write_text("import os\nos.chdir('there')\n")
    load_user_module(path)
    assert os.getcwd() == str(tmp_path) and "changes the working directory to" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("rest", "said"),
    [("", "leaves the working directory.* cannot be gone back to"), ("raise KeyError('a')\n", "KeyError")],
)
def test_load_user_module_says_first_what_went_wrong_in_it(tmp_path, monkeypatch, rest, said):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    path = tmp_path / "mine.py"
    path.write_text(f"import os\nos.chdir('..')\nos.rmdir('gone')\n{rest}")
    with pytest.raises(ConfigError, match=said):
        load_user_module(path)
