"""What clients of gRPC may do to a server: break calls off, send what is no message, and give it another list of models."""

import asyncio
import json
import threading
import time
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

from tests.support.eventually import eventually
from tests.support.served_model import answers, asked, example, rows, save_version
from trainers.serving.server import Limits, ModelConfig, ServeConfig
from trainers.serving.server.core import Core
from trainers.serving.server.doors.grpc_service import PredictionService
from trainers.serving.server.doors.predict_calls import PredictCalls
from trainers.serving.server.doors.predict_protocol import predict_protocol
from trainers.serving.server.observe.metrics import Metrics
from trainers.serving.server.processes import started
from trainers.serving.server.versions import ServedModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "m").mkdir()
    for number in (1, 2):
        save_version(folder / "m", number, bias=float(number))

    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def kinds(self, x):
            return {"flag": x > 0, "half": tf.cast(x, tf.float16), "word_bytes": tf.strings.as_string(x)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def fails(self, x):
            return {"y": tf.io.decode_raw(tf.io.read_file("/no/such/file"), tf.float32) + x}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def scalars(self, x):
            return {"count": tf.size(x), "word_bytes": tf.constant(b"a\0")}

    model = Odd()
    signatures = {"serving_default": model.kinds, "fails": model.fails, "scalars": model.scalars}
    tf.saved_model.save(model, str(folder / "odd" / "1"), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    config = ServeConfig(
        models=(
            ModelConfig(name="m", directory=str(folder / "m"), labels={"stable": 2}),
            ModelConfig(name="odd", directory=str(folder / "odd")),
            ModelConfig(name="late", directory=str(folder / "late")),
        ),
        grpc_port=0,
        rest_port=0,
        poll_s=0.1,
        allow_reload=True,
        limits=Limits(request_bytes=1 << 20),
    )
    with started(config) as running:
        yield running


@pytest.fixture(scope="module")
def core(folder):
    """A server's inside, in this process, without its doors."""
    models = tuple(ModelConfig(name=name, directory=str(folder / name)) for name in ("m", "odd"))
    core = Core(ServeConfig(models=models, poll_s=0.02), Metrics())
    core.load()
    yield core
    asyncio.run(core.drain())


def _request(values, model="m", signature="", **tensors):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in (tensors or {"examples": [example(row) for row in values]}).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def _refused(call, *arguments):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments)
    return error.value.code().name, error.value.details()


def test_bytes_that_are_no_message_are_refused(channel, stub):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, text = _refused(raw, b"\x0a\xff\xff")
    assert code == "INVALID_ARGUMENT" and "PredictRequest" in text
    assert _refused(raw, b"")[0] == "NOT_FOUND"  # a message that says nothing


def test_calls_that_are_broken_off_leave_nothing_behind(server, stub):
    values = rows(2)
    for _ in range(5):
        calls = [stub.Predict.future(_request(values)) for _ in range(100)]
        for position, call in enumerate(calls):
            if position % 2:
                call.cancel()
        for position, call in enumerate(calls):
            if not position % 2:
                np.testing.assert_allclose(call.result().outputs["outputs"].float_val, answers(values, 2.0), rtol=1e-5)
    code, _ = _refused(lambda: stub.Predict(_request(values), timeout=1e-9))
    assert code == "DEADLINE_EXCEEDED"


def test_both_doors_answer_from_one_batch(server, stub):
    values, wrong = rows(3), []
    body = json.dumps({"signature_name": "raw_features", "instances": [{"x": r.tolist(), "word": "a"} for r in values]})

    def over_rest():
        for _ in range(20):
            status, answer = asked(server.config.rest_port, body.encode())
            if status != 200 or not np.allclose(
                [each["score"] for each in answer["predictions"]], answers(values, 2.0)
            ):
                wrong.append(answer)

    threads = [threading.Thread(target=over_rest) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        found = stub.Predict(_request(values, signature="raw_features", x=values, word=[b"a"] * 3)).outputs
        np.testing.assert_allclose(found["score"].float_val, answers(values, 2.0), rtol=1e-5)
        assert list(found["word_bytes"].string_val) == [b"A"] * 3
    for thread in threads:
        thread.join()
    assert not wrong


def test_values_of_every_type_are_in_its_field(stub):
    found = stub.Predict(_request(None, "odd", x=np.array([-1.0, 2.0], np.float32))).outputs
    assert list(found["flag"].bool_val) == [False, True] and len(found["half"].half_val) == 2
    assert list(found["word_bytes"].string_val) == [b"-1.000000", b"2.000000"]


def test_scalars_are_answered_whole(server, stub):
    found = stub.Predict(_request(None, "odd", "scalars", x=np.zeros(3, np.float32))).outputs
    assert list(found["count"].int_val) == [3] and list(found["word_bytes"].string_val) == [b"a\0"]
    body = json.dumps({"signature_name": "scalars", "inputs": [1.0]}).encode()
    status, answer = asked(server.config.rest_port, body, path="/v1/models/odd:predict")
    assert status == 200 and answer["outputs"] == {"count": 1, "word_bytes": {"b64": "YQA="}}


def test_a_value_that_its_type_cannot_hold_is_the_clients_fault(stub):
    request = _request(None, "odd", x=np.zeros(1, np.int8))
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].int_val[:] = [300]
    code, text = _refused(stub.Predict, request)
    assert code == "INVALID_ARGUMENT" and "'x'" in text


def test_a_long_spec_or_path_is_not_remembered(core):
    calls, door = PredictCalls(core, PredictionService(core)), predict_protocol(core).args[0]
    short, long = (model_pb2.ModelSpec(name=name).SerializeToString() for name in ("m", "m" * 2000))
    assert calls._route(long)[0] == "m" * 2000 and not calls._routes
    assert calls._route(short)[0] == "m" and list(calls._routes) == [short]
    assert door._route(b"/v1/models/" + b"m" * 2000 + b":predict") is None and not door._routes
    assert door._route(b"/v1/models/m:predict")[0] == "m" and len(door._routes) == 1


def test_looks_for_versions_come_one_after_another_and_one_that_fails_is_not_the_last(core, monkeypatch):
    running, most, looks = [], [], []

    def reload(model, real=ServedModel.reload):
        running.append(model)
        most.append(len(running))
        time.sleep(0.01)  # long enough for another to begin
        real(model)
        running.remove(model)

    def load(real=core.load):
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("a look that fails")
        real()

    monkeypatch.setattr(ServedModel, "reload", reload)
    monkeypatch.setattr(core, "load", load)
    core.start_watching()
    eventually(lambda: looks, "the thread looks")
    threads = [threading.Thread(target=core.load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(looks) > 6, "the thread looks again")
    assert set(most) == {1}


def test_a_model_that_fails_by_itself_is_internal_on_both_doors(server, stub):
    code, text = _refused(stub.Predict, _request(None, "odd", "fails", x=np.zeros(1, np.float32)))
    assert code == "INTERNAL" and "log" in text
    for form in ("instances", "inputs"):
        body = json.dumps({"signature_name": "fails", form: [1.0]}).encode()
        status, answer = asked(server.config.rest_port, body, path="/v1/models/odd:predict")
        assert status == 500 and "log" in answer["error"]


def test_status_and_metadata_over_rest_are_what_the_messages_say(server, stub, channel):
    def text(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{server.config.rest_port}{path}", timeout=30).read().decode()

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "m"
    wanted = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status)
    printed = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    assert json_format.Parse(text("/v1/models/m"), get_model_status_pb2.GetModelStatusResponse()) == wanted
    assert text("/v1/models/m").startswith(
        '{\n "model_version_status": [\n  {\n   "version": "2",\n   "state": "AVAILABLE",\n'
    )
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    found = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request).metadata["signature_def"].Unpack(found)
    shown = json.loads(text("/v1/models/m/metadata"))
    assert shown["metadata"]["signature_def"] == json_format.MessageToDict(found, **printed)
    assert shown["model_spec"] == {"name": "m", "signature_name": "", "version": "2"}


def test_a_model_whose_directory_comes_later_is_served_then(server, folder):
    path = "/v1/models/late:predict"
    body = json.dumps({"signature_name": "raw_features", "instances": [{"x": [0, 0, 0], "word": "a"}]}).encode()
    if not (folder / "late").exists():
        assert asked(server.config.rest_port, body, path=path)[0] == 503
        (folder / "late").mkdir()
        save_version(folder / "late", 1)
    eventually(lambda: asked(server.config.rest_port, body, path=path)[0] == 200, "the late model answers")


def _reload(channel, *models):
    request = model_management_pb2.ReloadConfigRequest()
    for name, path, labels, versions in models:
        config = request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
        config.version_labels.update(labels)
        config.model_version_policy.specific.versions.extend(versions)
    return model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=120)


