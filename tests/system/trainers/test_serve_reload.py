"""Other lists of models while a server runs (HandleReloadConfigRequest), and what it lets go: its inside is in this process."""

import base64
import contextlib
import gc
import http.client
import json
import shutil
import threading
import urllib.error
import urllib.request
import weakref

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

from tests.support.eventually import eventually
from tests.support.served_model import PREDICT, answers, example, metrics, rows, save_version
from tests.support.serving_here import serving_here
from trainers.serving.server import BatchingConfig, ModelConfig, ServeConfig, VersionPolicy
from trainers.serving.server.core import Core

VALUES = rows(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, bias in (("m", 0), ("n", 4)):
        (folder / name).mkdir()
        for number in (1, 2):
            save_version(folder / name, number, bias=float(bias + number))
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """Both doors on a core that a test may look into; nothing follows the directories but a client's reload."""
    model = ModelConfig(
        name="m",
        directory=str(folder / "m"),
        policy=VersionPolicy(all=True),
        labels={"stable": 1, "canary": 2},
        canary_share=0.25,
        golden="off",
    )
    core = Core(
        ServeConfig(
            models=(model,), grpc_port=None, rest_port=0, allow_reload=True, drain_s=5,
            batching=BatchingConfig(max_batch_size=64, max_enqueued_batches=4),
        ),
        metrics(),
    )  # fmt: skip
    core.load()
    with serving_here(core) as running:
        yield running


def _request(label="", model="m"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.version_label = model, label
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example(VALUES[0])]))
    return request


def _bias(stub, label="", model="m"):
    """Which bias the version has that answers."""
    found = stub.Predict(_request(label, model), timeout=60).outputs["outputs"].float_val
    (bias,) = [bias for bias in range(1, 7) if np.allclose(found, answers(VALUES, float(bias)), rtol=1e-5)]
    return bias


def _refused(call, *arguments):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments)
    return error.value.code().name, error.value.details()


def _reload(channel, *models):
    request = model_management_pb2.ReloadConfigRequest()
    for name, path, labels, versions in models:
        config = request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
        config.version_labels.update(labels)
        config.model_version_policy.specific.versions.extend(versions)
    return model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=120)


@contextlib.contextmanager
def _asking(stub, *labels):
    """Asks without a pause meanwhile, and then finds every request answered."""
    wrong, stop, asked = [], threading.Event(), []

    def ask():
        while not stop.is_set():
            for label in labels:
                try:
                    asked.append(stub.Predict(_request(label), timeout=60))
                except grpc.RpcError as error:
                    wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        eventually(lambda: asked or wrong, "requests are answered")
        yield
    finally:
        stop.set()
        thread.join()
    assert not wrong


def _state(channel, model, **version):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    if version:
        request.model_spec.version.value = version["number"]
    found = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=60)
    return {each.version: each.state for each in found.model_version_status}


def _rest_status(server, path):
    try:
        url = f"http://127.0.0.1:{server.config.rest_port}/v1/models/{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_labels_move_without_a_failed_request_and_only_to_versions_that_are_served(server, channel, stub, folder):
    _reload(channel, ("m", folder / "m", {"stable": 1}, (1,)))
    with _asking(stub, "", "stable"):
        for _ in range(3):
            _reload(channel, ("m", folder / "m", {"stable": 2}, (2,)))
            assert _bias(stub, "stable") == 2
            _reload(channel, ("m", folder / "m", {"stable": 1, "new": 2}, (1, 2)))
            assert _bias(stub, "stable") == 1 and _bias(stub, "new") == 2
        for labels in ({"stable": 2}, {"stable": 1, "other": 7}):
            code, why = _refused(_reload, channel, ("m", folder / "m", labels, (1,)))
            assert code == "FAILED_PRECONDITION" and f"version {list(labels.values())[-1]} is not available" in why
            assert _bias(stub, "stable") == 1
    assert _refused(stub.Predict, _request("other"))[0] == "INVALID_ARGUMENT"
    code, _ = _refused(_reload, channel, ("m", folder / "m", {"stable": 1, "old": 1}, (2,)))  # it is let go
    assert code == "FAILED_PRECONDITION" and "old" not in server.core.models["m"].config.labels


def test_a_directory_is_replaced_once_the_other_has_a_version_and_a_slash_makes_it_no_other(
    server, channel, stub, folder, tmp_path
):
    _reload(channel, ("m", folder / "m", {}, (2,)))
    kept = server.core.version("m")
    _reload(channel, ("m", f"{folder}/m/", {}, (2,)))
    assert server.core.version("m") is kept
    with _asking(stub, ""):
        code, why = _refused(_reload, channel, ("m", tmp_path, {"stable": 2}, (2,)))  # nothing is there yet
        assert code == "UNAVAILABLE" and str(tmp_path) in why
        assert _bias(stub) == 2 and server.core.ready and _state(channel, "m")[2] == 30
        shutil.copytree(folder / "n" / "2", tmp_path / "2")
        server.core.load()  # as the thread that follows the directories does
        assert _bias(stub) == _bias(stub, "stable") == 6
    assert b'fullpass_serving_version_loaded{model="m",version="2"} 1.0' in metrics().text()[0]
    _reload(channel, ("n", folder / "n", {}, (1,)))
    assert b'fullpass_serving_version_loaded{model="m",version="2"} 0.0' in metrics().text()[0]


