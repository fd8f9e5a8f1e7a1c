"""A client's list of models holds for every process of a server, for the one too that replaces a killed one."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal

import grpc
import numpy as np
import psutil
import pytest
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from tests.support.eventually import eventually
from tests.support.served_model import PREDICT, answers, example, metrics, rows, save_version
from trainers.serving.server import Limits, ModelConfig, ServeConfig, VersionPolicy
from trainers.serving.server.core import Core
from trainers.serving.server.errors import Unavailable
from trainers.serving.server.group.shared_models import SharedModels
from trainers.serving.server.processes import started

VALUES = rows(1)
BODY = json.dumps({"instances": [{"b64": base64.b64encode(example(VALUES[0])).decode()}]})


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
    model = ModelConfig(name="m", directory=str(folder / "m"), policy=VersionPolicy(specific=(1,)), golden="off")
    config = ServeConfig(
        models=(model,),
        grpc_port=0,
        rest_port=0,
        processes=2,
        allow_reload=True,
        drain_s=5,
        limits=Limits(idle_s=600),  # connections are kept while another process starts, however busy the machine is
    )
    with started(config) as running:
        yield running


def _peer(server, port):
    """The process at the other end of a connection from this port; None while none has taken it."""
    for process in list(server.pids):
        with contextlib.suppress(psutil.Error):
            if any(each.raddr and each.raddr.port == port for each in psutil.Process(process).net_connections()):
                return process
    return None


def _to(server, process):
    """A connection to that very process of those that share the port."""

    def opened():
        connection = http.client.HTTPConnection("127.0.0.1", server.config.rest_port, timeout=60)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        if _peer(server, connection.sock.getsockname()[1]) == process:
            return connection
        connection.close()
        return None

    return eventually(opened, f"process {process} takes a connection", 240)


def _answer(connection, path=PREDICT):
    """Which bias the version has that answers; or why none does."""
    connection.request("POST", path, BODY)
    found = json.loads(connection.getresponse().read())
    if "error" in found:
        return found["error"]
    (bias,) = [bias for bias in range(1, 7) if np.allclose(found["predictions"], answers(VALUES, bias), rtol=1e-5)]
    return bias


def _list(*models):
    request = model_management_pb2.ReloadConfigRequest()
    for name, path, labels, versions in models:
        config = request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
        config.version_labels.update(labels)
        config.model_version_policy.specific.versions.extend(versions)
    return request


def test_a_list_holds_for_all_processes_once_it_is_answered_and_for_one_that_replaces_another(
    server, channel, folder, tmp_path
):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    stable = "/v1/models/m/labels/stable:predict"
    connections = {process: _to(server, process) for process in server.pids}
    assert len(connections) == 2

    def everywhere(path=PREDICT):
        found = [_answer(connection, path) for connection in connections.values()]
        assert len({*found}) == 1, found
        return found[0]

    assert everywhere() == 1
    for versions, label in (((1, 2), 1), ((2,), 2), ((1, 2), 1)):
        stub.HandleReloadConfigRequest(_list(("m", folder / "m", {"stable": label}, versions)), timeout=240)
        assert (everywhere(), everywhere(stable)) == (2, label)
    with pytest.raises(grpc.RpcError) as refused:
        stub.HandleReloadConfigRequest(_list(("m", folder / "m", {"stable": 7}, (2, 1))), timeout=240)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (everywhere(), everywhere(stable)) == (2, 1)

    # Two clients at once: one after the other, so that all processes end with the same.
    lists = [_list(("m", folder / "m", {"stable": label}, (1, 2))) for label in (1, 2)]
    calls = [stub.HandleReloadConfigRequest.future(each, timeout=240) for each in lists * 3]
    for call in calls:
        call.result()
    assert everywhere() == 2 and everywhere(stable) in (1, 2)
    stub.HandleReloadConfigRequest(lists[0], timeout=240)
    assert everywhere(stable) == 1

    # One process stands still: no answer before it has the list, or is gone. Nothing is in the directory yet.
    ends = psutil.Process().net_connections()
    (asked,) = {
        _peer(server, each.laddr.port) for each in ends if each.raddr and each.raddr.port == server.config.grpc_port
    } - {None}
    (other,) = {*server.pids} - {asked}
    counts = server._counts / f"gauge_livesum_{other}.db"
    assert counts.exists()
    os.kill(other, signal.SIGSTOP)
    try:
        call = stub.HandleReloadConfigRequest.future(
            _list(("m", tmp_path / "m", {}, (2,)), ("n", folder / "n", {}, (1,))), timeout=240
        )
        eventually(
            lambda: _answer(connections[asked], "/v1/models/n:predict") == 5, "the process asked has the list", 240
        )
        assert not call.done()
    finally:
        os.kill(other, signal.SIGKILL)
    assert call.exception().code() is grpc.StatusCode.UNAVAILABLE and str(tmp_path) in call.exception().details()
    replacement = eventually(lambda: {*server.pids} - {asked, other}, "another process starts", 240).pop()
    connections = {asked: connections[asked], replacement: _to(server, replacement)}
    assert everywhere("/v1/models/n:predict") == 5
    assert (everywhere(), everywhere(stable)) == (2, 1)  # until the other directory has a version
    assert not counts.exists()  # rows that waited in the process that was killed wait no longer
    shutil.copytree(folder / "n" / "2", tmp_path / "2")
    (tmp_path / "m").mkdir()
    (tmp_path / "2").rename(tmp_path / "m" / "2")
    for process, connection in connections.items():
        eventually(lambda connection=connection: _answer(connection) == 6, f"{process} serves the directory", 240)
    stub.HandleReloadConfigRequest(_list(("n", folder / "n", {}, (2,))), timeout=240)
    assert everywhere("/v1/models/n:predict") == 6 and "Servable not found" in everywhere()


def test_a_process_that_cannot_load_a_version_is_named_and_takes_the_list_once_it_can(server, channel, folder):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    stable = "/v1/models/m/labels/stable:predict"
    stub.HandleReloadConfigRequest(_list(("m", folder / "m", {"stable": 1}, (1,))), timeout=240)
    ends = psutil.Process().net_connections()
    (asked,) = {
        _peer(server, each.laddr.port) for each in ends if each.raddr and each.raddr.port == server.config.grpc_port
    } - {None}
    (other,) = {*server.pids} - {asked}
    connections = {process: _to(server, process) for process in (asked, other)}
    graph = folder / "m" / "2" / "saved_model.pb"
    whole = graph.read_bytes()
    os.kill(
        other, signal.SIGSTOP
    )  # it comes to the list after the version was damaged, which the process asked has loaded by then
    try:
        call = stub.HandleReloadConfigRequest.future(_list(("m", folder / "m", {"stable": 2}, (1, 2))), timeout=240)
        eventually(lambda: _answer(connections[asked], stable) == 2, "the process asked serves the list", 240)
        graph.write_bytes(whole[: len(whole) // 2])
    finally:
        os.kill(other, signal.SIGCONT)
    error = call.exception()
    assert (
        error.code() is grpc.StatusCode.FAILED_PRECONDITION and f"process {other} of the server's 2" in error.details()
    )
    assert "version 2 is not available" in error.details() and "takes the list as soon as it can" in error.details()
    assert (_answer(connections[asked], stable), _answer(connections[other], stable)) == (2, 1)
    graph.write_bytes(whole)
    eventually(lambda: _answer(connections[other], stable) == 2, "the other one has the list, its labels too", 240)
    assert _answer(connections[asked], stable) == 2


def test_a_process_that_fails_alone_is_named_and_one_that_leaves_is_not_waited_for(folder, tmp_path):
    def member(memory_share):
        model = ModelConfig(name="m", directory=str(folder / "m"), golden="off")
        limits = Limits(memory_share=memory_share)
        config = ServeConfig(models=(model,), processes=2, allow_reload=True, limits=limits)
        shared = SharedModels(tmp_path, config)
        core = Core(config, metrics(), shared.first)
        shared.load(core)
        return shared, core

    (shared, core), (poor, _) = member(0.8), member(1e-15)  # nothing fits into its memory
    wanted = (ModelConfig(name="n", directory=str(folder / "n"), golden="off"),)
    with pytest.raises(Unavailable, match=rf"(?s)MiB of memory.*process {os.getpid()} of the server's 2"):
        shared.reload(wanted)
    poor.leave()
    shared.reload(wanted)
    later, its_core = member(0.8)
    assert its_core.wanted == core.wanted == wanted and its_core.models["n"].live == [2]
    later.leave()
    shared.leave()
    with pytest.raises(Unavailable, match="stopping"):
        shared.reload(wanted)
