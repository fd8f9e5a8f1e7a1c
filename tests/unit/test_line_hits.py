"""The count of lines that tests run: the same lines as coverage.py's, in forked and killed processes too."""

import os
import signal
import subprocess
import sys

import coverage
import pytest

from tests.support.line_hits import start
from tests.support.line_hits.__main__ import prepare, save
from tests.support.line_hits.instrument import compile_marked
from tests.support.line_hits.start import DEPRECATIONS, HITS, VARIABLE

STATEMENTS = '''"""Each kind of statement."""
from __future__ import annotations

import contextlib, dataclasses


def around(function):
    return function


@dataclasses.dataclass(
    frozen=True)
class Point:
    """A class."""

    x: int = 1

    @property
    @around
    def twice(self) -> int:
        """A method."""
        return (
            2 * self.x
        )

    def never(self):
        return [
            3]


def numbers(n):
    total = 0
    for i in range(n):
        if i == 1:
            continue
        elif i == 2:
            total += 10
        else:
            total += i
    else:
        total += 1
    while total < 0:
        total += 1
    try:
        1 / 0
    except ValueError:
        total = 0
    except (ZeroDivisionError,
            KeyError) as error:
        total += len(error.args)
    except TypeError:
        total = 0
    finally:
        total += 1
    try:
        [][0]
    except:
        pass
    with contextlib.suppress(ValueError):
        int("x")
        total = 0
    match total:
        case 1:
            return 0
        case _:
            pass
    if total < 0:
        raise ValueError
    return total


def steps():
    yield from (i for i in range(2))


async def later():
    async with contextlib.AsyncExitStack():
        return 1


assert numbers(4) == 16, numbers(4)
assert list(steps()) == [0, 1]
assert Point().twice == 2
'''


def test_lines_are_those_of_coverage(tmp_path):
    source = tmp_path / "sample.py"
    source.write_text(STATEMENTS)
    hits = bytearray(200)
    exec(compile_marked(source.read_bytes(), str(source), 50), {"__name__": __name__, HITS: hits})
    data = tmp_path / "theirs"
    run = [sys.executable, "-m", "coverage", "run", "--rcfile=", f"--data-file={data}", str(source)]
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    subprocess.run(run, check=True, cwd=tmp_path, env=environment)
    theirs = coverage.Coverage(data_file=str(data), config_file=False)
    theirs.load()
    _, statements, _, missing, _ = theirs.analysis2(str(source))
    save_path = tmp_path / "ours"
    ours_data = coverage.CoverageData(str(save_path))
    ours_data.add_lines({str(source): [n for n in range(150) if hits[50 + n]]})
    ours_data.write()
    ours = coverage.Coverage(data_file=str(save_path), config_file=False)
    ours.load()
    _, same, _, ours_missing, _ = ours.analysis2(str(source))
    assert statements == same and len(missing) > 8
    # coverage.py counts a `case` that was compared and did not match; ours counts one that matched.
    cases = [n for n, line in enumerate(STATEMENTS.split("\n"), 1) if line.strip() == "case 1:"]
    assert ours_missing == sorted([*missing, *cases])


@pytest.fixture
def run(tmp_path):
    """Runs a module `engine.work` of this text as `make test` would; returns the finished process and the lines that ran."""

    def run_module(text):
        package = tmp_path / "source" / "engine"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "work.py").write_text(text)
        hits = tmp_path / "hits"
        hits.mkdir()
        offsets = prepare(hits, tmp_path / "source")
        program = "import sys; exec(open(sys.argv[1]).read(), {'__name__': 'line_hits'}); import engine.work"
        environment = {VARIABLE: str(hits), "PYTHONPATH": str(tmp_path / "source")}
        command = [sys.executable, "-c", program, str(hits / "start.py")]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        save(hits, offsets, tmp_path / "data")
        data = coverage.CoverageData(str(tmp_path / "data"))
        data.read()
        return done, sorted(data.lines(str(package / "work.py")))

    return run_module


@pytest.mark.parametrize("end", ["os._exit(0)", f"os.kill(os.getpid(), {int(signal.SIGKILL)})", "sys.exit()"])
def test_processes_however_they_end(run, end):
    text = f"import os, sys\ndef child():\n    {end}\n    return 1\nif os.fork():\n    os.wait()\nelse:\n    child()\n"
    done, lines = run(text)
    assert done.returncode == 0, done.stderr
    assert lines == [1, 2, 3, 5, 6, 8]


@pytest.mark.parametrize("category", DEPRECATIONS)
def test_what_is_deprecated_is_an_error_in_children_where_a_line_of_ours_uses_it(run, category):
    done, _ = run(f"import warnings\nwarnings.warn('old', {category.__name__})\n")
    assert done.returncode == 1 and f"{category.__name__}: old" in done.stderr


def test_what_others_use_is_no_error_in_children(run):
    done, _ = run(
        "import warnings\nwarnings.warn_explicit('old', FutureWarning, 'their.py', 1, module='theirs.engine')\n"
    )
    assert done.returncode == 0 and "FutureWarning: old" in done.stderr


def test_what_keras_only_tries_is_missing_for_it_and_there_for_all_others(tmp_path):
    text = "try:\n    import IPython\nexcept ImportError as error:\n    IPython = error\n"
    folder = tmp_path / "keras" / "src" / "saving"
    folder.mkdir(parents=True)
    for parent in (folder, *list(folder.parents)[:2]):
        (parent / "__init__.py").write_text("")
    for name in ("file_editor", "other"):
        (folder / f"{name}.py").write_text(text)
    (tmp_path / "IPython.py").write_text("found = True\n")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "counted.py").write_text("1\n")
    program = (
        "import sys; exec(open(sys.argv[1]).read(), {'__name__': 'line_hits'})\n"
        "import keras.src.saving.file_editor as first, keras.src.saving.other as second\n"
        "assert first.IPython.name == 'IPython' and second.IPython.found\n"
    )
    for directory in ("nothing is counted", "hits"):
        (tmp_path / directory).mkdir()
        if directory == "hits":
            prepare(tmp_path / directory, tmp_path)
        environment = {VARIABLE: str(tmp_path / directory), "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", program, start.__file__]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_tensorflow_is_imported_without_collections_which_go_on_after(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import gc, part\nduring = gc.isenabled()\n")
    (tmp_path / "part.py").write_text("import gc\nduring = gc.isenabled()\n")
    program = (
        "import sys; exec(open(sys.argv[1]).read(), {'__name__': 'line_hits'})\n"
        "import gc, part as alone; del sys.modules['part']; import tensorflow\n"
        "assert alone.during and gc.isenabled() and not tensorflow.during and not tensorflow.part.during\n"
    )
    environment = {VARIABLE: str(tmp_path / "nothing is counted"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program, start.__file__]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
