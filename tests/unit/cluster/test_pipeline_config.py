"""A pipeline file's mistakes are named with their key and what is allowed."""

import dataclasses

import pytest

from cluster.pipeline import IngestConfig, Pipeline, load_pipeline
from cluster.pipeline.plan import plan
from cluster.pipeline.step import Step
from engine.core.configs import parse_assignment
from engine.core.errors import ConfigError

GOOD = """
[pipeline]
name = "clicks"
module = "clicks.py"
label = "clicked"
[data]
train = "train/*.parquet"
eval = "s3://bucket/eval"
[analyze]
[transform]
num_shards = 3
[train]
epochs = 2
learning_rate = { peak = 1, decay = "cosine" }
class_weights = { 0 = 1, 1 = 2.5 }
[train.hyperparameters]
units = [3, 4]
[export]
[evaluate]
slices = [["country"], ["country", "device"]]
thresholds = { auc = 0.75 }
"""


def load(tmp_path, text, **options):
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    return load_pipeline(path, **options)


def test_load_pipeline_reads_every_kind_of_value(tmp_path):
    pipeline = load(tmp_path, GOOD)
    assert pipeline.module == str(tmp_path / "clicks.py")
    assert pipeline.data.train == str(tmp_path / "train/*.parquet")
    assert pipeline.data.eval == "s3://bucket/eval"
    assert pipeline.work_dir == str(tmp_path / "runs/clicks")
    assert pipeline.transform.num_shards == 3
    assert pipeline.train.learning_rate.peak == 1.0
    assert pipeline.train.class_weights == {0: 1.0, 1: 2.5}
    assert pipeline.train.hyperparameters == {"units": [3, 4]}
    assert pipeline.evaluate.slices == (("country",), ("country", "device"))
    trainer = dataclasses.replace(pipeline.train, directory="out", label=pipeline.label).trainer()
    assert (trainer.directory, trainer.label, trainer.epochs) == ("out", "clicked", 2)


def test_targets_of_records_are_those_of_the_file_or_of_set(tmp_path):
    text = GOOD.replace(
        "[pipeline]", '[pipeline]\ntrack = ["mlflow:http://host:5000", "mlflow:", "mlmd:kept/metadata.db"]', 1
    )
    pipeline = load(tmp_path, text)
    assert pipeline.track == ("mlflow:http://host:5000", "mlflow:", f"mlmd:{tmp_path}/kept/metadata.db")
    assert load(tmp_path, GOOD).track == load(tmp_path, text, overrides=["pipeline.track=[]"]).track == ()
    with pytest.raises(ConfigError, match=r"pipeline.toml: track: got 'mlflow:'; expected a list"):
        load(tmp_path, GOOD, overrides=["pipeline.track=mlflow:"])