def test_another_list_of_models_holds_up_no_request_of_those_that_stay(channel, stub, folder):
    values, wrong, stop = rows(1), [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                stub.Predict(_request(values))
            except grpc.RpcError as error:
                wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(3):
        _reload(channel, ("m", folder / "m", {"stable": 1, "new": 2}, (1, 2)), ("odd", folder / "odd", {}, (1,)))
        request = _request(values)
        request.model_spec.version_label = "stable"
        np.testing.assert_allclose(stub.Predict(request).outputs["outputs"].float_val, answers(values, 1.0), rtol=1e-5)
        _reload(channel, ("m", folder / "m", {"stable": 2}, (2,)), ("odd", folder / "odd", {}, (1,)))
        assert _refused(stub.Predict, request.FromString(b"\x0a\x03\x0a\x01x"))[0] == "NOT_FOUND"
    stop.set()
    thread.join()
    assert not wrong


def test_a_list_of_models_that_cannot_be_is_refused_and_changes_nothing(channel, stub, folder):
    for models, text in [
        ((), "model_config_list"),
        ((("m", folder / "m", {}, (1,)), ("m", folder / "m", {}, (2,))), "each name once"),
        ((("a/b", folder / "m", {}, (1,)),), "name of a model"),
        ((("m", "", {}, ()),), "base_path"),
    ]:
        code, why = _refused(_reload, channel, *models)
        assert code == "INVALID_ARGUMENT" and text in why
    code, why = _refused(_reload, channel, ("m", folder / "m", {}, (2,)), ("x", folder / "none", {}, (1,)))
    assert code == "UNAVAILABLE" and "none" in why
    assert stub.Predict(_request(rows(1))).model_spec.version.value == 2
