"""The local server over gRPC and REST, in the messages and JSON of TensorFlow Serving.

TensorFlow Serving itself comes as a container only, so this server stands in for it
here. It runs the model by the names of its signatures, and so shows that requests and
responses of that form fit the model.
"""

import base64
import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import shlex
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

import tfrs_barlow as tfrsb

WHY = "needs the extra serve: pip install 'tfrs-barlow[serve]'"
grpc = pytest.importorskip("grpc", reason=WHY)
uvicorn = pytest.importorskip("uvicorn", reason=WHY)
pytest.importorskip("starlette", reason=WHY)
pytest.importorskip("tensorflow_serving.apis", reason=WHY)

from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tfrs_barlow.serving.local import grpc_api, rest_api  # noqa: E402
from tfrs_barlow.serving.local.servable import Servable  # noqa: E402
from tfrs_barlow.serving.local.versions import Versions  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Server:
    """A server of one model in this process."""

    channel: Any
    url: str
    request: Callable[..., Any]

    def predict(self, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs of a request over gRPC."""
        response = self.stub.Predict(self.request(signature, **inputs))
        return {name: tf.make_ndarray(one) for name, one in response.outputs.items()}

    @property
    def stub(self) -> Any:
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def post(self, body: Any, path: str = ":predict") -> tuple[int, Any]:
        """The status and the content of a response over REST; GET without a body."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"{self.url}{path}", data) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@contextlib.contextmanager
def serving(version: pathlib.Path, make_request: Callable[..., Any]) -> Iterator[Any]:
    versions = Versions(version, Servable)
    grpc_server, port = grpc_api.start(versions, "127.0.0.1:0")
    app = Starlette(
        routes=rest_api.routes(versions),
        exception_handlers=rest_api.error_handlers(),
        middleware=[Middleware(rest_api.HostCheck, hosts={"127.0.0.1"})],
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    request = functools.partial(make_request, model=versions.name)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        rest_port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{rest_port}/v1/models/{versions.name}"
        yield Server(channel, url, request)
        server.should_exit = True
        thread.join()
    grpc_server.stop(grace=None).wait()


@pytest.fixture(scope="module")
def films_server(films: Any, make_request: Callable[..., Any]) -> Iterator[Server]:
    """Items are strings."""
    with serving(films.version, make_request) as server:
        yield server


@pytest.fixture(scope="module")
def genre_server(
    genres: pathlib.Path, make_request: Callable[..., Any]
) -> Iterator[Server]:
    """Items are integers."""
    with serving(genres, make_request) as server:
        yield server


def assert_recommends(films: Any, answer: Any, histories: Any, k: int) -> None:
    titles, scores = films.recommended(histories, k, excluded=histories)
    np.testing.assert_array_equal(np.array(answer["ids"]).astype(str), titles)
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)


def serialized_example(**features: Any) -> bytes:
    example = tf.train.Example()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode())
    return example.SerializeToString()


# --- Answers over gRPC


def test_grpc_recommend(
    films: Any, films_server: Server, histories: list[list[str]], dense: np.ndarray
) -> None:
    history = dense.astype(object)
    answer = films_server.predict("recommend", history=history, k=7)
    assert_recommends(films, answer, histories, k=7)


def test_grpc_recommend_with_every_option_for_each_row(
    films: Any, films_server: Server, histories: list[list[str]], dense: np.ndarray
) -> None:
    options = {
        "k": np.full(len(histories), 7, np.int32),
        "excluded": np.full([len(histories), 1], "", object),
        "exclude_history": np.full(len(histories), True),
    }
    answer = films_server.predict("recommend", history=dense.astype(object), **options)
    assert_recommends(films, answer, histories, k=7)


def test_grpc_embed_and_output_filter(
    films: Any, films_server: Server, histories: list[list[str]], dense: np.ndarray
) -> None:
    message = films_server.request("embed", history=dense.astype(object))
    message.output_filter.append("embedding")
    outputs = films_server.stub.Predict(message).outputs
    assert set(outputs) == {"embedding"}
    np.testing.assert_allclose(
        tf.make_ndarray(outputs["embedding"]), films.embeddings(histories), atol=1e-6
    )


def test_grpc_examples(films: Any, films_server: Server) -> None:
    example = serialized_example(history="Film 03", k=3)
    answer = films_server.predict("recommend_examples", examples=[example])
    assert_recommends(films, answer, [["Film 03"]], k=3)


def test_grpc_says_what_has_answered(genre_server: Server) -> None:
    message = genre_server.request("", version=1, history=np.array([[10]]))
    spec = genre_server.stub.Predict(message).model_spec
    assert (spec.name, spec.version.value) == ("genres", 1)
    assert spec.signature_name == "serving_default"


