"""An exported model answers raw examples as the trained one does, in a process that knows TensorFlow alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from engine import ConfigError
from tests.support import flights as data

ROWS = 12000

# Runs in a directory that is not the project's, with an import path that does not have it.
LOADER = """
import sys
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
records = np.load(sys.argv[2], allow_pickle=True)
answers = []
for start in range(0, len(records), 4000):
    answers.append(loaded.signatures["serving_default"](examples=tf.constant(records[start:start + 4000]))["outputs"].numpy())
np.save(sys.argv[3], np.concatenate(answers)[:, 0])
for name in ("engine", "transforms", "trainers", "cluster", "tensorflow_transform", "keras.src.models"):
    assert name not in sys.modules or name.startswith("keras"), name
"""


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    return data.make_flights(tmp_path_factory.mktemp("flights"), ROWS)


@pytest.fixture(scope="module")
def version(flights):
    from trainers.export.export import export_saved_model

    return export_saved_model(
        flights.model,
        flights.directory / "models",
        transform_graph=flights.graph,
        raw_feature_spec=flights.spec,
        label=data.LABEL,
        data_manifest=flights.raw.manifest,
        config={"epochs": 2},
        metrics={"auc": 0.9},
    )


def examples_without_label(flights):
    """Serialized tf.Examples made by TensorFlow itself, without the column that the label comes from."""
    import tensorflow as tf

    records = []
    for row in flights.table.to_pylist():
        example = tf.train.Example()
        for name, value in row.items():
            if value is None or name == "arr_delay":
                continue
            feature = example.features.feature[name]
            kind = (
                feature.bytes_list
                if isinstance(value, bytes)
                else feature.int64_list
                if isinstance(value, int)
                else feature.float_list
            )
            kind.value.append(value)
        records.append(example.SerializeToString())
    return records


def trained_answers(flights, model=None):
    features = {name: value for name, value in flights.transformed.items() if name != data.LABEL}
    return np.asarray((model or flights.model).predict(features, batch_size=4096, verbose=0))[:, 0]


def test_export_loaded_by_plain_tensorflow_answers_as_trainer_did(flights, version, tmp_path):
    np.save(tmp_path / "records.npy", np.array(examples_without_label(flights), dtype=object), allow_pickle=True)
    script = tmp_path / "loader.py"
    script.write_text(LOADER)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(script), str(version), str(tmp_path / "records.npy"), str(tmp_path / "answers.npy")]
    subprocess.run(command, check=True, cwd=tmp_path, env=env, timeout=300)
    answers = np.load(tmp_path / "answers.npy")
    assert len(answers) == ROWS >= 10_000
    np.testing.assert_allclose(answers, trained_answers(flights), rtol=0, atol=1e-6)


def test_export_all_signatures_agree(flights, version):
    import tensorflow as tf

    from trainers.export.predict import LoadedModel

    batch = next(iter(flights.raw.read_batches(batch_rows=2048)))
    loaded = tf.saved_model.load(str(version))
    expected = trained_answers(flights)[: batch.num_rows]
    np.testing.assert_allclose(LoadedModel(version).predict(batch), expected, atol=1e-6)
    features = {k: tf.constant(v[: batch.num_rows]) for k, v in flights.transformed.items() if k != data.LABEL}
    answers = loaded.signatures["transformed_features"](**features)["outputs"].numpy()[:, 0]
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    transformed = LoadedModel(version).transformed(batch, [data.LABEL, "carrier_id"])
    for name, values in transformed.items():
        np.testing.assert_array_equal(values, flights.transformed[name][: batch.num_rows])


def test_export_does_not_ask_for_features_that_only_label_needs(version):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    assert "arr_delay" not in loaded.signatures["raw_features"].structured_input_signature[1]
    example = tf.train.Example()
    for name, value in (("carrier", b"AA"), ("origin", b"JFK")):
        example.features.feature[name].bytes_list.value.append(value)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"distance|dep_delay|hour"):
        loaded.signatures["serving_default"](examples=tf.constant([example.SerializeToString()]))


def test_export_holds_no_optimizer_and_no_keras_objects(flights, version):
    import tensorflow as tf

    names = [name for name, _ in tf.train.list_variables(str(version / "variables/variables"))]
    assert not [name for name in names if "optimizer" in name or "momentum" in name]
    size = sum(v.shape.num_elements() for v in flights.model.variables)
    variables = tf.train.list_variables(str(version / "variables/variables"))
    stored = sum(int(np.prod(shape)) for name, shape in variables if "model_variables" in name)
    assert stored == size


def test_export_model_card_says_where_model_comes_from(flights, version):
    from trainers.export.card import read_card
    from trainers.export.digest import tree_digest

    card = read_card(version)
    assert card is not None
    assert card["data"] == {"manifest": flights.raw.manifest.hash, "records": ROWS, "files": 2}
    assert card["transform_graph"]["sha256"] == tree_digest(flights.graph)
    assert card["label"] == ["late"] and card["config"] == {"epochs": 2} and card["metrics"] == {"auc": 0.9}
    assert "arr_delay" not in card["raw_features"] and card["raw_features"]["dest"]["kind"] == "VarLenFeature"
    assert set(card["signatures"]) >= {"serving_default", "raw_features", "transformed_features"}
    text = (version / "assets.extra/model_card.md").read_text()
    assert flights.raw.manifest.hash in text and r"late\_flights" in text


def test_export_takes_a_schema_proto_as_raw_feature_spec(tmp_path):
    import tensorflow as tf
    from tensorflow_transform.tf_metadata import schema_utils

    from trainers.export.export import export_saved_model

    class Double(tf.Module):
        @tf.function
        def __call__(self, features):
            return 2.0 * features["x"]

    proto = schema_utils.schema_from_feature_spec({"x": tf.io.FixedLenFeature([], tf.float32)})
    (tmp_path / "schema.pbtxt").write_text(str(proto))
    for given in (proto, tmp_path / "schema.pbtxt"):
        version = export_saved_model(Double(), tmp_path / "out", raw_feature_spec=given)
        serve = tf.saved_model.load(str(version)).signatures["serving_default"]
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=[1.5]))
        example = tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()
        assert serve(examples=tf.constant([example]))["outputs"].numpy().tolist() == [3.0]


def test_export_versions_count_up_and_never_change(flights, tmp_path):
    import keras

    from trainers.export.export import export_saved_model, version_numbers

    model = keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1)])
    import tensorflow as tf

    spec = {"x": tf.io.FixedLenFeature([1], tf.float32)}
    made: list = []

    def export(version=None):
        made.append(export_saved_model(model, tmp_path, raw_feature_spec=spec, version=version))

    export(7)
    threads = [threading.Thread(target=export) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert version_numbers(tmp_path) == [7, 8, 9]
    with pytest.raises(ConfigError, match=r"version=8: .* is there already"):
        export(8)
    with pytest.raises(ConfigError, match="version=0"):
        export(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "lates"}, "'lates'.*late"),
        ({"features": ["nothing"]}, "'nothing'"),
        ({"transform_graph": "."}, "is not a transform graph"),
    ],
)
def test_export_of_what_is_not_there_says_what_is(flights, tmp_path, change, message):
    from trainers.export.export import export_saved_model

    settings = {"transform_graph": flights.graph, "raw_feature_spec": flights.spec, "label": data.LABEL, **change}
    with pytest.raises(ConfigError, match=message):
        export_saved_model(flights.model, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")


def test_export_with_spec_of_other_types_is_refused(flights, tmp_path):
    import tensorflow as tf

    from trainers.export.export import export_saved_model

    spec = {**flights.spec, "distance": tf.io.FixedLenFeature([], tf.int64)}
    with pytest.raises(ConfigError, match="'distance'"):
        export_saved_model(
            flights.model, tmp_path, transform_graph=flights.graph, raw_feature_spec=spec, label=data.LABEL
        )


def test_export_options_hold_what_keywords_do_not_replace(tmp_path):
    import tensorflow as tf

    from trainers.export import ExportOptions, export_saved_model, version_numbers
    from trainers.export.card import read_card

    class Sum(tf.Module):
        def __call__(self, features):
            return features["x"]

    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in "xy"}
    options = ExportOptions(raw_feature_spec=spec, label="y", config={"epochs": 2}, metrics={"auc": 0.5})
    card = read_card(export_saved_model(Sum(), tmp_path, options, metrics={"auc": 0.9}, version=4))
    assert card is not None and (card["label"], card["config"], card["metrics"]) == (["y"], {"epochs": 2}, {"auc": 0.9})
    assert set(card["raw_features"]) == {"x"} and options.metrics == {"auc": 0.5}
    with pytest.raises(TypeError, match="lable"):
        export_saved_model(Sum(), tmp_path, options, lable="y")
    assert version_numbers(tmp_path) == [4]


def test_export_failed_in_the_middle_leaves_nothing(flights, tmp_path, monkeypatch):
    from trainers import export
    from trainers.export import card

    monkeypatch.setattr(card, "write_card", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export.export_saved_model(
            flights.model, tmp_path, transform_graph=flights.graph, raw_feature_spec=flights.spec, label=data.LABEL
        )
    assert export.version_numbers(tmp_path) == [] and not list(tmp_path.glob(".*tmp*"))


def test_export_of_tf_keras_model_answers_as_it_does(flights, tmp_path):
    import tf_keras

    from trainers.export.export import export_saved_model
    from trainers.export.from_checkpoint import check_export

    inputs = {
        name: tf_keras.Input((), name=name, dtype=flights.transformed[name].dtype)
        for name in ("dep_delay_z", "carrier_id")
    }
    table = tf_keras.layers.Embedding(20, 3)(inputs["carrier_id"])
    hidden = tf_keras.layers.Concatenate()([tf_keras.layers.Reshape((1,))(inputs["dep_delay_z"]), table])
    hidden = tf_keras.layers.BatchNormalization()(hidden)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy")
    features = {name: flights.transformed[name] for name in inputs}
    model.fit(features, flights.transformed[data.LABEL], batch_size=1024, verbose=0)
    version = export_saved_model(
        model,
        tmp_path,
        transform_graph=flights.graph,
        raw_feature_spec=flights.spec,
        label=data.LABEL,
        features=list(inputs),
    )
    assert check_export(version, model, flights.raw, flights.graph, rows=3000) <= 1e-6
    card = json.loads((version / "assets.extra/model_card.json").read_text())
    assert set(card["raw_features"]) == {"dep_delay", "carrier"}


def test_export_of_tf_module_with_lookup_table_keeps_its_table(flights, tmp_path):
    import tensorflow as tf

    from trainers.export.export import export_saved_model
    from trainers.export.predict import LoadedModel

    class Prior(tf.Module):
        def __init__(self):
            super().__init__()
            keys, values = tf.constant(["AA", "UA"]), tf.constant([0.25, 0.5])
            self.parts = [tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)]
            self.scale = tf.Variable(2.0)

        def __call__(self, features):
            return {"prior": self.parts[0].lookup(features["carrier"]) * self.scale}

    module = Prior()
    version = export_saved_model(module, tmp_path, raw_feature_spec=flights.spec, features=["carrier"])
    module.scale.assign(0.0)
    batch = next(iter(flights.raw.read_batches(batch_rows=500)))
    answers = LoadedModel(version).predict(batch)
    expected = [{b"AA": 0.5, b"UA": 1.0}.get(value, 0.0) for value in batch.column("carrier").to_pylist()]
    np.testing.assert_array_equal(answers, np.array(expected, np.float32))


def test_lineage_names_a_flipped_byte_anywhere_from_raw_data_to_version(flights, tmp_path):
    from engine import Dataset
    from trainers import Trainer, TrainerConfig
    from trainers.export.from_checkpoint import export_checkpoint
    from trainers.serving.lineage import lineage

    for part in ("raw", "graph", "transformed"):  # copies: they are damaged below
        shutil.copytree(flights.directory / part, tmp_path / part)
    config = TrainerConfig(directory=str(tmp_path / "run"), label=data.LABEL, global_batch_size=1000, steps=4)
    train = Dataset.open(tmp_path / "transformed")
    Trainer(config, data.build_model, train, transform_graph=str(tmp_path / "graph")).fit()
    version = export_checkpoint(
        tmp_path / "run",
        data.build_model,
        tmp_path / "models",
        transform_graph=str(tmp_path / "graph"),
        raw_feature_spec=flights.spec,
    )

    def chain():
        given = {"data": tmp_path / "transformed", "raw_data": str(tmp_path / "raw")}
        return {link.name: link for link in lineage(version, **given, deep=True)}

    whole = chain()
    assert {name for name, link in whole.items() if link.holds} >= {
        "model",
        "configuration",
        "checkpoint",
        "transform graph",
        "data",
        "raw data",
    }
    assert not [link for link in whole.values() if link.holds is False]
    (state,) = (tmp_path / "run").rglob("state.json")
    for link, file in (
        ("model", next((version / "variables").glob("variables.data*"))),
        ("checkpoint", state),
        ("checkpoint", next(state.parent.glob("tensors.data*"))),
        ("transform graph", tmp_path / "graph" / "transform_fn" / "saved_model.pb"),
        ("transform graph", next((tmp_path / "graph" / "transform_fn" / "assets").iterdir())),
        ("transform graph", tmp_path / "graph" / "fullpass_provenance.json"),
        ("data", next((tmp_path / "transformed").glob("*.parquet"))),
        ("data", next((tmp_path / "transformed").glob("*.json"))),
        ("raw data", next((tmp_path / "raw").glob("*.parquet"))),
    ):
        before = file.read_bytes()
        flipped = bytearray(before)
        flipped[len(before) // 3] ^= 1
        file.write_bytes(flipped)
        assert chain()[link].holds is False, file
        file.write_bytes(before)
    shutil.rmtree(tmp_path / "graph")
    shutil.rmtree(tmp_path / "run")
    assert chain()["checkpoint"].holds is None and chain()["transform graph"].holds is None


def test_export_checkpoint_of_trainer_answers_as_its_model(flights, tmp_path):
    from engine import Dataset
    from trainers import Trainer, TrainerConfig
    from trainers.export.card import read_card
    from trainers.export.from_checkpoint import check_export, export_checkpoint
    from trainers.export.predict import LoadedModel

    train = Dataset.open(flights.directory / "transformed")
    config = TrainerConfig(
        directory=str(tmp_path / "run"), label=data.LABEL, global_batch_size=1000, steps=16, seed=5, ema_decay=0.9
    )
    result = Trainer(config, data.build_model, train, transform_graph=flights.graph).fit()
    version = export_checkpoint(
        tmp_path / "run",
        data.build_model,
        tmp_path / "models",
        transform_graph=flights.graph,
        raw_feature_spec=flights.spec,
    )
    assert check_export(version, result.model, flights.raw, flights.graph, rows=5000) <= 1e-6
    card = read_card(version)
    assert card is not None and card["config"]["checkpoint_step"] == 16 and card["data"]["manifest"]
    batch = next(iter(flights.raw.read_batches(batch_rows=1000)))
    untrained = data.build_model(
        type("C", (), {"feature_spec": {k: None for k in flights.transformed if k != data.LABEL}})
    )
    assert np.abs(LoadedModel(version).predict(batch) - trained_answers(flights, untrained)[:1000]).max() > 1e-3
