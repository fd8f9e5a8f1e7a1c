"""The server of models, asked as TensorFlow Serving's clients ask theirs."""

import base64
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from engine.machine.ports import bound_socket
from engine.machine.processes import alive, process_mark
from tests.support.eventually import eventually
from tests.support.ports import listening, tree
from tests.support.served_model import answers, example, rows, save_version
from trainers.serving.server import BatchingConfig, Limits, ModelConfig, ServeConfig
from trainers.serving.server.processes import started


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    folder.mkdir()
    save_version(folder, 1)
    return folder


@pytest.fixture(scope="module")
def server(root):
    config = ServeConfig(
        models=(ModelConfig(name="m", directory=str(root), labels={"stable": 1}),),
        grpc_port=0,
        rest_port=0,
        poll_s=0.1,
        limits=Limits(request_bytes=1 << 20, request_rows=2000),
        batching=BatchingConfig(max_batch_size=64),
    )
    with started(config) as running:
        yield running


def _request(values, signature="", model="m", version=None, label=None):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example(row) for row in values]))
    return request


def _rest(server, path, body=None, headers=None):
    url = f"http://127.0.0.1:{server.config.rest_port}{path}"
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_predict_over_grpc_answers_as_the_model(stub):
    values = rows(5)
    answer = stub.Predict(_request(values))
    np.testing.assert_allclose(answer.outputs["outputs"].float_val, answers(values, 0), rtol=1e-6)
    assert answer.model_spec.version.value == 1 and answer.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("choice", [{"version": 1}, {"label": "stable"}])
def test_predict_takes_version_and_label(stub, choice):
    assert stub.Predict(_request(rows(1), **choice)).model_spec.version.value == 1


def test_request_larger_than_a_batch_is_answered_in_order(stub):
    values = rows(300, seed=3)
    got = stub.Predict(_request(values)).outputs["outputs"].float_val
    np.testing.assert_allclose(got, answers(values, 0), rtol=1e-6)


def test_concurrent_requests_of_all_sizes_get_their_own_answers(stub):
    def ask(seed):
        values = rows(1 + seed % 7, seed)
        np.testing.assert_allclose(
            stub.Predict(_request(values)).outputs["outputs"].float_val, answers(values, 0), rtol=1e-5
        )

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(ask, range(400)))


def test_output_filter_and_features_signature(stub):
    request = predict_pb2.PredictRequest(output_filter=["word_bytes"])
    request.model_spec.name, request.model_spec.signature_name = "m", "raw_features"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(rows(2)))
    request.inputs["word"].CopyFrom(tf.make_tensor_proto([b"a", b"\xff"]))
    answer = stub.Predict(request)
    assert list(answer.outputs) == ["word_bytes"] and list(answer.outputs["word_bytes"].string_val) == [b"A", b"\xff"]


def test_classify_regress_and_multi_inference(stub):
    values = rows(2)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "classes"
    request.input.example_list.examples.extend(tf.train.Example.FromString(example(row)) for row in values)
    found = stub.Classify(request).result.classifications
    assert [each.label for each in found[0].classes] == ["no", "yes"]
    np.testing.assert_allclose([each.classes[1].score for each in found], answers(values, 0), rtol=1e-6)
    regress = regression_pb2.RegressionRequest(input=request.input)
    regress.model_spec.name = "m"
    np.testing.assert_allclose(
        [each.value for each in stub.Regress(regress).result.regressions], answers(values, 0), rtol=1e-6
    )
    both = inference_pb2.MultiInferenceRequest(input=request.input)
    both.tasks.add(model_spec=request.model_spec, method_name="tensorflow/serving/classify")
    both.tasks.add(model_spec=regress.model_spec, method_name="tensorflow/serving/regress")
    results = stub.MultiInference(both).results
    assert len(results) == 2 and len(results[1].regression_result.regressions) == 2


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([("m", "", "regress"), ("m", "serving_default", "regress")], "INVALID_ARGUMENT", "Duplicate evaluation of signature: serving_"),
        ([("m", "", "regress"), ("other", "", "regress")], "INVALID_ARGUMENT", "must access the same model name. Got m, other"),
        ([("other", "", "regress")], "NOT_FOUND", "other"),
        ([("m", "", "regress"), ("m", "no", "regress")], "INVALID_ARGUMENT", "Requested signature not found in model graph: no. "),
        ([("m", "", "regress"), ("m", "classes", "predict")], "UNIMPLEMENTED", "Unsupported signature method_name: "),
        ([("m", "raw_features", "regress")], "INVALID_ARGUMENT", "takes no examples"),
        ([("m", "classes", "regress")], "INVALID_ARGUMENT", "Regress expects one floating-point number a row"),
    ],
)  # fmt: skip
def test_tasks_that_are_refused(stub, tasks, code, text):
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.add().ParseFromString(example(rows(1)[0]))
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = name, signature
    with pytest.raises(grpc.RpcError) as refused:
        stub.MultiInference(request)
    assert refused.value.code().name == code and text in refused.value.details()