def test_grpc_status_and_metadata(genre_server: Server) -> None:
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "genres"
    (status,) = (
        model_service_pb2_grpc.ModelServiceStub(genre_server.channel)
        .GetModelStatus(asked)
        .model_version_status
    )
    assert (status.version, status.state) == (1, 30)
    described = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=["signature_def"]
    )
    described.model_spec.name = "genres"
    packed = genre_server.stub.GetModelMetadata(described).metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert set(signatures.signature_def["recommend"].outputs) == {
        *("ids", "scores", "cold_start")
    }


# --- Answers over REST


def columns(predictions: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in predictions] for name in predictions[0]}


def test_rest_by_instances_of_one_input(films: Any, films_server: Server) -> None:
    instances = [["Film 03", "Film 01"], ["Film 02", ""]]
    body = {"signature_name": "", "instances": instances}
    status, answer = films_server.post(body)
    assert status == 200
    histories = [["Film 03", "Film 01"], ["Film 02"]]
    assert_recommends(films, columns(answer["predictions"]), histories, k=5)


def test_rest_by_instances_of_several_inputs(films: Any, films_server: Server) -> None:
    instance = {
        **{"history": ["Film 03"], "k": 3},
        **{"excluded": [""], "exclude_history": True},
    }
    body = {"signature_name": "recommend", "instances": [instance]}
    _, answer = films_server.post(body)
    assert_recommends(films, columns(answer["predictions"]), [["Film 03"]], k=3)


def inputs_body(**inputs: Any) -> dict[str, Any]:
    valid = {"history": [[10]], "k": 2, "excluded": [[13]], "exclude_history": True}
    return {"signature_name": "recommend", "inputs": {**valid, **inputs}}


def test_rest_by_inputs_of_a_version(genre_server: Server) -> None:
    expected = {"ids": [[12, 11]], "scores": [[3.0, 2.0]], "cold_start": [False]}
    answer = genre_server.post(inputs_body(), "/versions/1:predict")
    assert answer == (200, {"outputs": expected})


def test_rest_examples(films: Any, films_server: Server) -> None:
    encoded = base64.b64encode(serialized_example(history="Film 03")).decode()
    body = {"signature_name": "recommend_examples", "instances": [{"b64": encoded}]}
    _, answer = films_server.post(body)
    assert_recommends(films, columns(answer["predictions"]), [["Film 03"]], k=5)