def test_what_was_set_at_the_start_comes_back_with_the_name(server, channel, folder):
    _reload(channel, ("n", folder / "n", {}, (1,)))
    _reload(channel, ("n", folder / "n", {}, (1,)), ("m", folder / "m", {"canary": 2}, (1, 2)))
    assert server.core.models["n"].config.golden == "exact"
    config = server.core.models["m"].config
    assert (config.canary_share, config.golden) == (0.25, "off")
    _reload(channel, ("m", folder / "m", {"stable": 2}, (2,)))  # without a canary there is nothing to have a share
    assert server.core.models["m"].config.canary_share == 0.0


def test_a_canary_that_is_not_served_gets_no_share(server, channel, stub, folder):
    _reload(channel, ("m", folder / "m", {"canary": 2}, (1, 2)))
    _reload(channel, ("m", folder / "m", {"canary": 1}, (1,)))
    model = server.core.models["m"]
    model.config = ModelConfig(name="m", directory=str(folder / "m"), labels={"canary": 2}, canary_share=1.0)
    assert _bias(stub) == 1
    assert _refused(stub.Predict, _request("canary"))[0] == "NOT_FOUND"


def test_all_tasks_of_an_inference_are_answered_by_one_version(server, channel, stub, folder):
    _reload(channel, ("m", folder / "m", {"canary": 2}, (1, 2)))  # a quarter of the requests
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in (("", "regress"), ("classes", "classify")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "m", signature
    request.input.example_list.examples.add().ParseFromString(example(VALUES[0]))
    found = set()
    for _ in range(60):
        results = stub.MultiInference(request, timeout=60).results
        found.add(tuple(each.model_spec.version.value for each in results))
    assert found == {(1, 1), (2, 2)}


def test_a_version_that_was_let_go_is_held_by_nothing(server, channel, stub, folder):
    _reload(channel, ("m", folder / "m", {}, (1,)))
    body = json.dumps({"instances": [{"b64": base64.b64encode(example(VALUES[0])).decode()}]})
    kept = http.client.HTTPConnection("127.0.0.1", server.config.rest_port, timeout=60)
    kept.request("POST", PREDICT, body)
    assert kept.getresponse().read() and _bias(stub) == 1
    left = weakref.ref(server.core.version("m"))
    _reload(channel, ("n", folder / "n", {}, (1,)))
    eventually(lambda: gc.collect() is not None and left() is None, "the version is let go", 20)
    kept.close()


def test_models_and_versions_that_were_never_found_have_no_status(server, channel, folder, tmp_path):
    shutil.copytree(folder / "n" / "1", tmp_path / "m" / "1")
    (tmp_path / "m" / "2").mkdir()
    (tmp_path / "m" / "2" / "saved_model.pb").write_bytes(b"damaged")
    models = (("m", tmp_path / "m", {}, (1, 2)), ("x", tmp_path / "none", {}, ()))
    code, why = _refused(_reload, channel, *models)
    assert code == "UNAVAILABLE" and "none" in why
    code, why = _refused(_state, channel, "x")
    assert code == "NOT_FOUND" and "Could not find any versions of model x" in why
    assert _rest_status(server, "x") == (404, {"error": why})
    assert _state(channel, "m", number=2) == {2: 50}
    status, found = _rest_status(server, "m/versions/2")
    assert status == 200 and found["model_version_status"][0]["state"] == "END"
    code, why = _refused(lambda: _state(channel, "m", number=9))
    assert code == "NOT_FOUND" and _rest_status(server, "m/versions/9") == (404, {"error": why})
    code, why = _refused(_reload, channel, ("x", "odd://me:opensesame@host/x", {}, ()))
    assert code == "UNAVAILABLE" and "odd://***@host/x" in why and "opensesame" not in why


def test_a_list_of_models_that_cannot_be_is_refused_and_changes_nothing(channel, stub, folder):
    _reload(channel, ("m", folder / "m", {}, (2,)))
    for models, text in [
        ((), "model_config_list"),
        ((("m", folder / "m", {}, (1,)), ("m", folder / "m", {}, (2,))), "each name once"),
        ((("a/b", folder / "m", {}, (1,)),), "name of a model"),
        ((("m", "", {}, ()),), "base_path"),
    ]:
        code, why = _refused(_reload, channel, *models)
        assert code == "INVALID_ARGUMENT" and text in why
    assert stub.Predict(_request()).model_spec.version.value == 2


def test_calls_that_are_broken_off_leave_nothing_behind(server, channel, stub, folder):
    _reload(channel, ("m", folder / "m", {}, (2,)))
    for _ in range(5):
        calls = [stub.Predict.future(_request()) for _ in range(100)]
        for position, call in enumerate(calls):
            if position % 2:
                call.cancel()
        for position, call in enumerate(calls):
            if not position % 2:
                np.testing.assert_allclose(call.result().outputs["outputs"].float_val, answers(VALUES, 2.0), rtol=1e-5)
    code, _ = _refused(lambda: stub.Predict(_request(), timeout=1e-9))
    assert code == "DEADLINE_EXCEEDED"
    core = server.core
    eventually(lambda: core._in_flight == 0, "no request is in flight")
    assert not any(batcher._queue or batcher._queued_rows or batcher._running for batcher in core._batchers.values())