def test_metadata_and_status(stub, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    found = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request).metadata["signature_def"].Unpack(found)
    assert found.signature_def["serving_default"].inputs["examples"].dtype == tf.string.as_datatype_enum
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "m"
    states = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status).model_version_status
    assert [(each.version, each.state) for each in states] == [(1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda r: setattr(r.model_spec, "name", "other"), grpc.StatusCode.NOT_FOUND, "other"),
        (lambda r: setattr(r.model_spec.version, "value", 9), grpc.StatusCode.NOT_FOUND, "9"),
        (
            lambda r: setattr(r.model_spec, "signature_name", "no"),
            grpc.StatusCode.FAILED_PRECONDITION,
            "Serving signature key \"no\" not found. Model 'm' version 1 has classes, raw_features, serving_default",
        ),
        (lambda r: setattr(r.model_spec, "name", ""), grpc.StatusCode.INVALID_ARGUMENT, "no name specified"),
        (
            lambda r: setattr(r.model_spec, "version_label", "no"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label: no",
        ),
        (lambda r: r.inputs.clear(), grpc.StatusCode.INVALID_ARGUMENT, "examples"),
        (
            lambda r: r.inputs["examples"].CopyFrom(tf.make_tensor_proto([1.0])),
            grpc.StatusCode.INVALID_ARGUMENT,
            "expected strings",
        ),
        (
            lambda r: r.inputs["examples"].CopyFrom(tf.make_tensor_proto([b"\xff\xff"])),
            grpc.StatusCode.INVALID_ARGUMENT,
            "is not a tf.Example",
        ),
        (
            lambda r: r.inputs["examples"].CopyFrom(tf.make_tensor_proto([b""])),
            grpc.StatusCode.INVALID_ARGUMENT,
            "x",
        ),
    ],
)
def test_wrong_requests_get_the_documented_status(stub, change, code, text):
    request = _request(rows(1))
    change(request)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request)
    assert refused.value.code() == code and text in refused.value.details()


def test_one_malformed_request_does_not_spoil_its_batch(stub):
    good, bad = _request(rows(1)), _request(rows(1))
    bad.inputs["examples"].CopyFrom(tf.make_tensor_proto([tf.train.Example().SerializeToString()]))
    futures = [stub.Predict.future(bad if i % 3 == 0 else good) for i in range(60)]
    for position, future in enumerate(futures):
        if position % 3 == 0:
            assert future.exception().code() == grpc.StatusCode.INVALID_ARGUMENT
        else:
            np.testing.assert_allclose(future.result().outputs["outputs"].float_val, answers(rows(1), 0), rtol=1e-6)


def test_bytes_that_end_tensorflow_do_not_end_the_server(stub):
    # A length of 2^31 and more in a value: TensorFlow 2.21's own parser ends the process.
    crash = bytes.fromhex("0a130a110a0178120c0a0affffffff0f0000000000")
    for body in (crash, crash + b"\x00", b"\x0a\xff\xff\xff\xff\x0f", os.urandom(40)):
        request = _request(rows(1))
        request.inputs["examples"].CopyFrom(tf.make_tensor_proto([body]))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert stub.Predict(_request(rows(1))).model_spec.version.value == 1