def test_rest_status_and_metadata(genre_server: Server) -> None:
    _, answer = genre_server.post(None, path="")
    (status,) = answer["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    assert status["status"] == {"error_code": "OK", "error_message": ""}
    _, answer = genre_server.post(None, path="/versions/1/metadata")
    metadata = answer["metadata"]["signature_def"]["signature_def"]
    assert metadata["embed"]["inputs"]["history"]["dtype"] == "DT_INT64"


def curls(page: pathlib.Path) -> list[Any]:
    """The bodies of the requests that a page shows."""
    commands = re.findall("^curl .*?'$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [json.loads(shlex.split(command)[-1]) for command in commands]


def test_the_requests_in_the_documentation_are_answered(tmp_path: pathlib.Path) -> None:
    films = ["Alien", "Brazil", "Casablanca", "Dune", "Eraserhead", "Fargo"]
    version = tfrsb.serving.export(
        lambda ids: tf.one_hot(ids[:, 0], 9),
        tmp_path,
        vocabulary=tfrsb.data.Vocabulary(films),
        candidates=tf.random.normal([6, 9]),
    )
    servable = Servable(version)
    bodies = curls(ROOT / "docs" / "serving.md") + curls(ROOT / "README.md")
    assert len(bodies) >= 3
    for body in bodies:
        answer = rest_api.predict_json(servable, body)
        rows = answer.get("predictions") or [answer["outputs"]]
        for row in rows:
            assert set(np.ravel(row["ids"])) - {""} <= set(films)
            assert not np.any(row["cold_start"])


# --- Bad requests


def history(*items: int) -> np.ndarray:
    return np.array([items], np.int64)


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        ({"history": [["Alien"]]}, "INVALID_ARGUMENT", "history must be int64"),
        ({"history": [[[1]]]}, "INVALID_ARGUMENT", "history must be int64 of shape"),
        ({"history": history(10), "k": 0}, "INVALID_ARGUMENT", "k must lie in"),
        ({"history": history(10), "k": 9}, "INVALID_ARGUMENT", "k must lie in"),
        ({"history": [["x" * 2**20]]}, "INVALID_ARGUMENT", "history must be int64"),
        ({"k": 3}, "INVALID_ARGUMENT", "Missing but required: ['history']"),
        ({"history": history(10), "more": 1}, "INVALID_ARGUMENT", "extra: ['more']"),
        ({"signature": "sing"}, "INVALID_ARGUMENT", '"sing" not found'),
        ({"model": "songs"}, "NOT_FOUND", "Latest(songs)"),
        ({"version": 7}, "NOT_FOUND", "Specific(genres, 7)"),
    ],
)
def test_grpc_refuses(
    genre_server: Server, bad: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        genre_server.predict(**{"signature": "recommend", **bad})
    assert error.value.code().name == code
    assert message in error.value.details()
    assert len(error.value.details()) < 1100
    assert genre_server.predict("recommend", history=history(10), k=3)


def test_grpc_refuses_an_unknown_output(genre_server: Server) -> None:
    message = genre_server.request("recommend", history=history(10))
    message.output_filter.append("prices")
    with pytest.raises(grpc.RpcError, match="prices"):
        genre_server.stub.Predict(message)


def forged(dtype: int, *sizes: int, unknown_rank: bool = False) -> Any:
    """A message of one element that no client would write for it."""
    proto = tensor_pb2.TensorProto(dtype=dtype)
    proto.tensor_shape.unknown_rank = unknown_rank
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    if dtype == types_pb2.DT_STRING:
        proto.string_val.append(b"Film 01")
    else:
        proto.int_val.append(3)
    return proto


@pytest.mark.parametrize(
    "bad",
    [
        # TensorFlow ended the process for arrays of objects of more than 32 axes.
        *({"history": forged(types_pb2.DT_STRING, *[1] * n)} for n in (33, 64, 300)),
        {"history": forged(types_pb2.DT_STRING, -1, 1)},
        {"history": forged(types_pb2.DT_STRING, -7, 1)},
        {"history": forged(types_pb2.DT_STRING, unknown_rank=True)},
        {"history": forged(types_pb2.DT_INVALID, 1, 1)},
        {"history": forged(types_pb2.DT_RESOURCE, 1, 1)},
        {"k": forged(types_pb2.DT_INT32, *[1] * 9)},
        {"k": forged(types_pb2.DT_INT32, *[1] * 300)},
        # One element stands for all that are missing: gigabytes.
        {"history": forged(types_pb2.DT_STRING, 1, 2**25)},
        {"history": forged(types_pb2.DT_STRING, 0, 2**40)},
        {"history": forged(types_pb2.DT_STRING, 4096, 1)},
        {"history": forged(types_pb2.DT_STRING, 1000, 1000)},
    ],
)
def test_grpc_refuses_forged_tensors(films_server: Server, bad: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as error:
        films_server.predict("recommend", **{"history": [["Film 01"]], **bad})
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert films_server.predict("recommend", history=[["Film 01"]])


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        # The last string stands for all, or one row for all: copied each time.
        (
            "embed",
            {
                "history": tensor_pb2.TensorProto(
                    dtype=7,
                    string_val=[b"x" * 2000],
                    tensor_shape={"dim": [{"size": 1000}, {"size": 1}]},
                )
            },
        ),
        ("recommend", {"history": [[""]] * 1000, "excluded": [["x" * 2000]]}),
        ("recommend", {"history": [[""]] * 1025, "k": 1}),
        ("recommend", {"history": [[""]], "k": 2**30}),
        ("similar_items", {"items": [""] * 1000, "k": 2000}),
        ("embed_ragged", {"values": ["a"], "row_lengths": [2**63 - 1] * 2 + [3]}),
        ("embed_examples", {"examples": [serialized_example(k=2**40)]}),
        ("embed_examples", {"examples": [b""] * 1025}),
    ],
)
def test_grpc_refuses_what_is_large_once_it_is_dense(
    films_server: Server, signature: str, inputs: dict[str, Any]
) -> None:
    inputs = {
        name: np.array(value, np.int64) if name == "row_lengths" else value
        for name, value in inputs.items()
    }
    with pytest.raises(grpc.RpcError, match="must have at most 1048576 elements"):
        films_server.predict(signature, **inputs)


