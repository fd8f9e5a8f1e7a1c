"""What came out of the pipeline, asked by TensorFlow, TFMA and our own evaluation. Usage: check.py OUT; writes OUT/check.json"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
from flights_model import preprocessing_fn
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_module import run_fn

from engine import Dataset
from trainers.evaluation.evaluate import evaluate
from transforms import analyze

OUT = Path(sys.argv[1])
URIS = json.loads((OUT / "uris.json").read_text())
RAW = next(u for u in URIS["Examples"] if "CsvExampleGen" in u)
TRANSFORMED = next(u for u in URIS["Examples"] if "Transform" in u)
(GRAPH,), (MODEL,), (RUN,) = URIS["TransformGraph"], URIS["Model"], URIS["ModelRun"]
SERVING = f"{MODEL}/Format-Serving"
SPEC = tft.TFTransformOutput(GRAPH).raw_feature_spec()


def records(directory):
    files = sorted(tf.io.gfile.glob(f"{directory}/*.gz"))
    return np.array([r.numpy() for r in tf.data.TFRecordDataset(files, compression_type="GZIP")], dtype=object)


def answers(signature, examples, spec=None):
    parts = []
    for start in range(0, len(examples), 4096):
        batch = tf.constant(examples[start : start + 4096])
        inputs = {"examples": batch} if spec is None else tf.io.parse_example(batch, spec)
        parts.append(signature(**inputs)["outputs"].numpy()[:, 0])
    return np.concatenate(parts)


def served():
    """Raw examples through the served model, and TFX's own transformed examples through the model alone."""
    loaded = tf.saved_model.load(SERVING)
    raw = records(f"{RAW}/Split-eval")
    by_raw = answers(loaded.signatures["serving_default"], raw)
    spec = tft.TFTransformOutput(GRAPH).transformed_feature_spec()
    spec.pop("late")
    by_transformed = answers(loaded.signatures["transformed_features"], records(f"{TRANSFORMED}/Split-eval"), spec)
    late = (
        tf.io.parse_example(raw, {"arr_delay": tf.io.FixedLenFeature([1], SPEC["arr_delay"].dtype)})[
            "arr_delay"
        ].numpy()
        > 15
    )
    auc = tf.keras.metrics.AUC(num_thresholds=1000)
    auc.update_state(late[:, 0], by_raw)
    difference = float(np.abs(np.sort(by_raw) - np.sort(by_transformed)).max())
    return {
        "rows": len(by_raw),
        "rows_transformed": len(by_transformed),
        "difference": difference,
        "auc": float(auc.result()),
    }


def evaluated():
    """Our metrics by segment beside those of TFX's Evaluator."""
    ours = evaluate(SERVING, Dataset.open(f"{RAW}/Split-eval/*.gz", feature_spec=SPEC), "late", slices=["carrier"])
    result = tfma.load_eval_result(URIS["ModelEvaluation"][0])
    theirs = {}
    for key, metrics in result.get_metrics_for_all_slices().items():
        theirs["".join(str(v) for _, v in key)] = {n: v.get("doubleValue") for n, v in metrics.items()}
    mine = {"": ours.overall, **{s.key["carrier"]: s.metrics for s in ours.slices}}
    names = ("auc", "example_count", "binary_accuracy", "mean_prediction")
    pairs = {k: {n: [mine[k][n], theirs[k].get(n)] for n in names} for k in mine}
    return {"segments": pairs, "theirs": sorted(theirs)}


def analyzed():
    """The same preprocessing_fn through our own passes: vocabularies and transformed rows as TFX's Transform made them."""
    data = Dataset.open(f"{RAW}/Split-train/*.gz", feature_spec=SPEC)
    analyze(data, preprocessing_fn, str(OUT / "graph"))
    ours, theirs = tft.TFTransformOutput(str(OUT / "graph")), tft.TFTransformOutput(GRAPH)
    raw = tf.io.parse_example(records(f"{RAW}/Split-eval")[:2000], SPEC)
    mine, other = ours.transform_features_layer()(raw), theirs.transform_features_layer()(raw)
    names = ("carrier", "origin", "dest")
    return {
        "rows": data.num_records,
        "vocabularies_equal": all(ours.vocabulary_by_name(n) == theirs.vocabulary_by_name(n) for n in names),
        "worst": {k: float(np.abs(mine[k].numpy().astype(np.float64) - other[k].numpy()).max()) for k in mine},
    }


def trained_again():
    """run_fn on the same examples as Parquet, for which TFX has no tf.data path, from the first model's weights."""
    spec = tft.TFTransformOutput(GRAPH).transformed_feature_spec()
    for split in ("train", "eval"):
        data = Dataset.open(f"{TRANSFORMED}/Split-{split}/*.gz", feature_spec=spec)
        data.write(str(OUT / "parquet" / split), format="parquet", num_shards=2)
    args = FnArgs(
        train_files=[str(OUT / "parquet/train/*.parquet")],
        eval_files=[str(OUT / "parquet/eval/*.parquet")],
        train_steps=1,
        eval_steps=None,
        transform_graph_path=GRAPH,
        serving_model_dir=str(OUT / "again/model"),
        model_run_dir=str(OUT / "again/run"),
        base_model=SERVING,
        hyperparameters={"space": [], "values": {"units": 32}},
        custom_config={"checkpoint": {"every_steps": 1}},
    )
    run_fn(args)
    loaded = tf.saved_model.load(args.serving_model_dir)
    raw = records(f"{RAW}/Split-eval")[:2000]
    first = answers(tf.saved_model.load(SERVING).signatures["serving_default"], raw)
    return {"moved": float(np.abs(answers(loaded.signatures["serving_default"], raw) - first).max())}


found = {
    "served": served(),
    "evaluated": evaluated(),
    "analyzed": analyzed(),
    "trained_again": trained_again(),
    "blessed": Path(URIS["ModelBlessing"][0], "BLESSED").exists(),
    "event_files": [p.name for p in Path(RUN).rglob("*tfevents*")],
    "pyarrow": __import__("pyarrow").__version__,
    "python": sys.version.split()[0],
}
(OUT / "check.json").write_text(json.dumps(found, indent=1))
