"""CsvExampleGen, StatisticsGen, SchemaGen, Transform, Trainer and Evaluator on LocalDagRunner. Usage: pipeline.py CSV_DIR OUT"""

import json
import sys
from pathlib import Path

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata

HERE = Path(__file__).parent


def make_pipeline(csv_dir: str, out: Path):
    examples = tfx.components.CsvExampleGen(input_base=csv_dir)
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        module_file=str(HERE / "tfx_module.py"),
    )
    trainer = tfx.components.Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        module_file=str(HERE / "tfx_module.py"),
        train_args=tfx.proto.TrainArgs(num_steps=100),
        eval_args=tfx.proto.EvalArgs(num_steps=10),
        custom_config={"checkpoint": {"every_steps": 50, "keep": 2}},
    )
    bound = tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": 0.8}))
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=bound)
    config = tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default", label_key="late", preprocessing_function_names=["transform_features"]
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["carrier"])],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="AUC", per_slice_thresholds=[overall]),
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(class_name="BinaryAccuracy"),
                    tfma.MetricConfig(class_name="MeanPrediction"),
                ]
            )
        ],
    )
    evaluator = tfx.components.Evaluator(
        examples=examples.outputs["examples"], model=trainer.outputs["model"], eval_config=config
    )
    return tfx.dsl.Pipeline(
        pipeline_name="flights",
        pipeline_root=str(out / "root"),
        components=[examples, statistics, schema, transform, trainer, evaluator],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(out / "mlmd.sqlite")
        ),
        beam_pipeline_args=["--direct_running_mode=in_memory"],
    )


def uris(out: Path) -> dict:
    """Returns where the artifacts of each type lie."""
    found: dict = {}
    config = metadata.sqlite_metadata_connection_config(str(out / "mlmd.sqlite"))
    with metadata.Metadata(config) as store:
        for kind in ("Examples", "Schema", "TransformGraph", "Model", "ModelRun", "ModelEvaluation", "ModelBlessing"):
            found[kind] = [artifact.uri for artifact in store.store.get_artifacts_by_type(kind)]
    return found


if __name__ == "__main__":
    csv_dir, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    tfx.orchestration.LocalDagRunner().run(make_pipeline(csv_dir, out))
    (out / "uris.json").write_text(json.dumps(uris(out)))