def test_load_pipeline_overrides_win_over_the_file(tmp_path):
    pipeline = load(tmp_path, GOOD, overrides=["train.epochs=5", "pipeline.name=x", "train.hyperparameters.units=[9]"])
    assert (pipeline.train.epochs, pipeline.name, pipeline.train.hyperparameters["units"]) == (5, "x", [9])
    assert load(tmp_path, GOOD, work_dir=str(tmp_path / "w")).work_dir == str(tmp_path / "w")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs = 2", "epoch = 2", ["train.epoch: unknown key", "did you mean 'epochs'"]),
        ("[transform]", "[transfrom]", ["transfrom: unknown key", "did you mean 'transform'"]),
        ("num_shards = 3", 'num_shards = "3"', ["transform.num_shards: got '3'; expected a whole number"]),
        ("num_shards = 3", "num_shards = true", ["transform.num_shards: got True; expected a whole number"]),
        ("num_shards = 3", "num_shards = 0", ["transform.num_shards: got 0; expected 1 or more"]),
        (
            "num_shards = 3",
            'format = "parqet"',
            ["transform.format: got 'parqet'; expected one of", "did you mean 'parquet'", "'tfrecord'"],
        ),
        ("epochs = 2", "epochs = 0", ["train.epochs", "at least 1"]),
        ("epochs = 2", "", ["train.epochs", "either epochs or steps"]),
        ("epochs = 2", 'epochs = 2\ndirectory = "x"', ["train.directory: the pipeline sets it"]),
        ('slices = [["country"]', 'slices = ["country"', ["evaluate.slices[0]: got 'country'", "expected a list"]),
        ("thresholds = { auc = 0.75 }", "thresholds = { auc = { mn = 1 } }", ["mn", "min"]),
        ("{ auc = 0.75 }", "{ acu = 0.75 }", ["thresholds.acu: no such metric is computed", "did you mean 'auc'?"]),
        ("{ auc = 0.75 }", "{ rmse = 0.75 }", ["thresholds.rmse", "is to be named in metrics"]),
        (
            "thresholds = { auc = 0.75 }",
            'metrics = ["mrr"]\nthresholds = { auc = 0.75 }',
            ["thresholds.auc", "computed are example_count, mrr."],
        ),
        (
            "thresholds = { auc = 0.75 }",
            'metrics = ["fairness"]\nthresholds = { "out/fpr@0.3" = 0.75 }',
            ["thresholds.out/fpr@0.3: no such metric"],
        ),
        ('label = "clicked"', "", ["pipeline.label: missing"]),
        ('label = "clicked"', 'lable = "clicked"', ["pipeline.lable: unknown key"]),
        ("[analyze]\n", "", ["[transform] needs the results of [analyze]"]),
        ("[analyze]\n", "[analyze]\nweight = 'w'\n", ["analyze.weight: got 'w'; expected none without stats"]),
        ("[analyze]\n", "[analyze]\nslices = [['c']]\n", ["analyze.slices: ", "none without stats"]),
        ("[analyze]\n", "[analyze]\nstats = ''\n", ["analyze.stats: got ''; expected a directory"]),
        (
            "[analyze]\n",
            "[analyze]\nspans = 's'\nstats = 't'\n",
            ["analyze.spans: got 's'; expected none beside stats"],
        ),
        (
            "[analyze]\n",
            "[analyze]\nspans = 's'\nlabels = ['c']\n",
            ["analyze.spans: ", "none beside stats and labels"],
        ),
        ("[export]\n", "", ["[evaluate] needs the results of [export]"]),
        ('train = "train/*.parquet"', "", ["data.train: missing", "a text"]),
        ("[data]", "[data]\n[data]", ["not TOML"]),
        ("peak = 1", "peek = 1", ["train.learning_rate.peek: unknown key", "did you mean 'peak'"]),
        ("0 = 1,", "zero = 1,", ["train.class_weights", "whole number as key"]),
    ],
)
def test_load_pipeline_names_the_mistake(tmp_path, old, new, expected):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "pipeline.toml"))
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    "settings",
    [
        "thresholds = { AUC = 0.7, log_loss = 0.3, count = 10, mse = 1, accuracy = 0.5, macro_f1 = 0.1 }",
        'metrics = ["fairness@0.3", "top_3", "rmse"]\nthresholds = { "out/fpr@0.30" = 0.75, rmse = 1, top_3_accuracy = 0.9 }',
        'metrics = ["MaxRecall"]\nthresholds = { max_recall = 0.75 }',
        'metrics = ["per_class", "ndcg_at_10"]\nthresholds = { "recall@classId:7" = 0.5, ndcg_at_10 = 0.2 }',
        'task = "regression"\nthresholds = { MeanSquaredError = 0.5 }',
        'eval_config = "eval.pbtxt"\nthresholds = { any_metric = 0.5 }',
    ],
)
def test_thresholds_of_what_is_computed_are_taken(tmp_path, settings):
    evaluate = load(tmp_path, GOOD.replace("thresholds = { auc = 0.75 }", settings, 1)).evaluate
    assert evaluate.thresholds


def test_load_pipeline_without_file_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"no pipeline file .*nothing\.toml"):
        load_pipeline(tmp_path / "nothing.toml")