def test_huge_shape_is_refused_before_an_array_is_made(stub):
    request = _request(rows(1), "raw_features")
    request.inputs.clear()
    proto = request.inputs["x"]
    proto.dtype = tf.float32.as_datatype_enum
    proto.float_val.append(1.0)
    for size in (1 << 40, 3):
        proto.tensor_shape.dim.add(size=size)
    request.inputs["word"].CopyFrom(tf.make_tensor_proto([b"a"]))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_rest_rows_columns_and_base64(server):
    values = rows(2)
    encoded = [{"b64": base64.b64encode(example(row)).decode()} for row in values]
    status, body = _rest(server, "/v1/models/m:predict", {"instances": encoded})
    assert status == 200
    np.testing.assert_allclose(body["predictions"], answers(values, 0), rtol=1e-6)
    _, body = _rest(server, "/v1/models/m/versions/1:predict", {"inputs": {"examples": encoded}})
    np.testing.assert_allclose(body["outputs"], answers(values, 0), rtol=1e-6)
    named = [{"x": row.tolist(), "word": "é"} for row in values]
    _, body = _rest(
        server, "/v1/models/m/labels/stable:predict", {"signature_name": "raw_features", "instances": named}
    )
    np.testing.assert_allclose([each["score"] for each in body["predictions"]], answers(values, 0), rtol=1e-6)
    assert base64.b64decode(body["predictions"][0]["word_bytes"]["b64"]) == "é".encode()


def test_rest_classify_regress_status_and_metadata(server):
    values = rows(2)
    examples = {"context": {"word": "c"}, "examples": [{"x": row.tolist()} for row in values]}
    _, body = _rest(server, "/v1/models/m:regress", examples)
    np.testing.assert_allclose(body["results"], answers(values, 0), rtol=1e-6)
    _, body = _rest(server, "/v1/models/m:classify", {**examples, "signature_name": "classes"})
    assert [label for label, _ in body["results"][0]] == ["no", "yes"]
    _, body = _rest(server, "/v1/models/m")
    assert body["model_version_status"][0]["state"] == "AVAILABLE"
    _, body = _rest(server, "/v1/models/m/metadata")
    assert "examples" in body["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/models/m:predict", b"{", 400, "JSON"),
        ("/v1/models/m:predict", {"instances": [], "inputs": []}, 400, "one of"),
        ("/v1/models/m:predict", {"instances": [{"b64": "!"}]}, 400, "b64"),
        ("/v1/models/m:predict", {"instances": [1]}, 400, "string"),
        ("/v1/models/m:predict", {"signature_name": "raw_features", "instances": [{"x": [1, 2]}]}, 400, "word"),
        ("/v1/models/other:predict", {"instances": ["a"]}, 404, "other"),
        ("/v1/models/m/labels/no:predict", {"instances": ["a"]}, 400, "Unrecognized servable version label: no"),
        (
            "/v1/models/m:predict",
            {"signature_name": "no"},
            400,
            'Serving signature name: "no" not found in signature def',
        ),
        (
            "/v1/models/m:regress",
            {"signature_name": "no", "examples": [{"x": 1.0}]},
            400,
            "No signature was found with the name: no",
        ),
        ("/v1/model/m", None, 400, "Malformed request: GET /v1/model/m"),
        ("/v1/models/m:explain", {}, 400, "Malformed request: POST /v1/models/m:explain"),
        (
            "/v1/models/m/versions/" + "9" * 5000 + ":predict",
            {},
            400,
            "Malformed request",
        ),  # more digits than int() takes
        ("/v1/models/m:predict", b'{"instances": ["' + b"a" * (1 << 20) + b'"]}', 400, "larger"),
        ("/v1/models/m:predict", b"[" * 100_000, 400, "JSON"),
    ],
)
def test_rest_errors(server, path, body, status, text):
    got, answer = _rest(server, path, body)
    assert (got, text in answer["error"]) == (status, True), answer


def test_server_listens_on_its_two_ports_of_loopback_and_nothing_else(server):
    own = [each for pid in server.pids for each in tree(pid)]
    assert listening(own) == {("127.0.0.1", server.config.grpc_port), ("127.0.0.1", server.config.rest_port)}
    assert not listening([os.getpid()]) & listening(own), "the parent holds the ports, but answers on none"


