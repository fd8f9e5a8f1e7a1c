"""The tables of README and docs, made of the files of results. `python -m benchmarks.harness.tables` writes them anew.

A table stands between `<!-- bench: CASE ... -->` and `<!-- /bench -->`; the case `headline` is the short table of all cases. Old
figures without a file of results stand between `<!-- earlier: DATE, MACHINE -->` and `<!-- /earlier -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from cluster.benchmarking.results import case_of, load

__all__ = ["PAGES", "RESULTS", "ratios_by_hand", "rendered", "stale"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/benchmarks.md", "docs/performance.md")
_MARKED = re.compile(r"(<!-- bench: (?P<cases>[\w ]+) -->\n)(?P<table>.*?)(<!-- /bench -->)", re.DOTALL)
_EXEMPT = re.compile(r"<!-- (bench: [\w ]+|earlier: [^>]+) -->.*?<!-- /(bench|earlier) -->", re.DOTALL)
_RATIO = re.compile(
    r"\d+\.\d+ \(\d+(\.\d+)? to \d+(\.\d+)?\)"  # 1.9 (1.2 to 2.1)
    r"|\d+(\.\d+)? ?× (as|the speed|faster|slower)"
    r"|\d+(\.\d+)? times (as (fast|quick|slow)|faster|slower|quicker|the speed)"
)


def rendered(text: str, results: Path = RESULTS) -> str:
    """Returns a page with the tables between its markers as the files of results have them."""
    return _MARKED.sub(lambda found: found[1] + _tables(found["cases"].split(), results) + found[4], text)


def ratios_by_hand(text: str) -> list[str]:
    """Returns the lines of a page that hold a ratio outside of the markers."""
    bare = _EXEMPT.sub(lambda found: "\n" * found[0].count("\n"), text)
    return [f"{number}: {line.strip()}" for number, line in enumerate(bare.splitlines(), 1) if _RATIO.search(line)]


def stale(root: Path = ROOT) -> list[str]:
    """Returns the pages whose tables are not those of the files of results."""
    pages = {name: (root / name).read_text() for name in PAGES if (root / name).exists()}
    return [name for name, text in pages.items() if rendered(text) != text]


def _tables(cases: list[str], results: Path) -> str:
    parts = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        entries, machine = _entries(folder, cases)
        pairs = [entry for entry in entries if "ratio" in entry["extra_info"]]
        grown = [entry for entry in entries if "slope_cpu_us" in entry["extra_info"]]
        if pairs:
            parts.append(_table(pairs, machine, short=cases == ["headline"]))
        if grown and cases != ["headline"]:
            parts.append(_growth_table(grown, machine))
        busy = [entry["extra_info"] for entry in pairs if "accelerators_ours" in entry["extra_info"]]
        if busy and cases != ["headline"]:
            parts.append(_accelerator_table(busy))
    return "\n".join(parts) if parts else "No results are recorded yet.\n"


def _entries(folder: Path, cases: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    found, machine = [], {}
    for path in sorted(folder.glob("*.json"), key=lambda path: cases.index(path.stem) if path.stem in cases else -1):
        if cases != ["headline"] and path.stem not in cases:
            continue
        content = load(path)
        machine = content["machine_info"]
        found += content["benchmarks"]
    if cases == ["headline"]:
        found = [entry for entry in found if entry["extra_info"].get("headline")]
    return found, machine


def _head(extras: list[dict[str, Any]], machine: dict[str, Any]) -> list[str]:
    head = f"{machine['cpu']} ({machine['cpu_family_model_stepping']}), {machine['cores']} cores, Linux {machine['kernel']}"
    dates = sorted({extra["date"][:10] for extra in extras})
    loads = [extra["load"][0] for extra in extras if extra.get("load")]
    return [f"{head}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; load {min(loads)} to {max(loads)}:", ""]


def _growth_table(entries: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Processor time by size, the median of rounds with the least and the greatest, and the line through them."""
    lines = _head([entry["extra_info"] for entry in entries], machine)
    lines += ["| what | size: ms of processor time | fixed | a unit more | rounds |", "|---|---|---|---|---|"]
    for entry in entries:
        extra, cells = entry["extra_info"], []
        for size, seconds, (least, greatest) in zip(extra["sizes"], extra["cpu_s"], extra["spread_cpu_s"]):
            cells.append(f"{size:,}: {_number(1e3 * seconds)} ({_number(1e3 * least)} to {_number(1e3 * greatest)})")
        what = entry["name"].removeprefix("test_").replace("_", " ")
        lines.append(
            f"| {what} | {'; '.join(cells)} | {_number(1e3 * extra['fixed_cpu_s'])} ms "
            f"| {_number(extra['slope_cpu_us'])} µs a {extra['unit']} | {extra['rounds']} |"
        )
    return "\n".join(lines) + "\n"


def _accelerator_table(extras: list[dict[str, Any]]) -> str:
    """Accelerators of a step time that take nine tenths of a feed, by what a core's processor time and what the clock give."""
    lines = [
        "| what | step | ours, a core | peer, a core | ours, on the clock | peer, on the clock |",
        "|---|---|---|---|---|---|",
    ]
    for extra in extras:
        cells = [_number(extra[f"accelerators_{side}{kind}"]) for kind in ("_a_core", "") for side in ("ours", "peer")]
        step = f"{extra['batch']:,} samples, {1e3 * extra['step_s']:.0f} ms"
        lines.append(f"| {extra['what']} beside {extra['peer']} | {step} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table(entries: list[dict[str, Any]], machine: dict[str, Any], short: bool) -> str:
    extras = [entry["extra_info"] for entry in entries]
    lines = _head(extras, machine)
    if short:
        lines += [
            "| what | against | of processor time | on the clock | pairs | benchmark |",
            "|---|---|---|---|---|---|",
        ]
        for entry, extra in zip(entries, extras, strict=True):
            lines.append(
                f"| {extra['what']} | {extra['peer']} | {_spread(extra['cpu_ratio'])} | {_spread(extra['ratio'])} | {extra['pairs']} "
                f"| `{case_of(entry)}` |"
            )
        return "\n".join(lines) + "\n"
    lines += [
        "| what | peer | of processor time | on the clock | pairs | records/s | load | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for extra in extras:
        version = f" {extra['peer_version']}" if extra.get("peer_version") else ""
        rate = f"{extra['records_per_s']:,}" if extra.get("records_per_s") else "–"
        lines.append(
            f"| {extra['what']} | {extra['peer']}{version} | {_spread(extra['cpu_ratio'])} | {_spread(extra['ratio'])} | {extra['pairs']} "
            f"| {rate} | {extra['load'][0] if extra.get('load') else '–'} | {(extra['code']['commit'] or '–')[:7]}"
            f"{'+' if extra['code']['changed'] else ''} |"
        )
    return "\n".join(lines) + "\n"


def _spread(values: dict[str, float]) -> str:
    return f"{_number(values['median'])} ({_number(values['least'])} to {_number(values['greatest'])})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main() -> int:
    """Writes the tables of every page; ends with 1 where a ratio stands outside of the markers."""
    wrong = 0
    for name in PAGES:
        path = ROOT / name
        if not path.exists():
            continue
        text = path.read_text()
        path.write_text(rendered(text))
        for line in ratios_by_hand(text):
            wrong = 1
            print(f"{name}:{line}: a ratio outside of the markers; record it, or mark it with its date and machine")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
