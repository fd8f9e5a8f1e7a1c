"""Rows that travel with an export: warm-up requests that TensorFlow reads, and the golden set that a load is held to."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError
from tests.support import flights as data
from trainers.export.samples import GOLDEN_EXAMPLES, GOLDEN_FEATURES, WARMUP_FILE, sample_examples
from trainers.serving import LiveModel
from trainers.serving.golden import check_golden


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    return data.make_flights(tmp_path_factory.mktemp("flights"), 3000)


@pytest.fixture(scope="module")
def version(flights):
    from trainers.export.export import export_saved_model

    return export_saved_model(
        flights.model,
        flights.directory / "models",
        transform_graph=flights.graph,
        raw_feature_spec=flights.spec,
        label=data.LABEL,
        samples=sample_examples(flights.raw, 40),
    )


@pytest.fixture(scope="module")
def loaded(version):
    import tensorflow as tf

    return tf.saved_model.load(str(version))


def test_warmup_requests_are_prediction_logs_of_real_rows(flights, version):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    records = list(tf.data.TFRecordDataset(str(version / WARMUP_FILE)).as_numpy_iterator())
    logs = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    batches = [tf.make_ndarray(log.inputs["examples"]) for log in logs]
    assert [len(batch) for batch in batches] == [1, 32]
    first = tf.train.Example.FromString(batches[1][5]).features.feature
    row = flights.table.slice(5, 1).to_pylist()[0]
    assert first["carrier"].bytes_list.value[0] == row["carrier"] and first["hour"].int64_list.value[0] == row["hour"]


def test_golden_features_are_those_of_the_training_data(flights, version, loaded):
    golden = pq.read_table(version / GOLDEN_FEATURES)
    assert golden.num_rows == 40
    for name in golden.column_names:
        np.testing.assert_array_equal(golden[name].to_numpy(), flights.transformed[name][:40])
    assert check_golden(loaded, version) == 40 and check_golden(loaded, version, "off") == 0


def _changed(version, target, name, change):
    """A copy of a version whose golden column was changed."""
    shutil.copytree(version, target)
    table = pq.read_table(target / GOLDEN_FEATURES)
    values = table[name].to_numpy().copy()
    change(values)
    table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, target / GOLDEN_FEATURES)
    return target


def test_skew_of_one_value_is_refused_by_name_and_row(version, loaded, tmp_path):
    def one(values):
        values[7] += 1

    with pytest.raises(DataError, match="feature 'carrier_id'") as refused:
        check_golden(loaded, _changed(version, tmp_path / "1", "carrier_id", one))
    assert refused.value.record == 7


def test_last_bit_of_a_float_is_refused_unless_close_is_enough(version, loaded, tmp_path):
    def last_bit(values):
        values[3] = np.nextafter(values[3], np.float32(9))

    changed = _changed(version, tmp_path / "1", "dep_delay_z", last_bit)
    with pytest.raises(DataError, match="dep_delay_z"):
        check_golden(loaded, changed)
    assert check_golden(loaded, changed, "close") == 40
    with pytest.raises(ConfigError, match="exact, close, off"):
        check_golden(loaded, changed, "nearly")


@pytest.mark.parametrize("name", [GOLDEN_EXAMPLES, GOLDEN_FEATURES])
def test_damaged_golden_set_is_said(version, loaded, tmp_path, name):
    shutil.copytree(version, tmp_path / "1")
    raw = bytearray((tmp_path / "1" / name).read_bytes())
    raw[len(raw) // 3] ^= 0x10
    (tmp_path / "1" / name).write_bytes(raw)
    with pytest.raises(DataError, match="golden set"):
        check_golden(loaded, tmp_path / "1")
    (tmp_path / "1" / name).unlink()
    with pytest.raises(DataError, match="golden set"):
        check_golden(loaded, tmp_path / "1")


def test_live_model_and_server_keep_the_version_before_one_with_skew(version, tmp_path):
    from trainers.serving.server.config import Limits, ModelConfig
    from trainers.serving.server.versions import ServedModel

    def one(values):
        values[0] += 1

    shutil.copytree(version, tmp_path / "1")
    with LiveModel(tmp_path, poll_s=None) as live:
        _changed(version, tmp_path / "2", "distance_bucket", one)
        assert live.reload() == 1 and "distance_bucket" in live.failed[2]
    served = ServedModel(ModelConfig(name="m", directory=str(tmp_path)), Limits())
    served.reload()
    assert served.live == [] and "distance_bucket" in served.states[2][1]
    shutil.rmtree(tmp_path / "2")
    served.reload()
    assert served.live == [1]


def test_live_model_and_server_ask_what_was_saved_to_be_asked(version, tmp_path):
    from trainers.export.samples import write_warmup
    from trainers.serving.server.config import Limits, ModelConfig
    from trainers.serving.server.versions import ServedModel

    shutil.copytree(version, tmp_path / "1")
    with LiveModel(tmp_path, poll_s=None) as live:
        shutil.copytree(version, tmp_path / "2")
        write_warmup(tmp_path / "2", "m", [b"no example"])
        assert live.reload() == 1 and "not a tf.Example" in live.failed[2]
    served = ServedModel(ModelConfig(name="m", directory=str(tmp_path)), Limits())
    served.reload()
    assert served.live == [] and "not a tf.Example" in served.states[2][1]