def test_answers_do_not_wait_for_acknowledgements():
    with bound_socket("127.0.0.1", 0) as bound:
        bound.listen()
        with socket.create_connection(bound.getsockname()), bound.accept()[0] as accepted:
            assert accepted.proto == socket.IPPROTO_TCP  # by which asyncio knows what it may set
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_health_and_metrics(server, stub):
    assert stub.Predict(_request(rows(1))).model_spec.version.value == 1  # or there are no figures yet
    assert _rest(server, "/healthz")[0] == 200 and _rest(server, "/readyz")[0] == 200
    url = f"http://127.0.0.1:{server.config.rest_port}/monitoring/prometheus/metrics"
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    assert (
        'fullpass_serving_requests_total{model="m",status="OK"}' in text
        and "fullpass_serving_batch_rows_bucket" in text
    )


def test_reload_by_clients_is_refused_unless_allowed(channel):
    with pytest.raises(grpc.RpcError) as refused:
        model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest()
        )
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_idle_half_and_garbage_connections_hold_nobody_up(server, stub):
    idle = []
    for position in range(300):
        connection = socket.create_connection(
            ("127.0.0.1", server.config.rest_port if position % 2 else server.config.grpc_port)
        )
        connection.sendall((b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Le", os.urandom(50), b"")[position % 3])
        idle.append(connection)
    try:
        for _ in range(20):
            assert stub.Predict(_request(rows(1)), timeout=30).model_spec.version.value == 1
        assert _rest(server, "/v1/models/m")[0] == 200
    finally:
        for connection in idle:
            connection.close()


def test_swaps_and_rollback_under_load_fail_no_request(tmp_path):
    root = tmp_path / "m"
    root.mkdir()
    save_version(root, 1, bias=1.0)
    config = ServeConfig(models=(ModelConfig(name="m", directory=str(root)),), grpc_port=0, rest_port=None, poll_s=0.05)
    values = rows(3)
    wrong, seen = [], set()
    stop = threading.Event()
    with started(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask():
            while not stop.is_set():
                try:
                    answer = stub.Predict(_request(values))
                    number = answer.model_spec.version.value
                    seen.add(number)
                    if not np.allclose(answer.outputs["outputs"].float_val, answers(values, number), rtol=1e-5):
                        wrong.append(number)
                except grpc.RpcError as error:
                    wrong.append(error.details())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(2, 6):
            save_version(root, number, bias=float(number))
            eventually(lambda wanted=number: wanted in seen, f"version {number} answers")
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong and seen == {1, 2, 3, 4, 5}


def test_half_copied_version_is_tried_again_when_it_is_whole(tmp_path):
    root = tmp_path / "m"
    root.mkdir()
    save_version(root, 1, bias=1.0)
    whole = save_version(tmp_path, 2, bias=2.0)
    (root / "2").mkdir()
    graph = (whole / "saved_model.pb").read_bytes()
    (root / "2" / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
    config = ServeConfig(models=(ModelConfig(name="m", directory=str(root)),), grpc_port=None, rest_port=0, poll_s=0.05)
    with started(config) as server:
        failed = {"version": "2", "state": "END"}
        eventually(
            lambda: any(
                failed.items() <= each.items() for each in _rest(server, "/v1/models/m")[1]["model_version_status"]
            ),
            "the half version is known to have failed",
        )
        os.rename(whole / "variables", root / "2" / "variables")
        (root / "2" / "saved_model.pb").write_bytes(graph)
        eventually(
            lambda: _rest(server, "/v1/models/m")[1]["model_version_status"][0]["state"] == "AVAILABLE",
            "version 2 is served",
        )


def test_killed_process_is_replaced_and_the_other_answers_meanwhile(root):
    config = ServeConfig(models=(ModelConfig(name="m", directory=str(root)),), grpc_port=None, rest_port=0, processes=2)
    with started(config) as server:
        first = server.pids[0]
        os.kill(first, signal.SIGKILL)
        eventually(lambda: server.pids[0] != first, "another process was started")
        eventually(lambda: _rest(server, "/readyz")[0] == 200, "it is ready")
        for _ in range(20):
            assert _rest(server, "/v1/models/m")[0] == 200


def test_processes_end_with_a_server_that_is_killed(root):
    """Or they would share the ports with the next one, and answer a part of its requests by their own configuration."""
    program = (
        "import sys; from trainers.serving.server import ModelConfig, ServeConfig; "
        "from trainers.serving.server.processes import started\n"
        "models = (ModelConfig(name='m', directory=sys.argv[1]),)\n"
        "with started(ServeConfig(models=models, grpc_port=None, rest_port=0, processes=2)) as server:\n"
        "    print(*server.pids, flush=True); sys.stdin.read()\n"
    )
    words, workers = [sys.executable, "-c", program, str(root)], []
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            workers = [process_mark(int(pid)) for pid in parent.stdout.readline().split()]
            assert len(workers) == 2 and all(map(alive, workers))
            parent.kill()
            eventually(lambda: not any(map(alive, workers)), "they have ended")
        finally:
            parent.kill()
            for worker in filter(alive, workers):
                os.kill(int(worker.partition(":")[0]), signal.SIGKILL)


def test_token_is_asked_for_on_both_doors(root, tmp_path):
    config = ServeConfig(
        models=(ModelConfig(name="m", directory=str(root)),),
        grpc_port=0,
        rest_port=0,
        token="sesame",
        record_share=1.0,
        record_directory=str(tmp_path / "requests"),
        limits=Limits(request_bytes=1 << 16, idle_s=8, in_flight=40, connection_s=3, leave_s=8),
    )
    encoded = {"instances": [{"b64": base64.b64encode(example(rows(1)[0])).decode()}]}
    with started(config) as server, grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for headers in ({}, {"authorization": "Bearer open"}):
            assert _rest(server, "/v1/models/m:predict", encoded, headers)[0] == 401
            with pytest.raises(grpc.RpcError) as refused:
                stub.Predict(_request(rows(1)), metadata=list(headers.items()))
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        _refuses_before_a_message(channel)
        assert _rest(server, "/v1/models/m:predict", encoded, {"authorization": "Bearer sesame"})[0] == 200
        token = [("authorization", "Bearer sesame")]
        assert stub.Predict(_request(rows(2)), metadata=token).outputs
        _ends_halves_of_who_has_the_token(server.config.grpc_port, token)
        assert stub.Predict(_request(rows(1)), metadata=token).outputs, "this connection was told to go meanwhile"
    # What was recorded is data like any other.
    from engine import Dataset

    recorded = Dataset.open(str(tmp_path / "requests" / "*.tfrecord"))
    assert recorded.num_records == 4 and {"x", "served.outputs", "served.version"} <= set(recorded.schema.names)


def _codes_of_halves(channel, each, metadata=None):
    """What calls end with whose message never comes."""
    ended = threading.Event()

    def never():
        ended.wait(200)
        yield b""

    methods = (
        "tensorflow.serving.PredictionService/Predict",
        "tensorflow.serving.PredictionService/GetModelMetadata",
        "tensorflow.serving.ModelService/GetModelStatus",
        "grpc.health.v1.Health/Check",
    )
    calls = [channel.stream_unary(f"/{method}") for method in methods for _ in range(each)]
    halves = [call.future(never(), metadata=metadata, timeout=200) for call in calls]
    try:
        return {half.exception().code() for half in halves}
    finally:
        ended.set()


def _ends_halves_of_who_has_the_token(port, token):
    """More halves than calls that are answered at once, and a watch: none is held for long."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=token)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        # A call too many is refused; one of a connection that has had its time is cut with it.
        others = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
        codes = _codes_of_halves(channel, 20, token)
        assert grpc.StatusCode.DEADLINE_EXCEEDED in codes and codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, *others}
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def _refuses_before_a_message(channel):
    """Calls without a token end though their message never comes, or they would hold the calls of others up; so do watches."""
    assert _codes_of_halves(channel, 5) == {grpc.StatusCode.UNAUTHENTICATED}
    with pytest.raises(grpc.RpcError) as refused:
        next(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60))
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_deadline_that_passed_is_said(stub):
    request = _request(rows(1))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=1e-4)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # The server goes on.
    assert stub.Predict(request).model_spec.version.value == 1
