"""The hash of a Python function: equal for equal code, another for anything that it reaches and that changed."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transforms.tracing.function_hash import function_hash

_SOURCE = """
import math
import numpy as np
import hash_helper

SCALE = 2.0
TABLE = {"a": np.arange(3)}

class Shift:
    by = 1

    def apply(self, x):
        return x + self.by

def helper(x, factor=3):
    return x * factor

def function(x):
    inner = lambda y: helper(y) + SCALE
    return inner(x) + math.sqrt(TABLE["a"][1]) + Shift().apply(x) + hash_helper.more(x)
"""
_HELPER = "def more(x):\n    return x + 1\n"


def load(directory: Path, source: str, helper: str = _HELPER) -> Any:
    """The function of a module that is loaded anew, beside its helper."""
    for name, text in (("hash_helper", helper), ("hash_main", source)):
        file = directory / f"{name}.py"
        file.write_text(text)
        sys.modules.pop(name, None)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        exec(compile(text, str(file), "exec"), module.__dict__)
    return sys.modules.pop("hash_main").function


def test_the_hash_is_of_what_the_code_does(tmp_path: Path) -> None:
    first = function_hash(load(tmp_path, _SOURCE))
    assert first is not None
    assert function_hash(load(tmp_path, "# a comment\n\n" + _SOURCE)) == first
    for old, new in (
        ("SCALE = 2.0", "SCALE = 2.5"),
        ("factor=3", "factor=4"),
        ("x * factor", "x / factor"),
        ("by = 1", "by = 2"),
        ("x + self.by", "x - self.by"),
        ("np.arange(3)", "np.arange(4)"),
        ("math.sqrt", "math.exp"),
        ("helper(y) + SCALE", "helper(y) - SCALE"),
    ):
        assert function_hash(load(tmp_path, _SOURCE.replace(old, new))) not in (None, first), old
    assert function_hash(load(tmp_path, _SOURCE, _HELPER.replace("+ 1", "+ 2"))) not in (None, first)


@pytest.mark.parametrize(
    "change", [lambda n: functools.partial(np.add, n), lambda n: lambda x: x + n, lambda n: [n].count]
)
def test_closures_and_partials_are_hashed(change: Any) -> None:
    assert function_hash(change(1)) == function_hash(change(1))
    assert function_hash(change(1)) != function_hash(change(2))


_FIXED = (
    "def function(x):\n    import hash_helper\n    from hash_helper import more\n    return more(x) + hash_helper.K\n"
)
_CLASS = """
class A:
    @staticmethod
    def a():
        return 1
    @classmethod
    def b(cls):
        return 3
    @property
    def c(self):
        return 5
