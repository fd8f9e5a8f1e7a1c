"""Full passes of a user's `preprocessing_fn` on their data: ours beside TensorFlow Transform on Beam's DirectRunner."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.benchmarking.pairs import paired
from cluster.benchmarking.reading import Pair, first_files
from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["measure_passes", "tft_run", "vocabularies"]


def measure_passes(
    dataset: Dataset, preprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]], rounds: int, max_records: int
) -> Pair:
    """Returns the comparison of an analysis of the first files that hold `max_records` records, or of all.

    Args:
        dataset: an `engine.Dataset` of TFRecord, which TFT reads too.
        preprocessing_fn: of the user's module.
        rounds: interleaved pairs, at least 1, after one run of each.
        max_records: files are added until they hold so many records.

    Raises:
        ConfigError: no records, a number less than 1, other data than TFRecord files of tf.Example, or two graphs with other
            vocabularies.
    """
    from engine.schema.sequence import is_sequence
    from transforms import analyze

    part = first_files(dataset, max_records, rounds)
    if part.format != "tfrecord":
        raise ConfigError(
            f"--against tft: the data are {part.format}; TFT is measured on TFRecord files, which both read"
        )
    if any(map(is_sequence, part.schema)):
        raise ConfigError("--against tft: the data are tf.SequenceExample, of which TFT would read the context alone")
    with tempfile.TemporaryDirectory(prefix="fullpass-bench-") as directory:
        ours, theirs = Path(directory) / "ours", Path(directory) / "tft"

        def run_ours() -> None:
            analyze(part, preprocessing_fn, ours)

        def run_theirs() -> None:
            tft_run(part.paths, part.feature_spec(), preprocessing_fn, theirs)

        theirs.mkdir()
        run_ours()
        run_theirs()
        mine, other = vocabularies(ours), vocabularies(theirs / "graph")
        if mine != other:
            names = sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))
            raise ConfigError(f"the vocabularies {', '.join(names)} of both are not the same; they are not comparable")
        result = paired(run_ours, run_theirs, rounds, warm_up=False)
    return Pair.of("analyze", "TFT on Beam's DirectRunner", part.num_records, result)


def tft_run(
    paths: str | Sequence[str],
    feature_spec: dict[str, Any],
    preprocessing_fn: Callable[[dict[str, Any]], dict[str, Any]],
    out: str | os.PathLike[str],
    shards: str | None = None,
) -> None:
    """TFT's own way from TFRecord files to the transform graph, and to transformed TFRecord shards where asked.

    Args:
        paths: TFRecord files, or a glob.
        feature_spec: of their features, without default values.
        preprocessing_fn: the function.
        out: an existing directory; the graph goes to `graph` in it.
        shards: an existing directory for transformed shards; None writes none.
    """
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.tfxio import tf_example_record

    schema = schema_utils.schema_from_feature_spec(feature_spec)
    files = paths if isinstance(paths, str) else list(paths)
    source = tf_example_record.TFExampleRecord(files, telemetry_descriptors=["bench"], schema=schema)
    with (
        beam.Pipeline(runner="DirectRunner") as pipeline,
        tft_beam.Context(temp_dir=tempfile.mkdtemp(dir=out)),
    ):
        dataset = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        if shards is None:
            transform_fn = dataset | tft_beam.AnalyzeDataset(preprocessing_fn)
        else:
            transformed, transform_fn = dataset | tft_beam.AnalyzeAndTransformDataset(
                preprocessing_fn, output_record_batches=True
            )
            _ = transformed | tft_beam.EncodeTransformedDataset() | beam.io.WriteToTFRecord(shards + "/part")
        _ = transform_fn | tft_beam.WriteTransformFn(os.path.join(out, "graph"))


def vocabularies(graph: str | os.PathLike[str]) -> dict[str, bytes]:
    """Returns the contents of a transform graph's vocabulary files by name."""
    assets = Path(graph) / "transform_fn" / "assets"
    return {path.name: path.read_bytes() for path in sorted(assets.iterdir())} if assets.exists() else {}
