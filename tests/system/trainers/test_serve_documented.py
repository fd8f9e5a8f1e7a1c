"""The examples of TensorFlow Serving's documentation: its half_plus_two and half_plus_three, asked by curl as they stand there."""

import json
import shutil
import subprocess

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from tests.support.served_model import metrics
from tests.support.serving_here import serving_here
from trainers.serving.server import ModelConfig, ServeConfig
from trainers.serving.server.core import Core


def save_half_plus(folder, number):
    """Writes the model as TensorFlow 1 did: its examples have no known rank, its numbers are what was parsed of them."""
    v1 = tf.compat.v1
    signature = v1.saved_model.signature_def_utils
    info = v1.saved_model.build_tensor_info
    with v1.Graph().as_default(), v1.Session() as session:
        half, plus = v1.Variable(0.5, name="a"), v1.Variable(float(number), name="b")
        examples = v1.placeholder(tf.string, name="tf_example")
        x = tf.identity(v1.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"], name="x")
        x.set_shape((None, 1))  # as TensorFlow 1 found it
        y = tf.add(tf.multiply(half, x), plus, name="y")
        text, into, out = info(examples), info(x), info(y)
        methods = "tensorflow/serving/predict", "tensorflow/serving/regress", "tensorflow/serving/classify"
        signatures = {
            "serving_default": signature.build_signature_def({"x": into}, {"y": out}, methods[0]),
            "tensorflow/serving/regress": signature.build_signature_def({"inputs": text}, {"outputs": out}, methods[1]),
            "classify_x_to_y": signature.build_signature_def({"inputs": text}, {"scores": out}, methods[2]),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "00000123"))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return ModelConfig(name=folder.name, directory=str(folder))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    models = []
    for number, name in ((2, "half_plus_two"), (3, "half_plus_three")):
        (folder / name).mkdir()
        models.append(save_half_plus(folder / name, number))
    core = Core(ServeConfig(models=tuple(models)), metrics())
    core.load()
    assert core.ready, {name: model.states for name, model in core.models.items()}
    with serving_here(core) as running:
        yield running


def curl(server, path, *words):
    """Status and body."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    url = f"http://localhost:{server.config.rest_port}/v1/models/{path}"
    # Whatever this machine's own settings, proxies and addresses of localhost are.
    alone = ("-q", "-4", "--noproxy", "*")
    done = subprocess.run(
        ["curl", *alone, "-s", "-w", "\n%{http_code}", *words, url], capture_output=True, text=True, check=True
    )
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("half_plus_two:predict", '{"instances": [1.0, 2.0, 5.0]}', {"predictions": [2.5, 3.0, 4.5]}),
        ("half_plus_three:predict", '{"instances": [1.0,2.0,5.0]}', {"predictions": [3.5, 4.0, 5.5]}),
        ("half_plus_three/versions/123:predict", '{"instances": [1.0]}', {"predictions": [3.5]}),
        (
            "half_plus_three:regress",
            '{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}',
            {"results": [3.5, 4.0]},
        ),
        ("half_plus_two:predict", '{"inputs": [1.0, 2.0]}', {"outputs": [2.5, 3.0]}),
        ("half_plus_two:predict", '{"inputs": {"x": [1, 2]}}', {"outputs": [2.5, 3.0]}),
        ("half_plus_two:predict", '{"instances": [{"x": 1.0}, {"x": 2.0}]}', {"predictions": [2.5, 3.0]}),
        ("half_plus_two:predict", '{"instances": [[1.0], [2.0]]}', {"predictions": [[2.5], [3.0]]}),
        ("half_plus_two:predict", '{"instances": [{"x": [1.0]}]}', {"predictions": [[2.5]]}),
        (
            "half_plus_two:classify",
            '{"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]}',
            {"results": [[["", 2.5]]]},
        ),
    ],
)
def test_predict_and_regress(server, path, body, answer):
    assert curl(server, path, "-d", body, "-X", "POST") == (200, answer)


def test_status_and_what_is_not_served(server):
    one = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert curl(server, "half_plus_three") == (200, {"model_version_status": [one]})
    status, body = curl(server, "half:predict", "-d", '{"instances": [1.0,5.0]}', "-X", "POST")
    assert status == 404 and body["error"].startswith("Servable not found for request: Latest(half)")
    status, body = curl(server, "half_plus_two:predict", "-d", '{"instances": [[1.0, 2.0]]}')
    assert status == 400 and "got shape [1, 2]; expected [?x1]" in body["error"]


def test_metadata_is_that_of_the_model(server):
    status, body = curl(server, "half_plus_three/metadata")
    found = body["metadata"]["signature_def"]["signature_def"]
    assert status == 200 and body["model_spec"] == {"name": "half_plus_three", "signature_name": "", "version": "123"}
    sizes = [each["size"] for each in found["serving_default"]["inputs"]["x"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "1"] and found["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert found["tensorflow/serving/regress"]["inputs"]["inputs"]["tensor_shape"]["unknown_rank"] is True


def test_the_same_over_grpc(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half_plus_two"
        for values, shape in ((np.float32([1, 2, 5]), [3]), (np.float32([[1], [2], [5]]), [3, 1])):
            request.inputs["x"].CopyFrom(tf.make_tensor_proto(values))
            found = stub.Predict(request).outputs["y"]
            assert list(found.float_val) == [2.5, 3.0, 4.5] and [dim.size for dim in found.tensor_shape.dim] == shape
        classify = classification_pb2.ClassificationRequest()
        classify.model_spec.name, classify.model_spec.signature_name = "half_plus_two", "classify_x_to_y"
        classify.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
        (only,) = stub.Classify(classify).result.classifications
        assert [(each.label, each.score) for each in only.classes] == [("", 2.5)]