"""


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (_CLASS + "def function(x):\n    return A.a()", "return 1", "return 2"),
        (_CLASS + "def function(x):\n    return A.b()", "return 3", "return 4"),
        (_CLASS + "def function(x):\n    return A().c", "return 5", "return 6"),
        ("class M(type):\n  def w(cls): return 1\nclass A(metaclass=M): pass\ndef function(x):\n    return A.w()", "1", "2"),
        ("class B: pass\nclass C(B):\n  __slots__ = ('v',)\nc = C()\nc.v = 1\ndef function(x):\n    return c.v", "c.v = 1", "c.v = 2"),
        ("import collections\nd = collections.defaultdict(lambda: 1)\ndef function(x):\n    return d[x]", "1", "2"),
        ("class L(list):\n    pass\nk = L()\nk.v = 1\ndef function(x):\n    return k.v", "k.v = 1", "k.v = 2"),
        ("import random\nr = random.Random(1)\ndef function(x):\n    return r.random()", "Random(1)", "Random(2)"),
        ("import re\np = re.compile('a')\ndef function(x):\n    return p.sub('', x)", "'a'", "'b'"),
        ("import numpy as np\nm = np.ma.array([1, 2], mask=[0, 0])\ndef function(x):\n    return m", "[0, 0]", "[0, 1]"),
        ("def function(x):\n    return x\nfunction.k = 1", "k = 1", "k = 2"),
        ("K = 1\ndef function(x):\n    return globals()['K']", "K = 1", "K = 2"),
        ("import dataclasses\n@dataclasses.dataclass\nclass D:\n  k: int = 1\ndef function(x):\n  return D().k", "= 1", "= 2"),
        ("import hash_helper\nhash_helper.K = 1\ndef function(x):\n    return x * hash_helper.K", "K = 1", "K = 2"),
    ],
)  # fmt: skip
def test_what_python_hides_is_hashed(tmp_path: Path, source: str, old: str, new: str) -> None:
    first = function_hash(load(tmp_path, source))
    assert first is not None and first == function_hash(load(tmp_path, source))
    assert function_hash(load(tmp_path, source.replace(old, new))) not in (None, first)


def test_what_a_function_imports_while_it_runs_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = function_hash(load(tmp_path, _FIXED, "K = 1\n" + _HELPER))
    assert first is not None and first == function_hash(load(tmp_path, _FIXED, "K = 1\n" + _HELPER))
    assert function_hash(load(tmp_path, _FIXED, "K = 1\n" + _HELPER.replace("+ 1", "+ 2"))) not in (None, first)
    # The module's file says where its value comes from, not what it is today.
    file = tmp_path / "settings.txt"
    of_file = f"K = float(open({str(file)!r}).read())\n" + _HELPER
    found = []
    for text in ("1", "1", "2"):
        file.write_text(text)
        found.append(function_hash(load(tmp_path, _FIXED, of_file)))
    assert found[0] == found[1] != found[2] and None not in found


def test_an_installed_package_is_its_files_own_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transforms.tracing import code_reach

    monkeypatch.syspath_prepend(str(tmp_path))
    notes = tmp_path / "hash_installed-1.0.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: hash_installed\nVersion: 1.0\n")
    found = []
    for digest in ("a", "a", "b"):
        (notes / "RECORD").write_text(f"hash_installed/__init__.py,sha256={digest},3\n")
        code_reach.installed.cache_clear()
        found.append(code_reach.installed("hash_installed"))
    code_reach.installed.cache_clear()
    assert found[0] == found[1] != found[2] and None not in found
    assert code_reach.installed("no_such_package") is None


def test_a_namespace_is_all_packages_that_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transforms.tracing import code_reach

    for name in ("hash-one", "hash-two"):
        notes = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        notes.mkdir()
        (notes / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        # The backport importlib_metadata, which takes the place of the standard one once imported, leaves out files that are not there.
        package = tmp_path / "hash_shared" / name.removeprefix("hash-")
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    # Not before: a directory that a thread looks into meanwhile is remembered by its time, which has steps of some milliseconds.
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for digests in ("aa", "aa", "ab", "ba"):
        for name, digest in zip(("one", "two"), digests):
            record = f"hash_shared/{name}/__init__.py,sha256={digest},3\n"
            (tmp_path / f"hash_{name}-1.0.dist-info" / "RECORD").write_text(record)
        code_reach.installed.cache_clear()
        found.append(code_reach.installed("hash_shared"))
    code_reach.installed.cache_clear()
    assert found[0] == found[1] and len({*found}) == 3 and None not in found


def test_a_directory_beside_that_of_packages_is_none_of_theirs() -> None:
    from transforms.tracing import code_reach

    packages = sysconfig.get_paths()["purelib"]
    assert code_reach.in_library(f"{packages}/numpy/__init__.py")
    assert not code_reach.in_library(f"{packages}-extra/numpy/__init__.py", standard=("/none/",))


def test_a_module_that_is_not_installed_is_known_to_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def function(x):\n    try:\n        import hash_absent.more\n    except ImportError:\n        pass\n    return x\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    first = function_hash(load(tmp_path, source))
    assert first is not None and first == function_hash(load(tmp_path, source))
    looks_elsewhere = source.replace("try:", "sys.path.append('d')\n    try:")
    assert function_hash(load(tmp_path, f"import sys\n{looks_elsewhere}")) is None
    (tmp_path / "hash_absent").mkdir()
    (tmp_path / "hash_absent" / "__init__.py").write_text("")
    (tmp_path / "hash_absent" / "more.py").write_text("K = 1\n")
    importlib.invalidate_caches()
    try:
        assert function_hash(load(tmp_path, source)) not in (None, first)
    finally:
        for name in ("hash_absent", "hash_absent.more"):
            sys.modules.pop(name, None)


def test_what_a_function_would_import_is_hashed_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package, ran = tmp_path / "hash_lazy", tmp_path / "ran"
    package.mkdir()
    text = f"import sys\ntouch = type(sys)('x')\nimport pathlib\npathlib.Path({str(ran)!r}).touch()\nsys.exit(3)\n"
    (package / "__init__.py").write_text(text)
    (package / "deep.py").write_text("from .deeper import K\nK = K\n")
    (package / "deeper.py").write_text("K = 1\n")
    source = "def function(x):\n    from hash_lazy.deep import K\n    return x + K\n"
    first = function_hash(load(tmp_path, source))
    assert first is not None and first == function_hash(load(tmp_path, source))
    for name, new in (("__init__.py", text + "\n"), ("deep.py", "K = 3\n"), ("deeper.py", "K = 2\n")):
        old = (package / name).read_text()
        (package / name).write_text(new)
        assert function_hash(load(tmp_path, source)) not in (None, first), name
        (package / name).write_text(old)
    assert function_hash(load(tmp_path, source)) == first
    for name, new in (("deeper.py", "K = float(open('k').read())\n"), ("deep.py", "def\n"), ("deep.py", None)):
        old = (package / name).read_text()
        (package / name).write_text(new) if new is not None else (package / name).unlink()
        assert function_hash(load(tmp_path, source)) is None, new
        (package / name).write_text(old)
    assert not ran.exists() and not any(name.startswith("hash_lazy") for name in sys.modules)


def test_what_a_module_would_take_of_imported_ones_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "hash_settings.py").write_text("K = 1\n")
    (tmp_path / "hash_late.py").write_text("import hash_settings\n\ndef f(x):\n    return x * hash_settings.K\n")
    spec = importlib.util.spec_from_file_location("hash_settings", tmp_path / "hash_settings.py")
    assert spec is not None and spec.loader is not None
    settings: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(settings)
    monkeypatch.setitem(sys.modules, "hash_settings", settings)
    function = load(tmp_path, "def function(x):\n    import hash_late\n    return hash_late.f(x)\n")
    first = function_hash(function)
    assert first is not None
    monkeypatch.setattr(settings, "K", 2)
    assert function_hash(function) not in (None, first)


def test_a_module_that_is_in_no_package_is_known(tmp_path: Path) -> None:
    source = "def function(x):\n    import os.path\n    from os.path import join\n    return os.path.basename(join('a', x))\n"
    first = function_hash(load(tmp_path, source))
    assert first is not None and function_hash(load(tmp_path, source.replace("'a'", "'b'"))) not in (None, first)
    assert function_hash(load(tmp_path, source.replace("import os.path", "import math.path"))) is None


@pytest.mark.parametrize(
    "text",
    [
        "from numpy import load as ld\ndef function(x):\n    return ld(x)",
        "o = open\ndef function(x):\n    return o(x)",
        "import functools, numpy\nfunction = functools.partial(map, numpy.load)",
        "from gzip import GzipFile as G\ndef function(x):\n    return G(x)",
        "from os import listdir as ls\ndef function(x):\n    return ls(x)",
        "import pathlib\nr = pathlib.Path.read_text\ndef function(x):\n    return r(x)",
        "import pandas as pd\ndef function(x):\n    return pd.read_pickle(x)",
        "import os\ndef function(x):\n    return os.listdir(x)",
    ],
)
def test_readers_under_other_names_are_unknown(tmp_path: Path, text: str) -> None:
    assert function_hash(load(tmp_path, text)) is None


def test_lines_of_classes_do_not_count(tmp_path: Path) -> None:
    source = _CLASS + "    __firstlineno__, __static_attributes__ = 1, ('a', 'b')\ndef function(x):\n    return A.a()\n"
    first = function_hash(load(tmp_path, source))
    assert (
        first is not None and function_hash(load(tmp_path, source.replace("1, ('a', 'b')", "2, ('b', 'a')"))) == first
    )


_IN_C = """
import operator
import numpy as np
import pandas as pd
import pyarrow as pa
from transforms.tracing.function_hash import function_hash

