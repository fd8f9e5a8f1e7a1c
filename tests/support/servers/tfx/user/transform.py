"""TFX's Transform and ours on the same examples, then ours with the cache of that run, and on one more span with and without it.

Usage: transform.py OUT EXAMPLES_URI SCHEMA_URI [theirs|ours]; with the last word that one alone runs, for a benchmark.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.types import channel_utils, standard_artifacts

from engine import Dataset
from transforms.tfx import Transform
from transforms.tfx.lists import as_lists

HERE = Path(__file__).parent


PARQUET = {"file_format": "FILE_FORMAT_PARQUET", "payload_format": "FORMAT_PARQUET"}


def run(
    name: str,
    component,
    out: Path,
    examples: list[str],
    schema: str,
    cache: str | None = None,
    formats: dict[str, str] | None = None,
) -> dict:
    """Runs one Transform by itself; returns its seconds and where its outputs lie."""
    spans = [
        tfx.dsl.Importer(
            source_uri=uri,
            artifact_type=standard_artifacts.Examples,
            properties={"split_names": '["train", "eval"]'},
            custom_properties=formats,
        ).with_id(f"examples{index}")
        for index, uri in enumerate(examples)
    ]
    sources = [tfx.dsl.Importer(source_uri=schema, artifact_type=standard_artifacts.Schema).with_id("schema"), *spans]
    given = {}
    if cache is not None:
        sources.append(
            tfx.dsl.Importer(source_uri=cache, artifact_type=standard_artifacts.TransformCache).with_id("cache")
        )
        given["analyzer_cache"] = sources[-1].outputs["result"]
    transform = component(
        examples=channel_utils.union([each.outputs["result"] for each in spans]),
        schema=sources[0].outputs["result"],
        module_file=str(HERE / "tfx_module.py"),
        **given,
    )
    database = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(out / f"{name}.sqlite"))
    pipeline = tfx.dsl.Pipeline(
        pipeline_name=name,
        pipeline_root=str(out / name),
        components=[*sources, transform],
        metadata_connection_config=database,
        enable_cache=False,
        beam_pipeline_args=["--direct_running_mode=in_memory"],
    )
    start = time.perf_counter()
    tfx.orchestration.LocalDagRunner().run(pipeline)
    seconds = time.perf_counter() - start
    uris = {}
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(out / f"{name}.sqlite"))) as store:
        for artifact in store.store.get_artifacts():
            if f"/{name}/" in artifact.uri:
                uris.setdefault(artifact.uri.split("/Transform/")[-1].split("/")[0], []).append(artifact.uri)
    return {"seconds": seconds, "uris": uris}


def read(result: dict) -> dict:
    """Returns what a run wrote: vocabularies, schema, the transformed rows of the eval split, and the files of each output."""
    graph = Path(result["uris"]["transform_graph"][0])
    output = tft.TFTransformOutput(str(graph))
    assets = {path.name: path.read_text() for path in sorted((graph / "transform_fn" / "assets").glob("*"))}
    files = sorted(
        str(file) for uri in result["uris"]["transformed_examples"] for file in Path(uri).glob("Split-eval/*")
    )
    spec = output.transformed_feature_spec()
    rows, values = parquet_values(files) if files[0].endswith(".parquet") else record_values(files, spec)
    return {
        "statistics": {
            kind: statistics(result["uris"][kind][0]) for kind in ("pre_transform_stats", "post_transform_stats")
        },
        "anomalies": anomalies(result["uris"]["post_transform_anomalies"][0]),
        "assets": assets,
        "spec": repr(output.transformed_feature_spec()),
        "raw_metadata": (graph / "metadata" / "schema.pbtxt").exists(),
        "rows": rows,
        "values": {name: sorted(column) for name, column in values.items()},
        "outputs": {
            name: len([file for uri in found for file in Path(uri).rglob("*") if file.is_file()])
            for name, found in result["uris"].items()
        },
    }


def record_values(files: list[str], spec: dict) -> tuple[int, dict]:
    """Returns the number of rows of compressed TFRecord files, and their values by feature."""
    records = sorted(record.numpy() for record in tf.data.TFRecordDataset(files, "GZIP"))
    parsed = tf.io.parse_example(records, spec)
    return len(records), {
        name: (tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value).numpy().reshape(-1).tolist()
        for name, value in parsed.items()
    }


def parquet_values(files: list[str]) -> tuple[int, dict]:
    """Returns the same of Parquet files whose columns are lists, as TFX writes them."""
    table = pa.concat_tables([pq.read_table(file) for file in files])
    return len(table), {name: table[name].combine_chunks().flatten().to_pylist() for name in table.column_names}


def as_parquet(examples: str, schema: str, out: Path) -> str:
    """Writes the examples of each split as Parquet, each column a list as TFX has it; returns the directory."""
    spec = text_format.Parse((Path(schema) / "schema.pbtxt").read_text(), schema_pb2.Schema())
    for split in ("Split-train", "Split-eval"):
        (out / split).mkdir(parents=True)
        batches = Dataset.open(f"{examples}/{split}/*", spec).read_batches(65536)
        table = pa.Table.from_batches([as_lists(batch) for batch in batches])
        pq.write_table(table, out / split / "data-00000-of-00001.parquet")
    return str(out)


def statistics(directory: str) -> dict:
    """Returns what the statistics say of each feature, by its name."""
    (dataset,) = tfdv.load_stats_binary(str(Path(directory) / "FeatureStats.pb")).datasets
    found = {"": dataset.num_examples}
    for feature in dataset.features:
        kind = feature.WhichOneof("stats")
        stats = getattr(feature, kind)
        values = [stats.common_stats.num_non_missing, stats.common_stats.max_num_values]
        if kind == "num_stats":
            values += [stats.mean, stats.std_dev, stats.min, stats.max, stats.num_zeros]
            values += [sum(bucket.sample_count for bucket in stats.histograms[0].buckets)]
        else:
            values += [stats.unique, stats.avg_length, *(each.frequency for each in stats.top_values)]
        found["/".join(feature.path.step) or feature.name] = [kind, feature.type, *values]
    return found


def anomalies(directory: str) -> list:
    return sorted(anomalies_pb2.Anomalies.FromString((Path(directory) / "SchemaDiff.pb").read_bytes()).anomaly_info)


def cache_files(result: dict) -> dict:
    """Returns the time of change of each file of a cache, by its name."""
    directory = Path(result["uris"]["updated_analyzer_cache"][0])
    return {file.name: file.stat().st_mtime_ns for file in directory.iterdir() if file.is_file()}


if __name__ == "__main__":
    out, examples, schema = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    out.mkdir(parents=True, exist_ok=True)
    components = {"theirs": tfx.components.Transform, "ours": Transform}
    if len(sys.argv) > 4:
        run(sys.argv[4], components[sys.argv[4]], out, [examples], schema)
        sys.exit()
    results = {name: run(name, component, out, [examples], schema) for name, component in components.items()}
    cache = results["ours"]["uris"]["updated_analyzer_cache"][0]
    results["again"] = run("again", Transform, out, [examples], schema, cache)
    second = str(out / "second")
    for split, source in (("train", "eval"), ("eval", "train")):
        shutil.copytree(f"{examples}/Split-{source}", f"{second}/Split-{split}")
    results["grown"] = run("grown", Transform, out, [examples, second], schema, cache)
    results["whole"] = run("whole", Transform, out, [examples, second], schema)
    parquet = as_parquet(examples, schema, out / "parquet-examples")
    results["parquet"] = run("parquet", Transform, out, [parquet], schema, formats=PARQUET)
    found = {name: read(result) for name, result in results.items()}
    found["seconds"] = {name: result["seconds"] for name, result in results.items()}
    found["caches"] = {name: cache_files(results[name]) for name in ("ours", "again", "grown", "whole")}
    (out / "transform.json").write_text(json.dumps(found))
