"""Models as strangers make them: inputs with defaults or none, answers that look at several rows, classes alone, odd versions."""

import asyncio
import concurrent.futures
import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from tests.support.served_model import asked, metrics
from tests.support.serving_here import serving_here
from trainers.serving.server import BatchingConfig, ModelConfig, ServeConfig, VersionPolicy
from trainers.serving.server.core import Core

NANOSECONDS = 1795755174843528000  # a version by the time, of 19 digits
SCALE = tf.constant(3.0)
PATH = "/v1/models/odd:predict"


class _Odd(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="x"),
            tf.TensorSpec([], tf.float32, name="scale"),
        ]
    )
    def scaled(self, x, scale=SCALE):
        return {"y": x * scale, "name": tf.strings.as_string(x, precision=1)}

    @tf.function(input_signature=[])
    def words(self):
        return {"words": tf.strings.split(tf.constant("a b c"))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def centred(self, x):
        return {"y": x - tf.reduce_mean(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def parts(self, text):
        words = tf.strings.split(text)
        return {"words": words, "sparse": words.to_sparse(), "bytes": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def padded(self, text):
        return {"words": tf.strings.split(text).to_tensor("")}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def shorter(self, x):
        return {"x": tf.reshape(x[x > 0], [tf.shape(x)[0], -1]), "distinct": tf.unique(tf.reshape(x, [-1])).y}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def positive(self, x):
        return {"positive": tf.ragged.boolean_mask(x, x > 0).to_tensor(-1.0)}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def pairs(self, x):
        return {"pairs": tf.matmul(x, x, transpose_b=True)}

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.float32)])
    def sums(self, x):
        return {"y": tf.reduce_sum(x, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def labels(self, inputs):
        word = tf.io.parse_example(inputs, {"word": tf.io.FixedLenFeature([], tf.string)})["word"]
        return {"classes": tf.stack([word, word], 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "odd"
    model = _Odd()
    signatures = {
        "serving_default": model.scaled,
        "words": model.words,
        "centred": model.centred,
        "labels": model.labels,
        "parts": model.parts,
        "sums": model.sums,
        "padded": model.padded,
        "shorter": model.shorter,
        "positive": model.positive,
        "pairs": model.pairs,
    }
    for name in (str(NANOSECONDS), "0", "99999999999999999999"):  # the last has more than 64 bits
        tf.saved_model.save(model, str(folder / name), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    model = ModelConfig(name="odd", directory=str(folder), policy=VersionPolicy(all=True))
    core = Core(ServeConfig(models=(model,), grpc_port=None, rest_port=0, drain_s=5), metrics())
    core.load()
    with serving_here(core) as running:
        yield running


@pytest.fixture(scope="module")
def port(server):
    return server.config.rest_port


def _request(signature="", **tensors):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "odd", signature
    for name, value in tensors.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_an_input_with_a_default_may_be_left_out(stub, port):
    x = np.array([1.0, 2.0], np.float32)
    assert list(stub.Predict(_request(x=x)).outputs["y"].float_val) == [3.0, 6.0]
    assert list(stub.Predict(_request(x=x, scale=np.float32(5.0))).outputs["y"].float_val) == [5.0, 10.0]
    status, answer = asked(port, b'{"instances": [{"x": 0.1}, {"x": 2}]}', path=PATH)
    assert status == 200 and answer["predictions"][1] == {"y": 6.0, "name": "2.0"}
    status, answer = asked(port, b'{"inputs": {"x": [0.1], "scale": 1}}', path=PATH)
    assert (status, answer) == (200, {"outputs": {"y": [0.1], "name": ["0.1"]}}), "with a float32's digits"
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(_request(scale=np.float32(5.0)))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "inputs x missing" in refused.value.details()
    for name in ("x" * 20_000, "\U0001f600" * 20_000):  # longer than what a status of gRPC may be
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(_request(x=x, **{name: x}))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and name[:400] in refused.value.details()


def test_a_signature_without_inputs_answers_each_request_whole(stub):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda _: list(stub.Predict(_request("words")).outputs["words"].string_val), range(60))
    assert all(each == [b"a", b"b", b"c"] for each in found)


def test_without_batching_a_request_is_run_as_it_came(folder):
    """A model that looks at several rows for the answer to one: rows of others, or copies that fill a batch, would change it."""
    model = ModelConfig(name="odd", directory=str(folder))
    config = ServeConfig(models=(model,), batching=BatchingConfig(max_batch_size=4, enable_batching=False))
    values = [np.arange(count, dtype=np.float32) ** 2 for count in (3, 5, 6, 1)] * 5

    with serving_here(Core(config, metrics())) as running:
        running.core.load()
        body = json.dumps({"signature_name": "centred", "instances": [0, 1, 4]}).encode()
        over_rest = asked(running.config.rest_port, body, path=PATH)[1]["predictions"]
        with grpc.insecure_channel(f"127.0.0.1:{running.config.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            over_grpc = stub.Predict(_request("centred", x=values[0])).outputs["y"].float_val
    for each in (over_rest, over_grpc):
        np.testing.assert_allclose(each, values[0] - values[0].mean(), rtol=1e-6)
    (found,) = _answers_together(config, ("centred", [{"x": each} for each in values]))
    for x, answer in zip(values, found):
        np.testing.assert_allclose(answer["y"], x - x.mean(), rtol=1e-6)


def _answers_together(config, *rounds):
    """Of each round's requests, of a signature, which are there before the first of them is run."""

    async def ask():
        core = Core(config, metrics())
        core.load()
        found = []
        for signature, requests in rounds:
            calls = (core.predict("odd", each, signature=signature) for each in requests)
            found.append([each.outputs for each in await asyncio.gather(*calls)])
        await core.drain()
        return found

    return asyncio.run(ask())


def test_answers_whose_sizes_are_made_of_the_values_are_those_of_one_request(folder):
    """The words of one client's longest text widened another's answer; where they differed within a long request it failed, or a part
    of its rows was taken for all of them."""
    batching = BatchingConfig(max_batch_size=4)
    config = ServeConfig(models=(ModelConfig(name="odd", directory=str(folder)),), batching=batching)
    texts = [[b"a", b"b c"], [b"a b c d"], [b"a"] * 6 + [b"b c d"]]
    x = np.float32([[1, -1], [1, -2], [-1, 1], [-1, 2], [2, 2], [1, 1]])
    rounds = [
        ("padded", [{"text": np.array(each, object)} for each in texts]),
        *(("shorter", [{"x": each}]) for each in (x[:4], x[[0, 1, 2, 3, 0, 1]], x[[4, 5, 4, 5, 4]])),
        ("positive", [{"x": np.float32([each])} for each in ([1, 0, 0, 0], [1, 2, 3, 0])]),
        ("positive", [{"x": np.float32([each])} for each in ([1, 0], [1, 2])]),  # as wide as what was given, by chance
        ("pairs", [{"x": np.ones((11, 3), np.float32)}]),
        ("pairs", [{"x": np.ones((rows, 3), np.float32)} for rows in (1, 2, 3)]),
    ]
    direct = tf.saved_model.load(str(folder / str(NANOSECONDS))).signatures
    for (signature, requests), answers in zip(rounds, _answers_together(config, *rounds)):
        for request, answer in zip(requests, answers):
            wanted = direct[signature](**{name: tf.constant(value.tolist()) for name, value in request.items()})
            for name, value in wanted.items():
                assert answer[name].tolist() == value.numpy().tolist(), (signature, name)


def test_ragged_and_sparse_outputs_are_answered_in_parts(folder, stub, port):
    """A ragged one was answered as the text of Python's own lists, a sparse one by an internal error."""
    texts = [b"a b", b"", b"c"]
    direct = tf.saved_model.load(str(folder / str(NANOSECONDS))).signatures["parts"](text=tf.constant(texts))
    wanted = {
        "words": direct["words"].flat_values,
        "words_row_lengths": direct["words"].row_lengths(),
        "sparse_indices": direct["sparse"].indices,
        "sparse_values": direct["sparse"].values,
        "sparse_dense_shape": direct["sparse"].dense_shape,
        "bytes": direct["bytes"],
    }
    found = stub.Predict(_request("parts", text=texts)).outputs
    assert {name: tf.make_ndarray(value).tolist() for name, value in found.items()} == {
        name: value.numpy().tolist() for name, value in wanted.items()
    }
    body = {"signature_name": "parts", "inputs": ["a b", "", "c"]}
    status, answer = asked(port, json.dumps(body).encode(), path=PATH)
    assert status == 200 and answer["outputs"]["words"] == ["a", "b", "c"]
    assert answer["outputs"]["words_row_lengths"] == [2, 0, 1]
    body = {"signature_name": "parts", "instances": ["a b", "", "c"]}
    status, answer = asked(port, json.dumps(body).encode(), path=PATH)
    assert status == 400 and "ask with 'inputs'" in answer["error"]
    # Of which each row has one word: parts of equal sizes are no rows, and those of others stay out.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda word: stub.Predict(_request("parts", text=[word, b"x y z", b""])).outputs, [b"a"] * 40
        )
    assert all(list(each["words_row_lengths"].int64_val) == [1, 3, 0] for each in answers)


def test_inputs_that_are_no_rows_are_run_as_they_came_where_nothing_is_joined(folder, stub):
    request = _request("sums", x=np.array([1, 2, 4], np.float32), x_1=np.array([0, 1, 1, 3]))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (
        "differ in their number of rows" in refused.value.details()
        and "--no-enable-batching" in refused.value.details()
    )
    model = ModelConfig(name="odd", directory=str(folder))
    core = Core(ServeConfig(models=(model,), batching=BatchingConfig(enable_batching=False)), metrics())
    core.load()
    with serving_here(core) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.config.grpc_port}") as channel:
            found = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request).outputs["y"]
        body = b'{"signature_name": "sums", "inputs": {"x": [1, 2, 4], "x_1": [0, 1, 1, 3]}}'
        assert asked(running.config.rest_port, body, path=PATH) == (200, {"outputs": [1.0, 0.0, 6.0]})
    assert list(found.float_val) == [1.0, 0.0, 6.0]


def test_classes_without_scores_are_answered_and_no_examples_are_refused(stub):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "odd", "labels"
    for kind in ("example_list", "example_list_with_context"):
        getattr(request.input, kind).SetInParent()
        with pytest.raises(grpc.RpcError) as refused:
            stub.Classify(request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "Input is empty" in refused.value.details()
    request.input.example_list_with_context.context.features.feature["word"].bytes_list.value.append(b"c")
    request.input.example_list_with_context.examples.add()
    (row,) = stub.Classify(request).result.classifications
    assert [(each.label, each.score) for each in row.classes] == [("c", 0.0)] * 2


def test_versions_have_64_bits(server, port):
    assert server.core.models["odd"].live == [0, NANOSECONDS]
    for number in (0, NANOSECONDS):
        path = f"/v1/models/odd/versions/{number}"
        assert asked(port, b'{"instances": [{"x": 1}]}', path=f"{path}:predict")[0] == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            (state,) = json.loads(answer.read())["model_version_status"]
        assert (state["version"], state["state"]) == (str(number), "AVAILABLE")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_verb_that_is_not_answered_is_a_malformed_request(port, method):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", b"{}", method=method), timeout=60
        )
    assert refused.value.code == 400
    assert json.loads(refused.value.read())["error"].startswith(f"Malformed request: {method} {PATH}")
