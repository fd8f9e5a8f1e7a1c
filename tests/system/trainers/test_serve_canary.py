"""A share of the requests that name no version goes to the canary."""

import json
import math
import urllib.request

import numpy as np

from tests.support.served_model import answers, rows, save_version
from trainers.serving.server import ModelConfig, ServeConfig, VersionPolicy
from trainers.serving.server.processes import started

SHARE, REQUESTS = 0.25, 400


def test_canary_gets_its_share_of_the_unnamed_requests_and_none_of_the_others(tmp_path):
    (tmp_path / "m").mkdir()
    for number in (1, 2):
        save_version(tmp_path / "m", number, bias=float(number))
    model = ModelConfig(
        name="m",
        directory=str(tmp_path / "m"),
        policy=VersionPolicy(all=True),
        labels={"stable": 1, "canary": 2},
        canary_share=SHARE,
    )
    row = rows(1)
    body = json.dumps({"signature_name": "raw_features", "instances": [{"x": row[0].tolist(), "word": "a"}]}).encode()
    columns = json.dumps(
        {"signature_name": "raw_features", "inputs": {"x": row.tolist(), "word": ["a"]}}
    ).encode()  # this one is not read natively
    expected = {number: answers(row, float(number))[0] for number in (1, 2)}
    with started(ServeConfig(models=(model,), grpc_port=None, rest_port=0)) as server:

        def version_of(data, path=""):
            url = f"http://127.0.0.1:{server.config.rest_port}/v1/models/m{path}:predict"
            answer = json.loads(urllib.request.urlopen(urllib.request.Request(url, data), timeout=60).read())
            score = answer["predictions"][0]["score"] if "predictions" in answer else answer["outputs"]["score"][0]
            (number,) = [number for number, want in expected.items() if np.isclose(score, want, rtol=1e-5)]
            return number

        for data in (body, columns):
            canary = sum(version_of(data) == 2 for _ in range(REQUESTS))
            # Six standard deviations: one run in 10^8 fails by chance.
            assert abs(canary - SHARE * REQUESTS) < 6 * math.sqrt(REQUESTS * SHARE * (1 - SHARE))
            assert {version_of(data, "/labels/stable") for _ in range(20)} == {1}
            assert {version_of(data, "/labels/canary") for _ in range(20)} == {2}
            assert {version_of(data, "/versions/1") for _ in range(20)} == {1}
