"""What guards and shows a server: mutual TLS, traces, access log, records that fall behind, versions in an object store."""

import base64
import http.client
import io
import json
import os
import socket
import ssl
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from engine import ConfigError
from engine.storage import tree
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.served_model import answers, example, rows, save_version
from tests.support.servers.s3 import environment_of, s3_server
from trainers.export.digest import CARD_JSON, model_digest
from trainers.serving.server import ModelConfig, ServeConfig
from trainers.serving.server.observe.access_log import AccessLog
from trainers.serving.server.observe.recording import Recorder
from trainers.serving.server.observe.tracing import Tracing
from trainers.serving.server.processes import started

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    folder.mkdir()
    save_version(folder, 1)
    return folder


def _request(values):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example(row) for row in values]))
    return request


def _body(values):
    return json.dumps({"instances": [{"b64": base64.b64encode(example(row)).decode()} for row in values]}).encode()


def _post(port, context, body, headers=None):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    try:
        connection.request("POST", "/v1/models/m:predict", body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _let_in(port, context):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_mutual_tls_traces_and_access_log(root, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grpc.py").write_text(
        "raise SystemExit('of the working directory')"
    )  # whoever put it there runs nothing
    ours, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "other", "a stranger's authority")
    server_key, server_certificate = ours.issue("server")
    client_key, client_certificate = ours.issue("client")
    wrong_key, wrong_certificate = stranger.issue("client")
    clients, said = tmp_path / "clients.pem", list[str]()
    clients.write_bytes(ours.certificate.read_bytes())
    config = ServeConfig(
        models=(ModelConfig(name="m", directory=str(root)),),
        host="0.0.0.0",  # an open address: allowed since clients need a certificate
        grpc_port=0,
        rest_port=0,
        tls_key=str(server_key),
        tls_certificate=str(server_certificate),
        client_ca=str(clients),
        access_log_share=1.0,
        trace=str(tmp_path / "spans.jsonl"),
    )
    values = rows(2)
    with started(config) as server:
        context = ssl.create_default_context(cafile=str(ours.certificate))
        context.load_cert_chain(client_certificate, client_key)
        traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        status, body = _post(server.config.rest_port, context, _body(values), traced)
        assert status == 200
        np.testing.assert_allclose(body["predictions"], answers(values, 0), rtol=1e-6)
        assert _post(server.config.rest_port, context, b"{")[0] == 400

        def stub(key, certificate):
            pair = (
                {} if key is None else {"private_key": key.read_bytes(), "certificate_chain": certificate.read_bytes()}
            )
            credentials = grpc.ssl_channel_credentials(ours.certificate.read_bytes(), **pair)
            channel = grpc.secure_channel(f"127.0.0.1:{server.config.grpc_port}", credentials)
            return prediction_service_pb2_grpc.PredictionServiceStub(channel)

        answer = stub(client_key, client_certificate).Predict(_request(values), metadata=list(traced.items()))
        np.testing.assert_allclose(answer.outputs["outputs"].float_val, answers(values, 0), rtol=1e-6)
        for pair in ((None, None), (wrong_key, wrong_certificate)):
            with pytest.raises(grpc.RpcError) as refused:
                stub(*pair).Predict(_request(values), timeout=5)
            assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            other = ssl.create_default_context(cafile=str(ours.certificate))
            if pair[0] is not None:
                other.load_cert_chain(pair[1], pair[0])
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                _post(server.config.rest_port, other, _body(values))

        def shown(port):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                    return connection.getpeercert(binary_form=True)

        renewed_key, renewed_certificate = ours.issue("renewed")
        before = ssl.PEM_cert_to_DER_cert(server_certificate.read_text())
        renewed = ssl.PEM_cert_to_DER_cert(renewed_certificate.read_text())
        ports = (server.config.rest_port, server.config.grpc_port)
        os.replace(renewed_key, server_key)  # of which the certificate is not yet: the old pair stays
        assert [shown(port) for port in ports] == [before] * 2 != [renewed] * 2

        def warnings():
            said.append(capfd.readouterr().err)
            return "".join(said).count("could not be read anew")

        eventually(lambda: warnings() == 2, "both doors have seen the mismatch, and say it once each")
        assert [shown(port) for port in ports] == [before] * 2
        os.replace(renewed_certificate, server_certificate)
        for port in ports:
            eventually(lambda port=port: shown(port) == renewed, "the renewed certificate is shown")
        assert _post(server.config.rest_port, context, _body(values))[0] == 200
        stub(client_key, client_certificate).Predict(_request(values))
        with pytest.raises((ConnectionError, http.client.HTTPException)):  # no TLS at all
            plain = http.client.HTTPConnection("127.0.0.1", server.config.rest_port, timeout=5)
            plain.request("GET", "/v1/models/m")
            plain.getresponse()
        stranger.certificate.replace(clients)
        eventually(lambda: not _let_in(ports[0], context), "clients of the authority that was replaced are refused")
        assert _let_in(ports[0], other), "those of the new one are not"
        with pytest.raises(grpc.RpcError):
            stub(client_key, client_certificate).Predict(_request(values), timeout=5)
        assert warnings() == 2
    spans = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    assert [span["context"]["trace_id"] == f"0x{TRACE}" for span in spans] == [True, True, False, False]
    assert all(span["attributes"] | {"model": "m", "version": 1, "rows": 2} == span["attributes"] for span in spans)
    logged = [
        json.loads(line) for line in "".join([*said, capfd.readouterr().err]).splitlines() if line.startswith("{")
    ]
    assert [(line["status"], line["rows"]) for line in logged if line["status"] != "OK"] == [("INVALID_ARGUMENT", 0)]
    assert [line["rows"] for line in logged if line["status"] == "OK"] == [2] * 4


