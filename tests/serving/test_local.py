"""The local server as a user starts it: gRPC, REST, a page, changing versions."""

import json
import os
import pathlib
import queue
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tfrs_barlow as tfrsb

WHY = "needs the extra serve: pip install 'tfrs-barlow[serve]'"
grpc = pytest.importorskip("grpc", reason=WHY)
pytest.importorskip("starlette", reason=WHY)
pytest.importorskip("uvicorn", reason=WHY)
apis = pytest.importorskip("tensorflow_serving.apis", reason=WHY)

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfrs_barlow.serving.local.servable import Servable  # noqa: E402
from tfrs_barlow.serving.local.versions import Versions  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
TITLES = {
    **{10: "Alien", 11: "Aliens", 12: "Blade Runner", 13: "The Matrix"},
    **{20: "Amélie", 21: "Before Sunrise", 22: "Notting Hill", 23: "When Harry Met"},
}
# Two genres; within each the later film is the better one.
CANDIDATES = np.float32([[i, 0] for i in range(1, 5)] + [[0, i] for i in range(1, 5)])


def export(folder, candidates=CANDIDATES, **settings):
    """A model whose user is the mean of the genres watched."""
    genres = np.concatenate([np.zeros([3, 2]), np.sign(CANDIDATES)])
    return tfrsb.serving.export(
        lambda ids: tf.reduce_sum(tf.gather(tf.constant(genres, tf.float32), ids), 1),
        folder,
        vocabulary=tfrsb.data.Vocabulary(TITLES),
        candidates=candidates,
        popularity=None if candidates is None else [*range(8, 0, -1)],
        max_length=5,
        **settings,
    )


