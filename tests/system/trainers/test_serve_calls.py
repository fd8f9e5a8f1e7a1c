"""What clients of gRPC may ask and send: what is no message, values of every type, a model that fails, and states of versions."""

import asyncio
import base64
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
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    regression_pb2,
)

from tests.support.eventually import eventually
from tests.support.served_model import CRASH, answers, asked, example, metrics, rows, save_version
from trainers.serving.server import Limits, ModelConfig, ServeConfig
from trainers.serving.server.core import Core
from trainers.serving.server.doors.grpc_service import PredictionService
from trainers.serving.server.doors.predict_calls import PredictCalls
from trainers.serving.server.doors.predict_protocol import predict_protocol
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

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def text(self, text):
            return {"text_bytes": text, "length": tf.strings.length(text)}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, name="text"),
                tf.TensorSpec([None], tf.string, name="row"),
            ]
        )
        def both(self, text, row):
            def parsed():
                return tf.io.parse_example(row, {"x": tf.io.FixedLenFeature([3], tf.float32)})["x"]

            return {"text_bytes": text, "x": tf.cond(tf.size(row) > 0, parsed, lambda: tf.zeros([0, 3]))}

    model = Odd()
    signatures = {"serving_default": model.kinds, "fails": model.fails, "scalars": model.scalars}
    signatures |= {"text": model.text, "both": model.both}
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
        limits=Limits(request_bytes=1 << 20),
    )
    with started(config) as running:
        yield running


@pytest.fixture(scope="module")
def core(folder):
    """A server's inside, in this process, without its doors."""
    models = tuple(ModelConfig(name=name, directory=str(folder / name)) for name in ("m", "odd"))
    core = Core(ServeConfig(models=models, poll_s=0.02), metrics())
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
    assert _refused(raw, b"") == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")  # a message that says nothing
    for method in ("PredictionService/Predict", "PredictionService/GetModelMetadata", "ModelService/GetModelStatus"):
        none = channel.stream_unary(f"/tensorflow.serving.{method}")
        assert _refused(none, iter(())) == ("INVALID_ARGUMENT", "the call has no message")


def test_a_message_that_is_too_large_once_it_is_unpacked_is_refused_and_fills_no_log(stub, capfd):
    for compression in (grpc.Compression.Gzip, None):
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(_request((), text=[b"\0" * (4 << 20)]), compression=compression)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    asked_then = stub.Predict(_request(rows(1)), compression=grpc.Compression.Gzip)
    np.testing.assert_allclose(asked_then.outputs["outputs"].float_val, answers(rows(1), 2.0), rtol=1e-6)
    assert "Traceback" not in capfd.readouterr().err


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


def test_strings_that_the_model_does_not_parse_reach_it_as_they_are(server, stub):
    texts = [
        b"ha",
        b"hello world",
        b"\xff\xd8\xff",
        b"",
        example(rows(1)[0]),
    ]  # "ha" reads as a message of unknown fields
    found = stub.Predict(_request(None, "odd", "text", text=texts)).outputs
    assert list(found["text_bytes"].string_val) == texts
    body = {"signature_name": "text", "instances": [{"b64": base64.b64encode(text).decode()} for text in texts]}
    status, answer = asked(server.config.rest_port, json.dumps(body).encode(), path="/v1/models/odd:predict")
    assert [base64.b64decode(each["text_bytes"]["b64"]) for each in answer["predictions"]] == texts
    assert [each["length"] for each in answer["predictions"]] == [len(text) for text in texts]
    body = json.dumps({"signature_name": "text", "examples": [{"a": "b"}]}).encode()
    status, answer = asked(server.config.rest_port, body, path="/v1/models/odd:classify")
    assert status == 400 and "takes no examples" in answer["error"]


def test_an_example_that_ends_with_zeros_is_whole(stub):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "m"
    row = np.array([0, 1, 0], np.float32)
    message = request.input.example_list.examples.add()
    message.ParseFromString(example(row, b"\0"))
    assert message.SerializeToString().endswith(b"\0")
    (found,) = stub.Regress(request).result.regressions
    np.testing.assert_allclose(found.value, answers(row[None], 2.0)[0], rtol=1e-5)


def test_examples_beside_another_input_are_looked_into(stub):
    values = rows(2)
    found = stub.Predict(_request(None, "odd", "both", text=[b"ha"] * 2, row=[example(row) for row in values])).outputs
    assert list(found["text_bytes"].string_val) == [b"ha"] * 2
    np.testing.assert_array_equal(found["x"].float_val, values.reshape(-1))
    code, _ = _refused(stub.Predict, _request(None, "odd", "both", text=[b"ha"], row=[CRASH]))
    assert code == "INVALID_ARGUMENT"
    assert list(stub.Predict(_request(None, "odd", "text", text=[b"a"])).outputs["length"].int_val) == [1]


def test_a_value_that_its_type_cannot_hold_is_the_clients_fault(stub):
    request = _request(None, "odd", x=np.zeros(1, np.int8))
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].int_val[:] = [300]
    code, text = _refused(stub.Predict, request)
    assert code == "INVALID_ARGUMENT" and "'x'" in text


def test_a_long_spec_or_path_is_not_remembered(core):
    calls, door = PredictCalls(core, PredictionService(core)), predict_protocol(core).args[0]
    for routes, form in (
        (calls._routes, lambda name: model_pb2.ModelSpec(name=name).SerializeToString()),
        (door._routes, lambda name: f"/v1/models/{name}:predict".encode()),
    ):
        assert routes.find(form("m" * 2000))[0] == "m" * 2000 and len(routes) == 0
        assert routes.find(form("m"))[0] == routes.find(form("m"))[0] == "m" and len(routes) == 1
        for number in range(3000):
            routes.find(form(str(number)))
        assert 0 < len(routes) <= 1024


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


def test_of_several_graphs_the_one_for_serving_answers(tmp_path):
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(tmp_path / "1"))
    for number, tags in enumerate((["train"], ["serve"], ["serve", "tpu"])):
        with v1.Session(graph=tf.Graph()) as session:
            x = v1.placeholder(tf.float32, [None], name=f"x{number}")
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": x + number})
            add = builder.add_meta_graph if number else builder.add_meta_graph_and_variables
            arguments = (tags,) if number else (session, tags)
            add(*arguments, signature_def_map={"serving_default": signature})
    builder.save()
    model = ServedModel(ModelConfig(name="m", directory=str(tmp_path)), Limits())
    model.reload()
    signature = model.find().signature("")
    assert signature.run({"x": np.zeros(2, np.float32)})["y"].tolist() == [1, 1]


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
