"""Writing of a report: of runs, as HTML or Markdown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.report.model import Page
from engine.core.errors import ConfigError
from engine.storage.atomic import atomic_file
from engine.storage.uris import require_local

if TYPE_CHECKING:
    from cluster.pipeline.run_facts import Difference

__all__ = [
    "FORMATS",
    "REPORT",
    "render",
    "write_bench_report",
    "write_comparison",
    "write_page",
    "write_report",
    "write_run_report",
]

FORMATS = ("html", "md")
REPORT = "report.html"  # in the working directory of a run


def write_report(
    runs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], format: str | None = None
) -> Path:
    """Writes one page about one or several runs side by side and returns its path.

    Args:
        runs: working directories of pipelines, or directories of one step's result.
        out: the file; it is replaced.
        format: "html" or "md"; None: by the file's name.

    Raises:
        ConfigError: no run there, an unknown format, or the libraries of `fullpass[report]` are not installed.
        DataError: a damaged file of a run.
    """
    from cluster.report.page import page_of
    from cluster.report.runs import open_runs

    chosen = _format(out, format)
    return write_page(render(page_of(open_runs(runs)), chosen), out)


def write_bench_report(
    results: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], format: str | None = None
) -> Path:
    """Writes one page about benchmarks and returns its path.

    Args:
        results: files in pytest-benchmark's JSON format, or directories of them.
        out: the file; it is replaced.
        format: "html" or "md"; None: by the file's name.

    Raises:
        ConfigError: no results there, an unknown format, or the libraries of `fullpass[report]` are not installed.
        DataError: a file in another format.
    """
    from cluster.report.bench import bench_page

    chosen = _format(out, format)
    return write_page(render(bench_page(results), chosen), out)


def write_comparison(
    comparison: Any,
    changed: Sequence[Difference],
    names: tuple[str, str],
    out: str | os.PathLike[str],
    format: str | None = None,
) -> Path:
    """Writes one page about two runs and returns its path.

    Args:
        comparison: a `trainers.evaluation.comparison.Comparison`.
        changed: what the runs were made of differently, of `cluster.pipeline.run_facts.differences`.
        names: of both runs.
        out: the file; it is replaced.
        format: "html" or "md"; None: by the file's name.

    Raises:
        ConfigError: an unknown format, or the libraries of `fullpass[report]` are not installed.
    """
    from cluster.report.compare_page import comparison_page

    chosen = _format(out, format)
    return write_page(render(comparison_page(comparison, changed, names), chosen), out)


def write_run_report(work_dir: str | os.PathLike[str], *, finished: bool = False) -> Path:
    """Writes `report.html` into the working directory of a run, unless it is there for the same results; returns its path.

    Args:
        work_dir: working directory of the pipeline.
        finished: as `open_run` takes it.
    """
    from cluster.report.html.document import check_extra
    from cluster.report.page import page_digest, page_of
    from cluster.report.runs import open_run

    check_extra()
    run = open_run(work_dir, finished=finished)
    path = Path(work_dir) / REPORT
    if path.is_file() and page_digest([run]) in path.read_text(encoding="utf-8", errors="replace")[:4096]:
        return path
    return write_page(render(page_of([run]), "html"), path)


def render(page: Page, format: str) -> str:
    """Returns a page as text of the format."""
    if format == "md":
        from cluster.report.markdown import render_markdown

        return render_markdown(page)
    from cluster.report.html.document import render_html

    return render_html(page)


def write_page(text: str, out: str | os.PathLike[str]) -> Path:
    """Writes a page whole or not at all and returns its path.

    Raises:
        ConfigError: the page is a directory, or a URI of another place.
    """
    path = require_local("--out", out)
    if path.is_dir():
        raise ConfigError(f"--out: {path} is a directory; give a file, e.g. {path / REPORT}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _format(out: str | os.PathLike[str], format: str | None) -> str:
    chosen = format or ("md" if Path(out).suffix.lower() in (".md", ".markdown") else "html")
    if chosen not in FORMATS:
        raise ConfigError(f"format: got {format!r}; expected one of {', '.join(FORMATS)}")
    return chosen
