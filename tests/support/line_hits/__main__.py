"""Runs a Python command, counts the lines of ours that it and its children run, and holds the share to a floor."""

from __future__ import annotations

import io
import marshal
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
from pathlib import Path

import coverage

from tests.support.line_hits.instrument import compile_marked
from tests.support.line_hits.start import PACKAGES, VARIABLE

ROOT = Path(__file__).resolve().parents[3]
# The same text whoever writes it, and nothing without the variable: several runs can share an environment.
_HOOK = f"""\
import os; d = os.environ.get("{VARIABLE}", ""); p = d + "/start.py"; \
d and os.path.exists(p) and exec(compile(open(p).read(), p, "exec"), {{"__name__": "line_hits"}})
"""


def main(words: list[str]) -> int:
    """Runs `python WORDS`, prints the share of lines and returns its exit code, or 2 below the floor."""
    with tempfile.TemporaryDirectory(prefix="line-hits-") as name:
        directory = Path(name)
        offsets = prepare(directory)
        hook(Path(site.getsitepackages()[0]))
        code = call([sys.executable, *words], {**os.environ, VARIABLE: name})
        save(directory, offsets, ROOT / ".coverage")
    return report(code)


def call(words: list[str], environment: dict[str, str]) -> int:
    """Runs a command and returns its exit code. SIGTERM reaches it as Ctrl-C does: pytest then ends its workers and servers."""
    children: list[subprocess.Popen[bytes]] = []
    # A terminal's Ctrl-C reaches the command, too; it says when it is done.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: [child.send_signal(signal.SIGINT) for child in children])
    children.append(subprocess.Popen(words, env=environment))
    return children[0].wait()


def hook(packages: Path) -> None:
    """Has every interpreter of an environment run `start.py` where the variable says so. The file stays: another run may need it."""
    temporary = packages / f"fullpass_line_hits.{os.getpid()}"
    temporary.write_text(_HOOK)
    # Whole at once: children of another run read it meanwhile.
    os.replace(temporary, packages / "fullpass_line_hits.pth")


def prepare(directory: Path, root: Path = ROOT) -> dict[str, tuple[int, int]]:
    """Writes the marked code and the empty file of hits. Returns first byte and lines of each file."""
    offsets: dict[str, tuple[int, int]] = {}
    offset = 0
    for path in sorted(each for package in PACKAGES for each in (root / package).rglob("*.py")):
        source = path.read_bytes()
        lines = source.count(b"\n") + 2
        offsets[str(path)] = (offset, lines)
        out = directory / "code" / path.relative_to(root)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(marshal.dumps(compile_marked(source, str(path), offset)))
        offset += lines
    (directory / "hits").write_bytes(bytes(offset))
    (directory / "root").write_text(f"{root}/")
    shutil.copy(Path(__file__).with_name("start.py"), directory)
    return offsets


def save(directory: Path, offsets: dict[str, tuple[int, int]], path: Path) -> None:
    """Writes what ran as a data file of coverage.py."""
    hits = (directory / "hits").read_bytes()
    path.unlink(missing_ok=True)
    data = coverage.CoverageData(str(path))
    data.add_lines({file: [n for n in range(lines) if hits[first + n]] for file, (first, lines) in offsets.items()})
    data.touch_files(list(offsets))
    data.write()


def report(code: int) -> int:
    """Prints the share of lines that ran. Returns `code`, or 2 where that is 0 and the share is below the floor."""
    measured = coverage.Coverage()
    measured.load()
    total = measured.report(file=io.StringIO(), show_missing=False)
    floor = float(measured.get_option("report:fail_under") or 0)  # type: ignore[arg-type]
    low = total < floor
    print(
        f"coverage: {total:.1f} % of the lines of {', '.join(PACKAGES)}, in child processes too; floor {floor:g} %.",
        end=" ",
    )
    print("Below the floor: test what `make coverage` lists." if low else "`make coverage` lists the rest.", flush=True)
    return code or (2 if low else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