def test_pipeline_takes_either_ingest_or_data():
    with pytest.raises(ConfigError, match=r"either \[ingest\] or \[data\]"):
        Pipeline(name="x", module="x.py", label="y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": {"train": 1.0, "eval": 0.0}}, "fractions are"),
        ({"fractions": {"train": float("nan"), "eval": 0.5}}, "fractions are"),
        ({"fractions": {"../up": 0.5, "eval": 0.5}}, "'../up' names a part"),
        ({"fractions": {"train": 1.0}}, "a pipeline needs the parts train and eval"),
        ({"parts": {"train": "a.csv", "test": "b.csv"}}, "a pipeline needs the parts train and eval"),
        ({"parts": {"train": "a.csv", "eval": "b.csv"}, "split_by": ("k",)}, "and a way to split"),
        ({"split_by": ("k",), "split_time": "x", "eval_from": 1}, "split_by and split_time are given"),
        ({"split_time": "t"}, "split_time=.t. needs eval_from"),
        ({"delimiter": ";;"}, "delimiter is ';;'"),
        ({"encoding": "latin-one"}, "encoding 'latin-one'"),
        ({"num_shards": 0}, "num_shards = 0"),
    ],
)
def test_ingest_config_refuses_what_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        IngestConfig(sources={"a": "a.csv"}, **options)


def test_ingest_options_have_the_names_and_defaults_of_the_engine():
    import inspect
    import typing

    from cluster.cli.main import build_parser
    from engine import ingest
    from engine.formats.csv.options import CsvOptions
    from engine.ingestion.file_kind import INPUT_FORMATS

    engine = {name: p.default for name, p in inspect.signature(ingest).parameters.items() if p.default is not p.empty}
    engine |= {f.name: f.default for f in dataclasses.fields(CsvOptions)}
    config = {f.name: f.default for f in dataclasses.fields(IngestConfig)}
    command, _ = build_parser("ingest")
    words = vars(command.parse_args(["ingest", "x", "--out", "y"]))
    same = [
        "fractions",
        "stratify_by",
        "split_time",
        "eval_from",
        "test_from",
        "seed",
        "label",
        "num_shards",
        "input_format",
    ]
    same += ["delimiter", "encoding", "header", "column_names", "skip_rows", "quote", "escape", "null_values"]
    for name in same:
        assert config[name] == engine[name] == words[name], name
    assert (config["compression"], engine["compression"], words["compression"]) == ("none", None, "none")
    hint = typing.get_type_hints(IngestConfig)["input_format"]
    assert typing.get_args(typing.get_args(hint)[0]) == INPUT_FORMATS
    assert not config["split_by"] and not engine["split_by"] and not words["split_by"]


def test_pipeline_is_frozen():
    config = IngestConfig(sources={"a": "a.csv"}, split_by=("k",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_shards = 3


def test_parse_assignment_reads_toml_and_plain_words():
    assert parse_assignment("a.b=[1, 2]") == ("a.b", [1, 2])
    assert parse_assignment("a=plain word") == ("a", "plain word")
    assert parse_assignment("a='x=y'") == ("a", "x=y")
    assert parse_assignment('a={"metric": "auc"}') == ("a", {"metric": "auc"}), "JSON, too"
    assert parse_assignment("a=null") == ("a", None)
    assert parse_assignment("a=2026-01-31") == ("a", "2026-01-31")
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_assignment("a")


def test_every_setting_stands_in_the_documentation():
    from pathlib import Path

    import cluster.pipeline as pipeline

    text = (Path(__file__).parents[3] / "docs/pipeline.md").read_text()
    for name in ("Ingest", "Data", "Stats", "Validate", "Analyze", "Transform", "Export", "Evaluate", "Push"):
        assert f"[{name.lower()}]" in text
        for field in dataclasses.fields(getattr(pipeline, f"{name}Config")):
            assert f"`{field.name}`" in text, f"{name}: {field.name}"


def test_what_a_key_is_made_of_shows_no_credentials_and_tells_them_apart(tmp_path):
    """Records, pages, MLflow and metadata stores show the parts, for others to see; what looks the same there may not be."""
    keys = set()
    for user in ("AKIA1:topsecret1", "AKIA2:topsecret2%2F"):
        table = f"s3://{user}@bucket/table.csv?session_token=alsosecret{len(keys)}"
        pipeline = load(tmp_path, GOOD.replace("units = [3, 4]", f'table = "{table}"', 1))
        assert pipeline.train.hyperparameters == {"table": table}
        (decision,) = plan(pipeline, [Step(name="train", after=(), run=None)])
        assert decision.parts["train.hyperparameters"] == '{"table": "s3://***@bucket/table.csv?session_token=***"}'
        assert "secret" not in "".join(decision.parts.values())
        keys.add(decision.key)
    assert len(keys) == 2
