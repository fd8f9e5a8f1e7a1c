"""TFX's Transform and ours on the same examples, then ours with the cache of that run. Usage: transform.py OUT EXAMPLES_URI SCHEMA_URI"""

import json
import sys
import time
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from transforms.tfx import Transform

HERE = Path(__file__).parent


def run(name: str, component, out: Path, examples: str, schema: str, cache: str | None = None) -> dict:
    """Runs one Transform by itself; returns its seconds and where its outputs lie."""
    sources = [
        tfx.dsl.Importer(
            source_uri=examples,
            artifact_type=standard_artifacts.Examples,
            properties={"split_names": '["train", "eval"]'},
        ).with_id("examples"),
        tfx.dsl.Importer(source_uri=schema, artifact_type=standard_artifacts.Schema).with_id("schema"),
    ]
    given = {}
    if cache is not None:
        sources.append(
            tfx.dsl.Importer(source_uri=cache, artifact_type=standard_artifacts.TransformCache).with_id("cache")
        )
        given["analyzer_cache"] = sources[-1].outputs["result"]
    transform = component(
        examples=sources[0].outputs["result"],
        schema=sources[1].outputs["result"],
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
        kinds = {kind.id: kind.name for kind in store.store.get_artifact_types()}
        for artifact in store.store.get_artifacts():
            if f"/{name}/" in artifact.uri:
                uris[artifact.uri.split("/Transform/")[-1].split("/")[0]] = (kinds[artifact.type_id], artifact.uri)
    return {"seconds": seconds, "uris": uris}


def read(result: dict) -> dict:
    """Returns what a run wrote: vocabularies, schema, the transformed rows of the eval split, and the files of each output."""
    graph = Path(result["uris"]["transform_graph"][1])
    output = tft.TFTransformOutput(str(graph))
    assets = {path.name: path.read_text() for path in sorted((graph / "transform_fn" / "assets").glob("*"))}
    files = sorted(map(str, Path(result["uris"]["transformed_examples"][1]).glob("Split-eval/*")))
    rows = sorted(record.numpy() for record in tf.data.TFRecordDataset(files, "GZIP"))
    parsed = tf.io.parse_example(rows, output.transformed_feature_spec())
    values = {
        name: (tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value).numpy().reshape(-1).tolist()
        for name, value in parsed.items()
    }
    return {
        "assets": assets,
        "spec": repr(output.transformed_feature_spec()),
        "raw_metadata": (graph / "metadata" / "schema.pbtxt").exists(),
        "rows": len(rows),
        "values": {name: sorted(column) for name, column in values.items()},
        "outputs": {
            name: len([file for file in Path(uri).rglob("*") if file.is_file()])
            for name, (_, uri) in result["uris"].items()
        },
    }


if __name__ == "__main__":
    out, examples, schema = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    out.mkdir(parents=True, exist_ok=True)
    theirs = run("theirs", tfx.components.Transform, out, examples, schema)
    ours = run("ours", Transform, out, examples, schema)
    again = run("again", Transform, out, examples, schema, ours["uris"]["updated_analyzer_cache"][1])
    found = {"theirs": read(theirs), "ours": read(ours), "again": read(again)}
    found["seconds"] = {"theirs": theirs["seconds"], "ours": ours["seconds"], "again": again["seconds"]}
    (out / "transform.json").write_text(json.dumps(found))