def test_an_open_address_without_any_guard_is_refused(root):
    models = (ModelConfig(name="m", directory=str(root)),)
    with pytest.raises(ConfigError, match="--client-ca"):
        ServeConfig(models=models, host="0.0.0.0")


def test_failed_request_is_a_span_with_its_error_and_no_target_makes_none():
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    tracing = Tracing(None, memory)
    with pytest.raises(ValueError, match="wrong"), tracing.request("m", "", None):
        raise ValueError("wrong")
    tracing.close()
    (span,) = memory.get_finished_spans()
    assert span.name == "predict m" and not span.status.is_ok and span.events[0].name == "exception"
    with Tracing(None).request("m", "", None) as nothing:
        assert nothing is None


def test_access_log_writes_its_share():
    out = io.StringIO()
    for _ in range(4000):
        AccessLog(0.25, out).note("m", "OK")
    assert 800 < len(out.getvalue().splitlines()) < 1200


def test_requests_that_cannot_be_recorded_are_counted_and_said(root, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    config = ServeConfig(
        models=(ModelConfig(name="m", directory=str(root)),),
        record_share=1.0,
        record_directory=str(tmp_path / "file" / "under"),  # cannot be made
    )
    counted = []
    recorder = Recorder(config, counted.append)
    recorder.offer("m", 1, [example(rows(1)[0])], {"outputs": np.zeros(1, np.float32)})
    recorder.offer("m", 1, [b"\xff"], {"outputs": np.zeros(1, np.float32)})  # no example: the thread must live on
    recorder.close()
    assert recorder.left_out == sum(counted) == 2
    assert "have not been recorded" in caplog.text


def test_versions_of_an_object_store_are_followed(root, tmp_path, monkeypatch):
    with s3_server() as address:
        for name, value in environment_of(address).items():
            monkeypatch.setenv(name, value)
        tree.upload_tree(root / "1", "s3://data/models/m/1")
        second = save_version(tmp_path, 2, bias=2.0)
        (second / CARD_JSON).parent.mkdir(exist_ok=True)
        (second / CARD_JSON).write_text(json.dumps({"version": 1, "sha256": model_digest(second)}))
        config = ServeConfig(
            models=(ModelConfig(name="m", directory="s3://data/models/m"),), grpc_port=None, rest_port=0, poll_s=0.2
        )
        with started(config) as server:
            base = f"http://127.0.0.1:{server.config.rest_port}/v1/models/m"

            def states():
                found = json.loads(urllib.request.urlopen(base, timeout=30).read())["model_version_status"]
                return {each["version"]: (each["state"], each["status"]["error_message"]) for each in found}

            def score():
                return json.loads(urllib.request.urlopen(f"{base}:predict", _body(rows(1)), timeout=30).read())

            np.testing.assert_allclose(score()["predictions"], answers(rows(1), 0), rtol=1e-6)
            # Whole but for one byte of its weights: the card says what it should be.
            damaged = tmp_path / "damaged"
            damaged.mkdir()
            for name in tree.list_tree(str(second)):
                (damaged / name).parent.mkdir(parents=True, exist_ok=True)
                (damaged / name).write_bytes((second / name).read_bytes())
            weights = damaged / "variables" / "variables.data-00000-of-00001"
            raw = bytearray(weights.read_bytes())
            raw[0] ^= 1
            weights.write_bytes(raw)
            tree.upload_tree(damaged, "s3://data/models/m/2")
            eventually(lambda: "the card says" in states().get("2", ("", ""))[1], "the damaged version is refused")
            np.testing.assert_allclose(score()["predictions"], answers(rows(1), 0), rtol=1e-6)
            tree.upload_tree(second, "s3://data/models/m/2", last="saved_model.pb")
            eventually(lambda: states()["2"][0] == "AVAILABLE", "the whole version is served")
            np.testing.assert_allclose(score()["predictions"], answers(rows(1), 2.0), rtol=1e-6)
