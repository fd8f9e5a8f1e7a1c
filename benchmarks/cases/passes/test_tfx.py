"""TFX's Transform component: ours beside TFX's, each in a process of its own, imports included, on all 336,776 flights.

Needs the root in which the cluster tests run TFX (`tests/support/servers/tfx`); it is built where the cache has none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import Dataset
from tests.support.nycflights import flights
from tests.support.servers.tfx import root as tfx

REPOSITORY = Path(__file__).parents[3]
WORDS, NUMBERS = ["carrier", "origin", "dest"], ["dep_delay", "distance", "hour", "arr_delay"]


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_transform_component_against_tfxs(benchmark, tmp_path):
    reason = tfx.reason_not_to_run()
    if reason is not None:
        pytest.skip(reason)
    root = tfx.tfx_root(tmp_path / "session")
    root.install_project(REPOSITORY)
    shutil.copytree(Path(tfx.__file__).parent / "user", root.session / "user")
    rows = _write_examples(root.session)

    def run(kind: str):
        def action() -> None:
            shutil.rmtree(root.session / kind, ignore_errors=True)
            places = [f"/session/{name}" for name in (kind, "examples", "schema")]
            root.run(["python", "/session/user/transform.py", *places, kind])
            assert (
                len(list((root.session / kind).glob(f"{kind}/Transform/post_transform_stats/*/FeatureStats.pb"))) == 1
            )

        return action

    result = paired(run("ours"), run("theirs"), rounds=5, warm_up=False)
    record_pair(benchmark, result, "TFX's Transform", rows, what="TFX Transform component, whole processes", cold=True)
    benchmark.pedantic(run("ours"), rounds=1)


def _write_examples(session: Path) -> int:
    table = flights()[WORDS + NUMBERS].dropna().astype(dict.fromkeys(NUMBERS, "float32"))
    rows = pa.Table.from_pandas(table, preserve_index=False)
    cut = rows.num_rows * 2 // 3
    for split, part in (("train", rows.slice(0, cut)), ("eval", rows.slice(cut))):
        directory = session / "examples" / f"Split-{split}"
        directory.mkdir(parents=True)
        raw = session / f"{split}.parquet"
        pa.parquet.write_table(part, raw)
        Dataset.open(str(raw)).write(str(session / split), "tfrecord", 1, compression="gzip")
        (shard,) = (session / split).glob("data-*")
        shutil.move(shard, directory / "data_tfrecord-00000-of-00001.gz")
    (session / "schema").mkdir()
    features = [_feature(name, "BYTES") for name in WORDS] + [_feature(name, "FLOAT") for name in NUMBERS]
    (session / "schema" / "schema.pbtxt").write_text("\n".join(features))
    return rows.num_rows


def _feature(name: str, kind: str) -> str:
    return f'feature {{ name: "{name}" type: {kind} presence {{ min_fraction: 1.0 min_count: 1 }} shape {{ dim {{ size: 1 }} }} }}'