def start(*arguments, cwd=ROOT):
    return subprocess.Popen(
        [sys.executable, "-m", "tfrs_barlow.serving", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Server:
    """A process that serves, what it prints, and its addresses."""

    def __init__(self, *arguments, cwd=ROOT):
        ports = ("--port=0", f"--grpc_port={free_port()}")
        self.process = start(*arguments, *ports, cwd=cwd)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = re.search(r"http://\S+\d", self.wait_for("page"))[0]
        self.grpc = self.wait_for("gRPC").split()[-1]

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def wait_for(self, text):
        seen = ""
        while text not in (line := self.lines.get(timeout=120) or "(the end)"):
            seen += line
            assert line != "(the end)", seen
        return line

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=30)


def free_port():
    with socket.create_server(("localhost", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, and the files of titles and users in the columns of MovieLens."""
    folder = tmp_path_factory.mktemp("served")
    export(folder / "films")
    lines = [f"{item},{title},Genre\n" for item, title in TITLES.items() if item != 23]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(lines))
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n"
        "ann,11,5,200\nann,10,5,100\nbob,20,3,100\nbob,21,3,50\ncat,12,4,7\ncat,20,4,8\n"
        "nobody,99,1,1\n"
    )
    return folder


@pytest.fixture(scope="module")
def server(files):
    server = Server(
        f"--model={files / 'films'}",
        f"--titles={files / 'movies.csv'}",
        f"--users={files / 'ratings.csv'}",
    )
    yield server
    assert server.stop() in (0, -15)


def ask(url, body=None):
    """Returns the status and the content of an answer."""
    data = (
        body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def predict(server, body, model="films"):
    return ask(f"{server.url}/v1/models/{model}:predict", body)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(signature="recommend", model="films", version=None, **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def history(*items):
    return np.array([items], np.int64)


# --- Answers


def test_grpc(stub):
    answer = stub.Predict(request(history=history(10), k=3))
    assert tf.make_ndarray(answer.outputs["ids"]).tolist() == [[13, 12, 11]]
    assert tf.make_ndarray(answer.outputs["scores"]).tolist() == [[4, 3, 2]]
    spec = answer.model_spec
    assert (spec.name, spec.version.value) == ("films", 1)
    assert spec.signature_name == "recommend"
    assert stub.Predict(request(history=history(10), version=1)).outputs


def test_rest_by_row_and_by_column(server):
    status, answer = predict(server, {"instances": [[10], [20]]})
    assert status == 200
    assert [row["ids"][:3] for row in answer["predictions"]] == [
        [13, 12, 11],
        [23, 22, 21],
    ]
    inputs = {"history": [[10]], "k": 2, "excluded": [[13]], "exclude_history": True}
    body = {"signature_name": "recommend", "inputs": inputs}
    url = f"{server.url}/v1/models/films/versions/1:predict"
    expected = {"ids": [[12, 11]], "scores": [[3.0, 2.0]], "cold_start": [False]}
    assert ask(url, body) == (200, {"outputs": expected})


def test_status_and_metadata(server, channel, stub):
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "films"
    (status,) = (
        model_service_pb2_grpc.ModelServiceStub(channel)
        .GetModelStatus(asked)
        .model_version_status
    )
    assert (status.version, status.state) == (1, 30)
    described = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=["signature_def"]
    )
    described.model_spec.name = "films"
    packed = stub.GetModelMetadata(described).metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert set(signatures.signature_def["recommend"].outputs) == {
        *("ids", "scores", "cold_start")
    }

    _, answer = ask(f"{server.url}/v1/models/films")
    (status,) = answer["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    assert status["status"] == {"error_code": "OK", "error_message": ""}
    _, answer = ask(f"{server.url}/v1/models/films/versions/1/metadata")
    metadata = answer["metadata"]["signature_def"]["signature_def"]
    assert metadata["embed"]["inputs"]["history"]["dtype"] == "DT_INT64"


# --- Bad requests


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
        ({"version": 7}, "NOT_FOUND", "Specific(films, 7)"),
    ],
)
def test_grpc_refuses(stub, bad, code, message):
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request(**bad))
    assert error.value.code().name == code
    assert message in error.value.details()
    assert len(error.value.details()) < 1100
    assert stub.Predict(request(history=history(10), k=3)).outputs


def test_grpc_refuses_an_unknown_output(stub):
    message = request(history=history(10))
    message.output_filter.append("prices")
    with pytest.raises(grpc.RpcError, match="prices"):
        stub.Predict(message)


def recommend_body(**bad):
    inputs = {"history": [[10]], "k": 3, "excluded": [[-1]], "exclude_history": True}
    return {"signature_name": "recommend", "inputs": {**inputs, **bad}}


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
        ({"instances": [[10], [10, 11]]}, "history must be a int64 tensor"),
        ({"instances": [[[10]]]}, "history must be int64 of shape"),
        ({"instances": [[2**70]]}, "history must be a int64 tensor"),
        ({"instances": [{"history": [10]}, {"story": [10]}]}, "row 1 does not"),
        ({"signature_name": "sing", "inputs": 1}, '"sing" not found'),
        ({"signature_name": 7, "inputs": 1}, "signature_name must be a string"),
        ({"signature_name": "recommend", "inputs": [[10]]}, "must be named"),
        ({"signature_name": "recommend", "inputs": {"k": 3}}, "Missing named input"),
        (recommend_body(k=0), "k must lie in"),
        (recommend_body(k=9), "k must lie in"),
        (recommend_body(k=2.5), "k must be a int32 tensor"),
        (recommend_body(k=2**40), "k must be a int32 tensor"),
        (recommend_body(k="x" * 2**20), "k must be a int32 tensor"),
        (recommend_body(exclude_history=1), "exclude_history must be a bool tensor"),
    ],
)
def test_rest_refuses(server, body, message):
    status, answer = predict(server, body)
    assert status == 400
    assert message in answer["error"]
    assert len(answer["error"]) < 1100
    assert predict(server, {"instances": [[10]]})[0] == 200


def test_rest_refuses_other_paths(server):
    assert predict(server, {"instances": [[10]]}, "songs") == (
        404,
        {"error": "Servable not found for request: Latest(songs)"},
    )
    for path in ("/v1/models/films/versions/7", "/v1/models", "/nothing"):
        status, answer = ask(f"{server.url}{path}")
        assert status == 404
        assert answer["error"]
    assert ask(f"{server.url}/v1/models/films:predict")[0] == 404  # Not by GET.


# --- The page


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    faults = []
    page.on("pageerror", lambda error: faults.append(error))
    page.goto(server.url)
    page.locator("#items li").first.wait_for()
    yield page
    page.close()
    assert faults == []


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def choose(page, text):
    page.get_by_role("combobox").fill(text)
    page.get_by_role("option").first.wait_for()
    page.get_by_role("combobox").press("Enter")
    page.get_by_role("button").first.wait_for()


def test_the_page_begins_with_what_is_popular(page):
    assert page.locator("h2").first.inner_text() == "To begin with"
    # Of item 23 the file has no title.
    assert texts(page, "#items .title") == [*list(TITLES.values())[:-1], "23"]


def test_typing_finds_titles_and_choosing_recommends(page):
    box = page.get_by_role("combobox")
    # Waits: the list follows the typing a little later.
    playwright = pytest.importorskip("playwright.sync_api")
    found = playwright.expect(page.get_by_role("option"))
    box.press_sequentially("RUN")
    found.to_have_text(["Blade Runner"])
    box.fill("ame")
    found.to_have_text(["Amélie"])
    box.fill("al")
    found.to_have_text(["Alien", "Aliens"])
    box.press("ArrowDown")
    box.press("Enter")
    page.get_by_role("button", name="Remove Aliens").wait_for()
    assert texts(page, "#items .title")[:3] == ["The Matrix", "Blade Runner", "Alien"]
    assert texts(page, "#items .score")[:3] == ["4.00", "3.00", "1.00"]


def test_people_with_like_taste(page):
    choose(page, "alien")
    page.locator("#users li").first.wait_for()
    who = texts(page, "#users .who span:first-child")
    assert who == ["User ann", "User cat"]
    assert texts(page, "#users .who .quiet") == ["1.00", "0.71"]
    # What both have watched comes first, and is marked; then the latest.
    assert texts(page, "#users div.quiet")[:2] == [
        "Alien, Aliens",
        "Amélie, Blade Runner",
    ]
    assert texts(page, "#users mark") == ["Alien"]


def test_a_choice_is_in_the_address_and_can_be_taken_back(page):
    choose(page, "alien")
    assert page.url.endswith("?item=10")
    page.reload()
    page.get_by_role("button", name="Remove Alien").click()
    page.get_by_text("To begin with").wait_for()
    assert page.get_by_role("button").count() == 0


def test_nothing_is_wider_than_a_phone(page):
    choose(page, "alien")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == page.viewport_size["width"]


def test_the_page_says_what_did_not_work(page, server):
    page.goto(f"{server.url}/?item=Alien")
    page.get_by_role("alert").get_by_text("items must be integers").wait_for()
    page.goto("about:blank")


# --- Versions


def test_under_load_a_new_version_comes_in_and_only_bad_requests_fail(tmp_path):
    export(tmp_path / "films")
    server = Server(f"--model={tmp_path / 'films'}")
    failures, versions, refused, done = [], set(), set(), threading.Event()
    bad = [
        {"history": [["Alien"]]},
        {"history": history(10)[np.newaxis]},
        {"history": history(10), "k": 0},
        {"history": history(10), "k": 9},
        {"history": [["x" * 2**20]]},
    ]

    def load(stub):
        try:
            answer = stub.Predict(request(history=history(10), k=1))
        except grpc.RpcError as error:
            failures.append(error)
            return
        best = tf.make_ndarray(answer.outputs["ids"]).item()
        versions.add((answer.model_spec.version.value, best))

    def annoy(stub):
        for number, inputs in enumerate(bad):
            code = stub.Predict.future(request(**inputs)).code()
            refused.add((number, code.name))

    def repeat(action):
        with grpc.insecure_channel(server.grpc) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not done.is_set():
                action(stub)

    clients = [
        threading.Thread(target=repeat, args=[action], daemon=True)
        for action in (load, load, annoy)
    ]
    for client in clients:
        client.start()
    # Half of a version is refused, and taken up when it is whole.
    second = export(tmp_path / "aside", CANDIDATES[::-1, ::-1])
    (tmp_path / "films" / "2").mkdir()
    shutil.copy(second / "saved_model.pb", tmp_path / "films" / "2")
    assert "has no assets.extra/manifest.json" in server.wait_for("Refused")
    shutil.copytree(second, tmp_path / "films" / "2", dirs_exist_ok=True)
    server.wait_for("Serving version 2")
    time.sleep(0.2)
    done.set()
    for client in clients:
        client.join()
    server.stop()
    assert failures == []
    assert versions == {(1, 13), (2, 11)}
    assert refused == {(n, "INVALID_ARGUMENT") for n in range(len(bad))}


def test_the_old_version_goes_when_its_requests_are_done(tmp_path):
    export(tmp_path / "films")
    versions = Versions(tmp_path / "films")
    in_use = versions.find("films")
    old = weakref.ref(in_use)
    export(tmp_path / "films")
    versions.refresh()
    assert versions.current.version == 2
    assert in_use.predict("", {"history": tf.constant(history(10))})
    del in_use
    assert old() is None
    shutil.rmtree(tmp_path / "films" / "2")
    versions.refresh()
    assert versions.current.version == 1


def test_one_version_is_never_replaced(tmp_path):
    first = export(tmp_path / "films")
    versions = Versions(first)
    export(tmp_path / "films")
    versions.refresh()
    assert (versions.name, versions.current.version) == ("films", 1)


# --- Starting


def error_of(*arguments):
    process = start(*arguments)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in printed
    return printed.strip().splitlines()[-1]


def test_a_port_in_use_is_named(files):
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        error = error_of(f"--model={files / 'films'}", f"--port={port}")
    assert re.match(f"error: --port must be a free port .*{port}", error)


def test_a_missing_model_is_named(tmp_path):
    error = error_of(f"--model={tmp_path}", "--port=0")
    assert error.startswith("error: --model must be an export or a folder of exports")
    assert str(tmp_path) in error


def test_an_export_that_cannot_recommend_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must have the signature recommend"):
        Servable(export(tmp_path, candidates=None))


@pytest.mark.slow
def test_without_arguments_it_serves_a_small_model(tmp_path):
    demo_server = Server(cwd=tmp_path)
    _, answer = ask(f"{demo_server.url}/page/recommendations", {"items": ["1", "2"]})
    assert len(answer["items"]) == 10
    assert len(answer["users"]) == 5
    assert demo_server.stop() in (0, -15)
    assert (tmp_path / "runs" / "serve_locally" / "films" / "1").is_dir()