def test_grpc_refuses_large_messages(films_server: Server) -> None:
    history = np.array([["x" * 17 * 2**20]], object)
    for compression in (None, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as error:
            message = films_server.request("recommend", history=history)
            films_server.stub.Predict(message, compression=compression)
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def raw(server: Server, head: str, *chunks: bytes) -> bytes:
    """The response to a request that is sent as it is, until it is answered."""
    address = server.url.split("/")[2]
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"POST /v1/models/films:predict HTTP/1.1\r\nHost: {address}\r\n{head}"
        connection.sendall(head.encode() + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                connection.sendall(chunk)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(2**16):
                answer += part
        return answer


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "", "[::1"]
)
def test_rest_refuses_other_hosts(films_server: Server, host: str) -> None:
    """A page whose name comes to mean this machine sends that name."""
    request = urllib.request.Request(films_server.url, headers={"Host": host})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 421
    assert "--allow_host" in json.load(error.value)["error"]


def test_rest_refuses_a_large_body_by_its_declared_size(films_server: Server) -> None:
    answer = raw(films_server, f"Content-Length: {100 * 2**20}")  # Sends none of it.
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body must have at most 16777216 bytes" in answer


def test_rest_does_not_read_an_endless_body(films_server: Server) -> None:
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    answer = raw(films_server, "Transfer-Encoding: chunked", *[chunk] * 17)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert films_server.post({"instances": [["Film 01"]]})[0] == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": [[10]', "must be JSON"),
        (b"x" * 2**20, "must be JSON"),
        (b"[" * 10**5, "must be JSON"),
        (b"[1]", "must be a JSON object, but it is a list"),
        ({}, "instances and inputs"),
        ({"instances": [[10]], "inputs": [[10]]}, "instances and inputs"),
        ({"instances": []}, "at least one row"),
        ({"instances": [["Alien"]]}, "history must be a int64 tensor"),
        # NumPy would make all of them as wide as the longest.
        ({"instances": [["x" * 2**20] + [""] * 2**17]}, "it holds a str"),
        ({"instances": [[10]] * 1025}, "at most 1048576 elements"),
        ({"instances": [[10], [10, 11]]}, "history must be a int64 tensor"),
        ({"instances": [[[10]]]}, "history must be a int64 tensor"),
        ({"instances": [10]}, "history must be int64 of shape"),
        ({"instances": [[2**70]]}, "history must be a int64 tensor"),
        ({"instances": [{"history": [10]}, {"story": [10]}]}, "row 1 does not"),
        ({"signature_name": "sing", "inputs": 1}, '"sing" not found'),
        ({"signature_name": 7, "inputs": 1}, "signature_name must be a string"),
        ({"signature_name": "recommend", "inputs": [[10]]}, "must be named"),
        ({"signature_name": "recommend", "inputs": {"k": 3}}, "Missing named input"),
        (inputs_body(k=0), "k must lie in"),
        (inputs_body(k=9), "k must lie in"),
        (inputs_body(k=2.5), "k must be a int32 tensor"),
        (inputs_body(k=2**40), "k must be a int32 tensor"),
        (inputs_body(k="x" * 2**20), "k must be a int32 tensor"),
        (inputs_body(exclude_history=1), "exclude_history must be a bool tensor"),
    ],
)
def test_rest_refuses(genre_server: Server, body: Any, message: str) -> None:
    status, answer = genre_server.post(body)
    assert status == 400
    assert message in answer["error"]
    assert len(answer["error"]) < 1100
    assert genre_server.post({"instances": [[10]]})[0] == 200


@pytest.mark.parametrize("depth", [3, 33, 255, 900])
@pytest.mark.parametrize("before", [b"", b'["Film 02"], '])
def test_rest_refuses_deeply_nested_lists(
    films_server: Server, depth: int, before: bytes
) -> None:
    """TensorFlow ended the process for strings in 255 lists and more."""
    nested = b"[" * depth + b'"Film 01"' + b"]" * depth
    status, answer = films_server.post(b'{"instances": [%s%s]}' % (before, nested))
    assert status == 400
    assert "nested more deeply" in answer["error"]
    assert films_server.post({"instances": [["Film 01"]]})[0] == 200


@pytest.mark.parametrize(
    "value", [[["Film 01", 7]], [["Film 01", None]], [[{"b64": "?"}]], [[{"b64": 3}]]]
)
def test_rest_refuses_what_is_no_string(films_server: Server, value: Any) -> None:
    status, answer = films_server.post({"instances": value})
    assert status == 400
    assert "history must be a string tensor" in answer["error"]


@pytest.mark.parametrize(
    "path", ["x:predict", "/versions/7", "/nothing", ":predict", ":sing"]
)
def test_rest_refuses_other_paths(genre_server: Server, path: str) -> None:
    status, answer = genre_server.post(None, path)  # :predict is for POST only.
    assert status == 404
    assert answer["error"]
