"""One answer of a server, to a row that was kept with the model, and the command line that asks for it."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import shlex
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, FullpassError
from engine.machine.quiet import import_tensorflow
from trainers.export.export import latest_version
from trainers.export.samples import WARMUP_FILE
from trainers.serving.server.config import ModelConfig, ServeConfig
from trainers.serving.server.processes import started

__all__ = ["check", "first_row"]


def check(config: ServeConfig) -> list[tuple[str, str]]:
    """Starts a server of its own on a free port of this machine, asks each model one row that was kept with it, and stops it.

    Args:
        config: of the server that will be started; its port and scheme are in the curl lines.

    Returns:
        curl line and answer of each model.

    Raises:
        ConfigError: a model without such a row, or no REST port.
        FullpassError: a server that does not start, or refuses the row.
    """
    if config.rest_port is None:
        raise ConfigError("--check asks over REST; leave --rest-port -1 out")
    import_tensorflow()
    rows = [first_row(latest_version(model.directory)) for model in config.models]
    private = dataclasses.replace(
        config, host="127.0.0.1", grpc_port=None, rest_port=0, token=None, tls_key=None, tls_certificate=None,
        client_ca=None, processes=1, trace=None, record_share=0.0, record_directory=None,
    )  # fmt: skip
    with started(private) as server:
        return [_ask(config, server.config, model, row) for model, row in zip(config.models, rows)]


def _ask(config: ServeConfig, running: ServeConfig, model: ModelConfig, row: bytes) -> tuple[str, str]:
    path = f"/v1/models/{model.name}"
    # A person reads features; what only `:predict` can answer is asked in TensorFlow's own encoding.
    bodies = ((":regress", {"examples": [_features(row)]}), (":predict", {"instances": [{"b64": _encoded(row)}]}))
    for verb, body in bodies:
        text = json.dumps(body)
        connection = http.client.HTTPConnection(running.host, running.rest_port, timeout=60)
        try:
            connection.request("POST", path + verb, text)
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.OK:
            token = "" if config.token is None else " -H 'authorization: Bearer TOKEN'"
            keys = (
                " --cacert CA --cert CERT --key KEY" if config.client_ca else " --cacert CA" if config.tls_key else ""
            )
            base = f"{'https' if config.tls_key else 'http'}://{config.host}:{config.rest_port}"
            return f"curl{token}{keys} -d {shlex.quote(text)} {base}{path}{verb}", said
    raise FullpassError(f"model {model.name!r} refuses a row that was kept with it: {said}")


def first_row(version: Path) -> bytes:
    """Returns the first serialized tf.Example of a version's warm-up requests.

    Raises:
        ConfigError: it has none.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = version / WARMUP_FILE
    if file.is_file():
        for record in tf.data.TFRecordDataset(str(file)).take(1).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            for value in request.inputs.values():
                if value.string_val:
                    return bytes(value.string_val[0])
    raise ConfigError(f"{version} has no row to ask with; `fullpass export --data` keeps some beside the model")


def _features(row: bytes) -> dict[str, Any]:
    import tensorflow as tf

    features: dict[str, Any] = {}
    for name, feature in sorted(tf.train.Example.FromString(row).features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = (
            [_text(value) if kind == "bytes_list" else value for value in getattr(feature, kind).value] if kind else []
        )
        if values:
            features[name] = values[0] if len(values) == 1 else values
    return features


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": _encoded(value)}


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
