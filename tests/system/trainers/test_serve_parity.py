"""Each row of a data set, served over REST and gRPC from its raw features, gets the answer of the model that was trained."""

import concurrent.futures
import http.client
import json
import re
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.support import flights as data
from trainers.export.export import export_saved_model
from trainers.export.samples import sample_examples
from trainers.serving.server import BatchingConfig, ModelConfig, ServeConfig
from trainers.serving.server.processes import started

ROWS = 3000


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    return data.make_flights(tmp_path_factory.mktemp("flights"), ROWS)


@pytest.fixture(scope="module")
def versions(flights):
    folder = flights.directory / "models"
    export_saved_model(
        flights.model,
        folder,
        transform_graph=flights.graph,
        raw_feature_spec=flights.spec,
        label=data.LABEL,
        samples=sample_examples(flights.raw, 40),
    )
    return folder


def _trained(flights):
    features = {name: value for name, value in flights.transformed.items() if name != data.LABEL}
    return np.ravel(flights.model.predict(features, batch_size=4096, verbose=0))


def _example(row):
    """By TensorFlow itself, without the column that the label comes from."""
    example = tf.train.Example()
    for name, value in row.items():
        if value is not None and name != "arr_delay":
            feature = example.features.feature[name]
            kinds = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}
            kinds[type(value)].value.append(value)
    return example.SerializeToString()


def test_every_row_over_rest_and_grpc_equals_the_trained_answer(flights, versions):
    expected = _trained(flights)
    table = flights.table.to_pylist()
    assert len(table) == len(expected) == ROWS
    config = ServeConfig(
        models=(ModelConfig(name="m", directory=str(versions)),),
        grpc_port=0,
        rest_port=0,
        batching=BatchingConfig(max_batch_size=256),
    )
    with started(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def over_grpc(at):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "m"
            request.inputs["examples"].CopyFrom(tf.make_tensor_proto([_example(row) for row in table[at : at + 10]]))
            return list(stub.Predict(request, timeout=60).outputs["outputs"].float_val)

        def over_rest(at):
            rows = [
                {
                    k: v.decode() if isinstance(v, bytes) else v
                    for k, v in row.items()
                    if v is not None and k != "arr_delay"
                }
                for row in table[at : at + 10]
            ]
            connection = http.client.HTTPConnection("127.0.0.1", server.config.rest_port, timeout=60)
            connection.request("POST", "/v1/models/m:regress", json.dumps({"examples": rows}))
            answer = json.loads(connection.getresponse().read())
            connection.close()
            return answer["results"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for ask in (over_grpc, over_rest):
                found = np.concatenate(list(pool.map(ask, range(0, ROWS, 10))))
                assert len(found) == ROWS
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_check_prints_a_curl_line_that_gets_the_answer_it_shows(flights, versions, tmp_path):
    command = [sys.executable, "-m", "cluster.cli.main", "serve", str(versions), "--name", "late", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Neither the command nor the server's process greets: absl, oneDNN, the CUDA driver that is not there.
    assert not re.findall(r"(?m)^.*(?:absl::|oneDNN|cudart|cuInit|\.cc:\d+\]).*$", done.stderr)
    line, shown = done.stdout.strip().splitlines()
    (answer,) = json.loads(shown)["results"]
    assert answer == pytest.approx(_trained(flights)[0], abs=1e-6)
    assert line.startswith("$ curl -d ") and line.endswith("http://127.0.0.1:8501/v1/models/late:regress")
    # The line itself, against a server that runs.
    models = (ModelConfig(name="late", directory=str(versions)),)
    with started(ServeConfig(models=models, grpc_port=None, rest_port=0)) as server:
        there = line.removeprefix("$ ").replace(":8501/", f":{server.config.rest_port}/")
        said = subprocess.run(there, shell=True, capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(said) == json.loads(shown)


def test_check_of_a_model_without_rows_says_how_to_keep_some(tmp_path):
    from tests.support.served_model import save_version

    save_version(tmp_path, 1)
    command = [sys.executable, "-m", "cluster.cli.main", "serve", str(tmp_path), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "fullpass export --data" in done.stderr
