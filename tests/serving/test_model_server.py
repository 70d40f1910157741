"""Over gRPC and REST, in the messages and the JSON of TensorFlow Serving.

TensorFlow Serving itself comes as a container only, so the small server of
`tfrs_barlow.serving` stands in for it here. It runs the model by the names of its
signatures, and so shows that requests and answers of that form fit the model.
"""

import base64
import json
import pathlib
import re
import shlex
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

WHY = "needs the extra serve: pip install 'tfrs-barlow[serve]'"
grpc = pytest.importorskip("grpc", reason=WHY)
uvicorn = pytest.importorskip("uvicorn", reason=WHY)
pytest.importorskip("starlette", reason=WHY)
pytest.importorskip("tensorflow_serving.apis", reason=WHY)

from starlette.applications import Starlette  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfrs_barlow.serving.local import grpc_api, rest_api  # noqa: E402
from tfrs_barlow.serving.local.servable import Servable  # noqa: E402
from tfrs_barlow.serving.local.versions import Versions  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def versions(films: Any) -> Versions:
    return Versions(films.version, name="films")


@pytest.fixture(scope="module")
def stub(versions: Versions) -> Iterator[Any]:
    server, port = grpc_api.start(versions, "127.0.0.1:0")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    server.stop(grace=None).wait()


@pytest.fixture(scope="module")
def url(versions: Versions) -> Iterator[str]:
    app = Starlette(
        routes=rest_api.routes(versions), exception_handlers=rest_api.error_handlers()
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/models/films:predict"
        server.should_exit = True
        thread.join()


def request(signature: str, **inputs: Any) -> Any:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "films"
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def arrays(response: Any) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def assert_recommends(films: Any, answer: Any, histories: Any, k: int) -> None:
    titles, scores = films.recommended(histories, k, excluded=histories)
    np.testing.assert_array_equal(np.array(answer["ids"]).astype(str), titles)
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)


# --- gRPC


def test_grpc_recommend(
    films: Any, stub: Any, histories: list[list[str]], dense: np.ndarray
) -> None:
    response = stub.Predict(request("recommend", history=dense.astype(object), k=7))
    assert_recommends(films, arrays(response), histories, k=7)
    whole = {
        "history": dense.astype(object),
        "k": np.full(len(histories), 7, np.int32),
        "excluded": np.full([len(histories), 1], "", object),
        "exclude_history": np.full(len(histories), True),
    }
    assert_recommends(
        films, arrays(stub.Predict(request("recommend", **whole))), histories, k=7
    )


def test_grpc_embed_and_output_filter(
    films: Any, stub: Any, histories: list[list[str]], dense: np.ndarray
) -> None:
    message = request("embed", history=dense.astype(object))
    message.output_filter.append("embedding")
    answer = arrays(stub.Predict(message))
    assert set(answer) == {"embedding"}
    np.testing.assert_allclose(
        answer["embedding"], films.embeddings(histories), atol=1e-6
    )


def test_grpc_examples(films: Any, stub: Any) -> None:
    example = tf.train.Example()
    example.features.feature["history"].bytes_list.value.append(b"Film 03")
    example.features.feature["k"].int64_list.value.append(3)
    answer = stub.Predict(
        request("recommend_examples", examples=[example.SerializeToString()])
    )
    assert_recommends(films, arrays(answer), [["Film 03"]], k=3)


@pytest.mark.parametrize(
    "inputs",
    [
        {"history": [["Film 01"]], "k": 0},
        {"history": [["Film 01"]], "k": 41},
        {"history": [[["Film 01"]]], "k": 5},
    ],
)
def test_grpc_answers_a_bad_request_with_an_error_and_the_next_one(
    films: Any, stub: Any, inputs: dict[str, Any]
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request("recommend", **inputs))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    answer = stub.Predict(request("recommend", history=[["Film 03"]], k=3))
    assert_recommends(films, arrays(answer), [["Film 03"]], k=3)


# --- REST


def post(url: str, body: Any) -> Any:
    call = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(call) as response:
        return json.load(response)


def columns(predictions: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in predictions] for name in predictions[0]}


def test_rest_by_instances_of_one_input(films: Any, url: str) -> None:
    answer = post(url, {"instances": [["Film 03", "Film 01"], ["Film 02", ""]]})
    histories = [["Film 03", "Film 01"], ["Film 02"]]
    assert_recommends(films, columns(answer["predictions"]), histories, k=5)


def test_rest_by_instances_of_several_inputs(films: Any, url: str) -> None:
    instance = {
        "history": ["Film 03"],
        "k": 3,
        "excluded": [""],
        "exclude_history": True,
    }
    body = {"signature_name": "recommend", "instances": [instance]}
    answer = columns(post(url, body)["predictions"])
    assert_recommends(films, answer, [["Film 03"]], k=3)


def test_rest_by_inputs(films: Any, url: str) -> None:
    inputs = {
        "history": [["Film 03"]],
        "k": 3,
        "excluded": [[""]],
        "exclude_history": True,
    }
    answer = post(url, {"signature_name": "recommend", "inputs": inputs})
    assert_recommends(films, answer["outputs"], [["Film 03"]], k=3)


def test_rest_examples(films: Any, url: str) -> None:
    example = tf.train.Example()
    example.features.feature["history"].bytes_list.value.append(b"Film 03")
    encoded = base64.b64encode(example.SerializeToString()).decode()
    body = {"signature_name": "recommend_examples", "instances": [{"b64": encoded}]}
    answer = columns(post(url, body)["predictions"])
    assert_recommends(films, answer, [["Film 03"]], k=5)


def test_rest_answers_a_bad_request_with_an_error(url: str) -> None:
    inputs = {
        "history": [["Film 03"]],
        "k": 0,
        "excluded": [[""]],
        "exclude_history": True,
    }
    with pytest.raises(urllib.error.HTTPError) as error:
        post(url, {"signature_name": "recommend", "inputs": inputs})
    assert error.value.code == 400
    assert "k must lie in" in json.load(error.value)["error"]


def curls(page: pathlib.Path) -> list[Any]:
    """The bodies of the requests that a page shows."""
    commands = re.findall("^curl .*?'$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [json.loads(shlex.split(command)[-1]) for command in commands]


def test_the_requests_in_the_documentation_are_answered(
    tmp_path: pathlib.Path,
) -> None:
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
