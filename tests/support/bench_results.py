"""Results of benchmarks in pytest-benchmark's format, for tests of what is made of them."""

import json

HOSTILE = "<script>window.hit=1</script>"


_WAYS = ("threads, strong", "threads, weak", "processes, strong", "independent copies of one")
LADDER = {
    "what": "reading",
    "unit": "record",
    "cores": [1, 2],
    "rates": {way: [[100, 90, 110], [180 - 10 * i, 170 - 10 * i, 190]] for i, way in enumerate(_WAYS)},
    "efficiency": {"threads, strong": [[1, 1, 1], [0.9, 0.8, 1]]},
    "predicted": {way: {"cores": 4, "amdahl": 300 - 20 * i} for i, way in enumerate(_WAYS)},
}


def write_results(path, when="2026-11-26", commit="0123456789", ratio=8.0):
    """Writes a file with ratios, sizes and stages, and returns its path."""
    spread = {"median": ratio, "least": ratio / 2, "greatest": ratio + 1.5}
    pair = {
        "peer": "a peer",
        "peer_version": "1.2",
        "pairs": 5,
        "records_per_s": 1000,
        "bytes_per_s": 2e6,
        "load": [1.5, 1, 1],
    }
    slow = {"median": 0.5, "least": 0.4, "greatest": 0.6}
    stages = {"read;decode": 0.6, "read;copy": 0.2, "pack": 0.4}
    benchmarks = [
        _entry(
            "test_fast", {**pair, "what": HOSTILE, "cpu_ratio": spread, "ratio": _shifted(spread), "stages": stages}
        ),
        _entry("test_slow", {**pair, "what": "slow", "cpu_ratio": slow, "ratio": slow}),
        _entry("test_rows[1000]", {}, {"rows": 1000}, 0.001),
        _entry("test_rows[10000]", {}, {"rows": 10000}, 0.01),
        _entry("test_served", {"examples_per_s_at_1": 100, "examples_per_s_at_64": 900}),
        _entry(
            "test_reading",
            {"unit": "row", "sizes": [1, 10], "cpu_s": [0.5, 1.4], "fixed_cpu_s": 0.4, "slope_cpu_us": 1e5},
        ),
        _entry("test_ladder", {"ladder": LADDER}),
    ]
    for entry in benchmarks:
        entry["extra_info"]["date"] = f"{when}T00:00:00+00:00"
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cpu": "a processor", "cores": 2}
    content = {
        "machine_info": machine,
        "commit_info": {"id": commit},
        "datetime": when,
        "version": "5",
        "benchmarks": benchmarks,
    }
    path.write_text(json.dumps(content))
    return path


def _shifted(spread):
    return {key: value + 2 if key != "greatest" else value + 2.5 for key, value in spread.items()}


def _entry(name, extra, params=None, median=0.5):
    stats = {"median": median, "min": median / 2, "max": median * 2, "stddev": 0.1, "rounds": 3}
    return {"group": None, "name": name, "fullname": name, "params": params, "extra_info": extra, "stats": stats}
