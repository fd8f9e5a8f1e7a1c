"""The shell of the command line: help, exit codes, one line for an error."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cluster.cli.main as shell
from cluster.cli.main import COMMANDS, available_commands, build_parser, main
from engine import write_batches
from engine.core.errors import ConfigError, DataError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def command(monkeypatch):
    """Puts a command `run` whose work is the function that the test gives."""

    def use(work):
        module = types.SimpleNamespace(
            add_arguments=lambda parser: parser.add_argument("--fast", action="store_true"), run=work
        )
        monkeypatch.setattr(shell.importlib, "import_module", lambda name: module)

    return use


def raising(error):
    def work(args):
        raise error

    return work


def test_a_full_disk_that_names_no_file_names_the_directory_of_temporary_ones(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command(raising(OSError(errno.ENOSPC, "No space left on device")))
    assert main(["run"]) == 1
    line = capsys.readouterr().err
    assert f"No space left on device; temporary files go to {tmp_path}, where " in line
    assert line.endswith("set TMPDIR to a directory that has some\n")


@pytest.mark.parametrize("name", available_commands())
def test_help_of_every_command_teaches_by_an_example(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"fullpass {name}" in capsys.readouterr().out.split("options:")[1].split("\nexample")[1]


def test_help_lists_what_is_there_and_nothing_else(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    there = {path.stem for path in (ROOT / "cluster/cli/commands").glob("[a-z]*.py")}
    assert there <= set(COMMANDS), "every command module stands in the table"
    for name in COMMANDS:
        assert (f"    {name} " in out) is (name in there)


def test_every_command_is_imported_only_when_asked_for():
    build_parser("inspect")
    code = "import sys, cluster.cli.main as m; m.build_parser('inspect'); print([n for n in sys.modules if 'cli.commands.' in n])"
    out = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert out.strip() == "['cluster.cli.commands.inspect']"


def test_no_command_prints_help_and_fails(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "examples:" in capsys.readouterr().out


def test_unknown_command_suggests_the_nearest(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["inspct", "x"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "fullpass: error: no command 'inspct'; did you mean 'inspect'?\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("epochs = 0: it must be 1 or more"), 2, "fullpass: error: epochs = 0: it must be 1 or more\n"),
        (DataError("cut\nshort", path="a.parquet", record=3), 2, "fullpass: error: a.parquet, record 3: cut short\n"),
        (OSError(28, "No space left on device", "/data/x"), 1, "No space left on device: '/data/x'\n"),
        (
            ZeroDivisionError("by zero"),
            1,
            "fullpass: internal error: ZeroDivisionError: by zero (run it again with --debug",
        ),
        (KeyboardInterrupt(), 130, "fullpass: interrupted\n"),
    ],
)
def test_error_is_one_line_with_its_exit_code(command, capsys, error, code, line):
    command(raising(error))
    assert main(["run"]) == code
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--debug", "run"], ["run", "--debug"]])
def test_debug_shows_the_traceback(command, capsys, monkeypatch, words):
    monkeypatch.setenv("FULLPASS_DEBUG", "0")
    command(raising(ConfigError("wrong")))
    assert main(words) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-q", "run"], ["run", "--quiet"]])
def test_quiet_silences_progress(command, monkeypatch, words):
    monkeypatch.setenv("FULLPASS_PROGRESS", "1")
    seen = []
    command(lambda args: seen.append(os.environ["FULLPASS_PROGRESS"]))
    assert main(words) == 0
    assert seen == ["0"]


@pytest.mark.parametrize("given", [None, "1"])
def test_options_of_one_call_do_not_stay_for_the_next_in_the_same_process(command, monkeypatch, given):
    for name in ("FULLPASS_PROGRESS", "FULLPASS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
        if given is not None:
            monkeypatch.setenv(name, given)
    before = dict(os.environ)
    command(lambda args: 0)
    assert main(["-q", "--debug", "run"]) == 0
    assert {k: os.environ.get(k) for k in ("FULLPASS_PROGRESS", "FULLPASS_DEBUG")} == {
        k: before.get(k) for k in ("FULLPASS_PROGRESS", "FULLPASS_DEBUG")
    }


def test_interrupt_of_the_process_ends_with_130(tmp_path):
    code = (
        "import signal, sys, time, types, cluster.cli.main as m\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job of a shell inherits it ignored
        "def wait(args):\n    print('here', flush=True)\n    time.sleep(60)\n"
        "m.importlib.import_module = lambda n: types.SimpleNamespace(add_arguments=lambda p: None, run=wait)\n"
        "sys.exit(m.main(['run']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"fullpass: interrupted\n")


def test_closed_pipe_is_no_error(tmp_path):
    code = (
        "import sys, types, cluster.cli.main as m\n"
        "def talk(args):\n    for i in range(200000):\n        print('line', i)\n"
        "m.importlib.import_module = lambda n: types.SimpleNamespace(add_arguments=lambda p: None, run=talk)\n"
        "sys.exit(m.main(['run']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def test_work_goes_on_where_nobody_reads_its_lines_and_another_broken_pipe_is_an_error(tmp_path):
    code = (
        "import sys, types, cluster.cli.main as m\n"
        "from engine.core.run_log import print_line, tell\n"
        "def work(args):\n"
        "    sys.stdin.readline()\n"
        "    for i in range(3):\n        tell(f'line {i}')\n        print_line(f'step {i}', sys.stdout)\n"
        "    open(sys.argv[1], 'w').write('done')\n"
        "    if len(sys.argv) > 2:\n        raise BrokenPipeError(32, 'a worker is gone')\n"
        "m.importlib.import_module = lambda n: types.SimpleNamespace(add_arguments=lambda p: None, run=work)\n"
        "sys.exit(m.main(['run']))"
    )

    def ended(path, *more, unread):
        words = [sys.executable, "-c", code, str(path), *more]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)
        if unread:
            process.stdout.close()
            process.stderr.close()
        process.stdin.write(b"go on\n")
        process.stdin.close()
        said = b"" if unread else process.stdout.read() + process.stderr.read()
        return process.wait(timeout=60), path.read_text(), said

    assert ended(tmp_path / "a", unread=True)[:2] == (0, "done")
    code_of_error, text, said = ended(tmp_path / "b", "fail", unread=False)
    assert (code_of_error, text) == (1, "done") and b"a worker is gone" in said


@pytest.mark.parametrize(("other", "code"), [(True, 1), (False, 0)])
def test_another_broken_pipe_is_an_error_where_nobody_reads_standard_output_either(other, code):
    program = (
        "import sys, types, cluster.cli.main as m\n"
        "def work(args):\n"
        "    sys.stdin.readline()\n"
        "    if len(sys.argv) > 1:\n        raise BrokenPipeError(32, 'a worker is gone')\n"
        "    print('{}', flush=True)\n    raise SystemExit('nobody hears it')\n"
        "m.importlib.import_module = lambda n: types.SimpleNamespace(add_arguments=lambda p: None, run=work)\n"
        "sys.exit(m.main(['run']))"
    )
    pipe, words = subprocess.PIPE, [sys.executable, "-c", program, *(["other"] if other else [])]
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.write(b"go on\n")
        process.stdin.close()
        said = process.stderr.read()
    assert (process.returncode, b"a worker is gone" in said) == (code, other)


@pytest.mark.parametrize(
    "writes",
    [
        "sys.stdout.buffer.write(b'x')\n    sys.stdout.buffer.flush()",
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer)\n    print('x', flush=True)",
        "sys.stdout = types.SimpleNamespace(write=sys.stdout.write, flush=sys.stdout.flush)\n    print('x', flush=True)",
    ],
)
def test_a_reader_that_is_gone_is_no_error_however_standard_output_is_written(writes):
    program = (
        "import io, sys, types, cluster.cli.main as m\n"
        f"def work(args):\n    sys.stdin.readline()\n    {writes}\n"
        "m.importlib.import_module = lambda n: types.SimpleNamespace(add_arguments=lambda p: None, run=work)\n"
        "sys.exit(m.main(['run']))"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.write(b"go on\n")
        process.stdin.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


def test_bench_compares_on_the_same_records(tmp_path, capsys):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": list(range(5000)), "y": [0.5] * 5000}), tmp_path / "a.parquet")
    assert main(["bench", str(tmp_path), "--rounds", "2", "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)
    assert [pair["records"] for pair in pairs] == [5000, 5000]
    assert pairs[0]["ratio"]["least"] <= pairs[0]["ratio"]["median"] <= pairs[0]["ratio"]["greatest"]
    assert main(["bench", str(tmp_path), "--rounds", "0"]) == 2
    pq.write_table(pa.table({"x": list(range(50)), "t": ["a"] * 50}), tmp_path / "a.parquet")
    assert main(["bench", str(tmp_path), "--rounds", "1"]) == 0
    assert "1 of 2 columns are text" in capsys.readouterr().out


def test_passes_say_nothing_of_tensorflows_own(tmp_path):
    pq.write_table(pa.table({"x": pa.array([1.0, 2.0], pa.float32())}), tmp_path / "rows.parquet")
    (tmp_path / "features.py").write_text(
        "import tensorflow_transform as tft\n\ndef preprocessing_fn(inputs):\n    return {'x': tft.scale_to_z_score(inputs['x'])}\n"
    )
    for words in (
        ["analyze", "rows.parquet", "--module", "features.py", "--out", "graph"],
        ["transform", "rows.parquet", "--graph", "graph", "--out", "out"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "cluster.cli.main", "-q", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 1


def test_names_that_an_ascii_terminal_has_no_letter_for_end_no_command(tmp_path):
    batch = pa.record_batch({"größe": [1.0], "x→y": ["é"]})
    write_batches([batch], batch.schema, str(tmp_path / "a.parquet"), format="parquet")
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "cluster.cli.main", "inspect", str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert rb"gr\xf6\xdfe" in done.stdout and rb"x\u2192y" in done.stdout