values = [
    operator.itemgetter(1), operator.attrgetter("a"), operator.methodcaller("b"), pa.int64(), pa.array([1]),
    pd.Timestamp("2026-01-01"), np.random.default_rng(1),
]
print([(type(value).__name__, function_hash(lambda x, value=value: value)) for value in values])
"""


def test_values_of_types_in_c_have_one_hash_in_all_processes() -> None:
    # PYTHONHASHSEED moves names about; addresses differ by themselves
    found = [
        subprocess.run(
            [sys.executable, "-c", _IN_C],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] and "('itemgetter', b" in found[0]


@pytest.mark.parametrize("body", ["float(open('a').read())", "float(os.environ['A'])", "eval('x + 1')"])
def test_code_that_reads_what_is_in_no_code_is_unknown(tmp_path: Path, body: str) -> None:
    assert function_hash(load(tmp_path, f"import os\ndef function(x):\n    return {body}\n")) is None


def test_a_method_that_reads_files_matters_where_it_is_called(tmp_path: Path) -> None:
    reading = _CLASS + "    @classmethod\n    def read(cls, path):\n        return open(path)\n"
    assert function_hash(load(tmp_path, reading + "def function(x):\n    return A.a()\n")) is not None
    assert function_hash(load(tmp_path, reading + "def function(x):\n    return A.read(x)\n")) is None
    assert function_hash(load(tmp_path, reading + "def function(x):\n    return getattr(A, 'read')(x)\n")) is None


def test_tensors_are_hashed_by_their_values() -> None:
    import tensorflow as tf

    def of(tensor: Any) -> Any:
        return function_hash(lambda x: (x, tensor))

    for make in (tf.constant, tf.ragged.constant, lambda rows: tf.sparse.from_dense(rows)):
        first = of(make([[1.0], [2.0]]))
        assert first is not None and first == of(make([[1.0], [2.0]]))
        assert of(make([[1.0], [3.0]])) != first


def test_what_cannot_be_told_is_unknown() -> None:
    lock = threading.Lock()
    assert function_hash(lambda x: (lock, x)) is None
