"""A page as one HTML file: styles, scripts and data inside, nothing fetched, nothing run that is not ours.

The page's policy allows the two scripts by their digests and no connection at all, so what a file of the run says, a column's
name or a value, can neither run nor call home, even if it were not escaped. It is: Jinja's autoescape is on, JSON is escaped for HTML.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.resources
import os
import re
from pathlib import Path
from typing import Any

from cluster.report.html.fit import MOST_BYTES, fitted
from cluster.report.model import Chart, Page
from engine.core.errors import ConfigError
from engine.core.text_encoding import visible
from engine.storage.atomic import write_if_room

__all__ = ["check_extra", "render_html"]

_HEAD_BYTES = 100_000  # of verdicts, lines, headings and columns, of what people write
_EMBED = "window.fullpassEmbed=vegaEmbed;"  # what the bundle of Vega, Vega-Lite and vega-embed leaves behind


def render_html(page: Page) -> str:
    """Returns the page.

    Raises:
        ConfigError: the libraries of `fullpass[report]` are not installed.
    """
    check_extra()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["code"] = _code
    scripts, style = [_script(_source("page.js"))], _source("style.css")
    if any(isinstance(b, Chart) for section in page.sections for b in section.blocks):
        scripts = [_script(_vega()), *scripts]
    page = fitted(page, MOST_BYTES - _HEAD_BYTES - sum(len(text.encode()) for text in (*scripts, style)))
    charts = [b for section in page.sections for b in section.blocks if isinstance(b, Chart)]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    template = environment.get_template("page.html.j2")
    return template.render(
        page=page,
        style=Markup(style),  # noqa: S704  # nosec B704 - ours, as the scripts are
        scripts=[Markup(script) for script in scripts],  # noqa: S704  # nosec B704
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}",
        specs=[{**chart.spec, "data": {"values": list(chart.values)}} for chart in charts],
        sketch=_sketch,
    )


def check_extra() -> None:
    """Raises ConfigError where the libraries that make a page are not installed."""
    try:
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'fullpass[report]'") from None


def _source(name: str) -> str:
    return importlib.resources.files("cluster.report").joinpath("templates", name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """Returns a script as it must stand in a page: no end tag within, and the line ends that a browser makes of them."""
    return re.sub(r"</(script)", r"<\\/\1", text.replace("\r\n", "\n").replace("\r", "\n"), flags=re.IGNORECASE)


def _vega() -> str:
    """Returns the script of the chart library, from vl-convert, kept between calls: bundling it takes seconds."""
    import vl_convert

    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fullpass" / "report"
    file = place / f"vega-{importlib.metadata.version('vl-convert-python')}-{vl_convert.get_vega_version()}.js"
    try:
        kept = file.read_text(encoding="utf-8")
        if kept.endswith(_EMBED):
            return kept
    except (OSError, ValueError):
        pass
    script = vl_convert.javascript_bundle(_EMBED)
    script = script if script.endswith(";") else f"{script};"
    script += "" if script.endswith(_EMBED) else _EMBED.replace("vegaEmbed", "window.fullpassEmbed")
    write_if_room(file, script.encode())  # a home that cannot be written to costs the next page its seconds, no more
    return script


def _code(text: str) -> Any:
    """Returns a line of text with `words` between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))  # noqa: S704  # nosec B704 - escaped before


def _sketch(bars: tuple[float, ...]) -> list[tuple[float, float, float, float]]:
    """Returns x, y, width and height of each bar in a field of 100 by 24."""
    most = max(bars, default=0.0)
    if most <= 0:
        return []
    width = 100 / len(bars)
    heights: list[Any] = [max(24 * bar / most, 0.75 if bar > 0 else 0) for bar in bars]
    return [(round(i * width, 2), round(24 - h, 2), round(width * 0.86, 2), round(h, 2)) for i, h in enumerate(heights)]
