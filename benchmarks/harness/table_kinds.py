"""The kinds of tables: ratios to a peer, growth, accelerators, scaling, serving within a latency, rows a request, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cluster.benchmarking.result_files import case_of
from cluster.benchmarking.results import plain_name

__all__ = ["number_text", "spread_text", "tables_of"]

Entry = dict[str, Any]


def tables_of(entries: Sequence[Entry], machine: dict[str, Any], short: bool) -> list[str]:
    """Returns the tables of one machine's results: of each kind that is among them, or the short one of ratios alone.

    Args:
        entries: of files of results.
        machine: their machine_info.
        short: without versions, rates and commits, and with the case of each; nothing else than ratios.
    """
    kinds: dict[str, Callable[[Sequence[Entry]], list[str]]] = {
        "ratio": _short if short else _ratios,
        "slope_cpu_us": _growth,
        "accelerators_ours": _accelerators,
        "ladder": _ladders,
        "rate_within_20_ms": _within,
        "rows_a_request": _rows_a_request,
    }
    made = []
    for key, lines in kinds.items():
        found = [entry for entry in entries if key in entry["extra_info"]]
        if found and (key == "ratio" or not short):
            made.append("\n".join([*_head(found, machine), *lines(found)]) + "\n")
    rest = [entry for entry in entries if not kinds.keys() & entry["extra_info"].keys() and _noted(entry)]
    if rest and not short:
        made.append("\n".join([*_head(rest, machine), *_others(rest)]) + "\n")
    return made


def _head(entries: Sequence[Entry], machine: dict[str, Any]) -> list[str]:
    extras = [entry["extra_info"] for entry in entries]
    found = {key: machine.get(key, "–") for key in ("cpu", "cpu_family_model_stepping", "cores", "kernel")}
    system = machine.get("system", "Linux")
    cards = "".join(f", {card}" for card in machine.get("gpus", ()))
    head = f"{found['cpu']} ({found['cpu_family_model_stepping']}), {found['cores']} cores{cards}, {system} {found['kernel']}"
    date = _from_to([extra["date"][:10] for extra in extras if extra.get("date")])
    load = _from_to([extra["load"][0] for extra in extras if extra.get("load")])
    return [f"{head}; {date}; load {load}:", ""]


def _from_to(values: Sequence[Any]) -> str:
    return " to ".join(str(each) for each in dict.fromkeys((min(values), max(values)))) if values else "not noted"


def _titles(*names: str) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _short(entries: Sequence[Entry]) -> list[str]:
    lines = _titles("what", "against", "of processor time", "on the clock", "pairs", "benchmark")
    for entry in entries:
        extra = entry["extra_info"]
        ratios = (spread_text(extra["cpu_ratio"]), spread_text(extra["ratio"]))
        lines.append(_row(extra["what"], extra["peer"], *ratios, str(extra["pairs"]), f"`{case_of(entry)}`"))
    return lines


def _ratios(entries: Sequence[Entry]) -> list[str]:
    lines = _titles("what", "peer", "of processor time", "on the clock", "pairs", "records/s", "load", "commit")
    for entry in entries:
        extra = entry["extra_info"]
        peer = f"{extra['peer']} {extra['peer_version']}" if extra.get("peer_version") else extra["peer"]
        rate = f"{extra['records_per_s']:,}" if extra.get("records_per_s") else "–"
        load = str(extra["load"][0]) if extra.get("load") else "–"
        code = extra.get("code") or {}
        commit = (code.get("commit") or "–")[:7] + ("+" if code.get("changed") else "")
        ratios = (spread_text(extra["cpu_ratio"]), spread_text(extra["ratio"]))
        lines.append(_row(extra["what"], peer, *ratios, str(extra["pairs"]), rate, load, commit))
    return lines


def _growth(entries: Sequence[Entry]) -> list[str]:
    """Processor time by size, the median of rounds with the least and the greatest, and the line through them."""
    lines = _titles("what", "size: ms of processor time", "fixed", "a unit more", "rounds")
    for entry in entries:
        extra, cells = entry["extra_info"], []
        for size, seconds, (least, greatest) in zip(extra["sizes"], extra["cpu_s"], extra["spread_cpu_s"]):
            cells.append(
                f"{size:,}: {number_text(1e3 * seconds)} ({number_text(1e3 * least)} to {number_text(1e3 * greatest)})"
            )
        what = plain_name(entry["name"])
        slope = f"{number_text(extra['slope_cpu_us'])} µs a {extra['unit']}"
        fixed = f"{number_text(1e3 * extra['fixed_cpu_s'])} ms"
        lines.append(_row(what, "; ".join(cells), fixed, slope, str(extra["rounds"])))
    return lines


def _accelerators(entries: Sequence[Entry]) -> list[str]:
    """Accelerators of a step time that take nine tenths of a feed, by what a core's processor time and what the clock give."""
    lines = _titles("what", "step", "ours, a core", "peer, a core", "ours, on the clock", "peer, on the clock")
    for extra in (entry["extra_info"] for entry in entries):
        cells = [
            number_text(extra[f"accelerators_{side}{kind}"]) for kind in ("_a_core", "") for side in ("ours", "peer")
        ]
        step = f"{extra['batch']:,} samples, {1e3 * extra['step_s']:.0f} ms"
        lines.append(_row(f"{extra['what']} beside {extra['peer']}", step, *cells))
    return lines


def _ladders(entries: Sequence[Entry]) -> list[str]:
    """Rates, efficiency and processor time by number of cores; what a curve says of twice as many is called a prediction."""
    lines = _titles(
        "what", "by", "cores: units/s", "of the copies' rate", "µs of processor time a unit", "predicted, Amdahl"
    )
    for ladder in (entry["extra_info"]["ladder"] for entry in entries):
        for name, rates in ladder["rates"].items():
            cells = [
                f"{cores}: {_whole(middle)} ({_whole(least)} to {_whole(greatest)})"
                for cores, (middle, least, greatest) in zip(ladder["cores"], rates)
            ]
            shares = [_share(each) for each in ladder["efficiency"].get(name, [])]
            efficiency = "; ".join(shares) if {*shares} - {"–"} else "–"
            cpu = ", ".join(number_text(each) for each in ladder["cpu_us"][name])
            curve = ladder["predicted"].get(name)
            predicted = f"{curve['cores']}: {_whole(curve['amdahl'])}" if curve else "–"
            what = f"{ladder['what']}, {ladder['unit']}s"
            lines.append(_row(what, name, "; ".join(cells), efficiency, cpu, predicted))
    return lines


def _within(entries: Sequence[Entry]) -> list[str]:
    """Requests a second whose 99th percentile stays within 20 ms, at the number of connections that has most of them.

    One search each, and so rates alone: a ratio takes five pairs.
    """
    lines = _titles("what", "peer", "ours, requests/s (connections)", "peer, requests/s (connections)")
    for extra in (entry["extra_info"] for entry in entries):
        ours, peer = extra["rate_within_20_ms"], extra["peer_rate_within_20_ms"]
        at = [extra.get(f"{side}connections_within_20_ms", "–") for side in ("", "peer_")]
        theirs = f"{peer:,} ({at[1]})" if peer else "none"
        lines.append(_row(extra["what"], extra["peer"], f"{ours:,} ({at[0]})", theirs))
    return lines


def _rows_a_request(entries: Sequence[Entry]) -> list[str]:
    lines = _titles(
        "rows a request",
        "one process, rows/s",
        "two processes",
        "the model alone",
        "two over one",
        "cores that one took",
        "two, of what all cores can",
        "two, of the model's rate",
        "µs of processor time a row: one, two, client, model",
    )
    for found in (entry["extra_info"]["rows_a_request"] for entry in entries):
        for each in found:
            rates = [_whole(each[name]) for name in ("one_process", "two_processes", "model_alone")]
            # Results of before these were noted lack some.
            figures = {name: number_text(value) for name, value in each.items() if isinstance(value, int | float)}
            cpu = ", ".join(figures.get(f"{name}_cpu_us", "–") for name in ("one", "server", "client", "model"))
            cores = [figures.get(name, "–") for name in ("cores_of_one", "share_of_ceiling")]
            gains = (_share(each["growth"]), *cores, _share(each["share_of_model"]))
            lines.append(_row(str(each["rows"]), *rates, *gains, cpu))
    return lines


def _others(entries: Sequence[Entry]) -> list[str]:
    """What benchmarks without a peer noted, under their own names."""
    lines = _titles("what", "noted", "rounds")
    for entry in entries:
        what = plain_name(entry["name"])
        figures = (f"{name.replace('_', ' ')} {_whole(value)}" for name, value in _noted(entry).items())
        lines.append(_row(what, ", ".join(figures), str(entry["stats"]["rounds"])))
    return lines


def _noted(entry: Entry) -> dict[str, float]:
    extra = entry["extra_info"]
    return {name: value for name, value in extra.items() if isinstance(value, int | float) and name not in ("rounds",)}


def _share(found: Sequence[float] | float) -> str:
    """Returns a ratio's median with the least and the greatest; nothing of one that was kept without them."""
    if isinstance(found, int | float):
        return "–"
    return spread_text(dict(zip(("median", "least", "greatest"), found)))


def spread_text(values: dict[str, float]) -> str:
    """Returns a median with the least and the greatest."""
    return f"{number_text(values['median'])} ({number_text(values['least'])} to {number_text(values['greatest'])})"


def number_text(value: float) -> str:
    """Returns a number with about three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else number_text(value)
