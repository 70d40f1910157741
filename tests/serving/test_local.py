"""The local server for its user: the page, changing versions, and how it starts."""

import json
import os
import pathlib
import queue
import re
import runpy
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

WHY = "needs the extra serve: pip install 'tfrs-barlow[serve]'"
grpc = pytest.importorskip("grpc", reason=WHY)
uvicorn = pytest.importorskip("uvicorn", reason=WHY)
pytest.importorskip("starlette", reason=WHY)
pytest.importorskip("tensorflow_serving.apis", reason=WHY)

from starlette.applications import Starlette  # noqa: E402
from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: E402

from tfrs_barlow.serving import __main__ as command  # noqa: E402
from tfrs_barlow.serving.local import page as local_page  # noqa: E402
from tfrs_barlow.serving.local import rest_api, tables  # noqa: E402
from tfrs_barlow.serving.local.page import Guide  # noqa: E402
from tfrs_barlow.serving.local.servable import Servable  # noqa: E402
from tfrs_barlow.serving.local.versions import Versions  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
MakeGenres = Callable[..., pathlib.Path]
RATINGS = """\
userId,movieId,rating,timestamp
ann,11,5,200
ann,10,5,100
bob,20,3,100
bob,21,3,50
cat,12,4,7
cat,20,4,8
nobody,99,1,1
"""


@pytest.fixture(scope="module")
def files(
    titles: dict[int, str], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """Titles and users in the columns of MovieLens; item 23 has no title."""
    folder = tmp_path_factory.mktemp("files")
    lines = [f"{item},{title},Genre\n" for item, title in titles.items() if item != 23]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(lines))
    (folder / "ratings.csv").write_text(RATINGS)
    return folder


# --- The page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(genres: pathlib.Path, files: pathlib.Path) -> Iterator[str]:
    """The address of the page."""
    histories = tables.read_histories(files / "ratings.csv")
    guide = Guide(genres, tables.read_titles(files / "movies.csv"), histories)
    versions = Versions(genres, lambda _: guide)
    app = Starlette(
        routes=local_page.routes(versions),
        exception_handlers=rest_api.error_handlers(),
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("localhost", 0)) as listener:
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        yield f"http://localhost:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    faults: list[Any] = []
    page.on("pageerror", lambda error: faults.append(error))
    page.goto(url)
    page.locator("#items li").first.wait_for()
    yield page
    page.close()
    assert faults == []


def texts(page: Any, selector: str) -> Any:
    return page.locator(selector).all_inner_texts()


def choose(page: Any, text: str) -> None:
    page.get_by_role("combobox").fill(text)
    page.get_by_role("option").first.wait_for()
    page.get_by_role("combobox").press("Enter")
    page.get_by_role("button").first.wait_for()


def test_the_page_begins_with_popular_items(page: Any, titles: dict[int, str]) -> None:
    assert page.locator("h2").first.inner_text() == "To begin with"
    assert texts(page, "#items .title") == [*list(titles.values())[:-1], "23"]


def test_typing_finds_titles_and_choosing_recommends(page: Any) -> None:
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


def test_people_with_similar_taste(page: Any) -> None:
    choose(page, "alien")
    page.locator("#users li").first.wait_for()
    who = texts(page, "#users .who span:first-child")
    assert who == ["User ann", "User cat"]
    assert texts(page, "#users .who .quiet") == ["1.00", "0.71"]
    # Shared items come first, and are marked; then the latest.
    assert texts(page, "#users div.quiet")[:2] == [
        "Alien, Aliens",
        "Amélie, Blade Runner",
    ]
    assert texts(page, "#users mark") == ["Alien"]


def test_a_choice_is_in_the_address_and_can_be_taken_back(page: Any) -> None:
    choose(page, "alien")
    assert page.url.endswith("?item=10")
    page.reload()
    page.get_by_role("button", name="Remove Alien").click()
    page.get_by_text("To begin with").wait_for()
    assert page.get_by_role("button").count() == 0


def test_nothing_is_wider_than_a_phone(page: Any) -> None:
    choose(page, "alien")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == page.viewport_size["width"]


def test_the_page_says_what_did_not_work(page: Any, url: str) -> None:
    page.goto(f"{url}/?item=Alien")
    page.get_by_role("alert").get_by_text("items must be integers").wait_for()
    page.goto("about:blank")


# --- Versions


class Server:
    """A process that serves, what it prints, and its addresses."""

    def __init__(self, *arguments: Any, cwd: pathlib.Path = ROOT) -> None:
        with socket.create_server(("localhost", 0)) as listener:
            ports = ("--port=0", f"--grpc_port={listener.getsockname()[1]}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tfrs_barlow.serving", *map(str, arguments), *ports],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        found = re.search(r"http://\S+\d", self.wait_for("page"))
        assert found is not None
        self.url = found[0]
        self.grpc = self.wait_for("gRPC").split()[-1]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("(the end)")

    def wait_for(self, text: str) -> str:
        seen = ""
        while text not in (line := self.lines.get(timeout=120)):
            seen += line
            assert line != "(the end)", seen
        return line

    def recommendations(self, *items: str) -> Any:
        """What the page gets for a choice."""
        data = json.dumps({"items": items}).encode()
        with urllib.request.urlopen(f"{self.url}/page/recommendations", data) as answer:
            return json.load(answer)

    def status_of(self, data: bytes, **headers: str) -> int:
        """The status of the page's request with any body."""
        request = urllib.request.Request(
            f"{self.url}/page/recommendations", data, headers=headers
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=30) in (0, -15)


def test_under_load_a_new_version_comes_in_and_only_bad_requests_fail(
    tmp_path: pathlib.Path,
    files: pathlib.Path,
    make_genres: MakeGenres,
    make_request: Callable[..., Any],
) -> None:
    make_genres(tmp_path / "films")
    flags = (f"--titles={files / 'movies.csv'}", f"--users={files / 'ratings.csv'}")
    limits = ("--max_body_bytes=2000000", "--max_elements=4096", "--allow_host=My.Box")
    server = Server(tmp_path / "films", *flags, *limits)
    assert server.status_of(b" " * 2_000_001) == 413
    assert server.status_of(b'{"items": ["10"]}', host="evil.example") == 421
    assert server.status_of(b'{"items": ["10"]}', host="my.box") == 200
    assert server.status_of(json.dumps({"items": ["10"] * 4097}).encode()) == 400
    failures, versions, refused = [], set(), set()
    done = threading.Event()
    history = np.array([[10]])
    bad: list[dict[str, Any]] = [
        {"history": [["Alien"]]},
        {"history": history[np.newaxis]},
        {"history": history, "k": 0},
        {"history": history, "k": 9},
        {"history": [["x" * 2**20]]},
    ]

    def load(stub: Any) -> None:
        try:
            answer = stub.Predict(make_request("recommend", "films", history=history))
        except grpc.RpcError as error:
            failures.append(error)
            return
        best = tf.make_ndarray(answer.outputs["ids"])[0, 0].item()
        versions.add((answer.model_spec.version.value, best))

    def annoy(stub: Any) -> None:
        for number, inputs in enumerate(bad):
            message = make_request("recommend", "films", **inputs)
            refused.add((number, stub.Predict.future(message).code().name))

    def repeat(action: Callable[[Any], None]) -> None:
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
    answer = server.recommendations("10")
    assert answer["items"][0]["title"] == "The Matrix"
    assert [user["user"] for user in answer["users"]] == ["ann", "cat"]
    # Half of a version is refused, and taken up when it is whole.
    reverse = np.float32(
        [[4 - i, 0] for i in range(4)] + [[0, 4 - i] for i in range(4)]
    )
    second = make_genres(tmp_path / "aside", reverse)
    (tmp_path / "films" / "2").mkdir()
    shutil.copy(second / "saved_model.pb", tmp_path / "films" / "2")
    assert "has no assets.extra/manifest.json" in server.wait_for("Refused")
    shutil.copytree(second, tmp_path / "films" / "2", dirs_exist_ok=True)
    server.wait_for("Serving version 2")
    end = time.monotonic() + 60
    while {version for version, _ in versions} != {1, 2} and time.monotonic() < end:
        time.sleep(0.05)
    done.set()
    for client in clients:
        client.join()
    server.stop()
    assert failures == []
    assert versions == {(1, 13), (2, 11)}
    assert refused == {(n, "INVALID_ARGUMENT") for n in range(len(bad))}


def test_the_old_version_goes_when_its_requests_are_done(
    tmp_path: pathlib.Path, genres: pathlib.Path
) -> None:
    shutil.copytree(genres, tmp_path / "films" / "1")
    versions = Versions(tmp_path / "films", Servable)
    in_use = versions.find("films")
    old = weakref.ref(in_use)
    shutil.copytree(genres, tmp_path / "films" / "2")
    versions.refresh()
    assert versions.current.version == 2
    assert in_use.predict("embed", {"history": tf.constant([[10]], tf.int64)})
    del in_use
    assert old() is None
    shutil.rmtree(tmp_path / "films" / "2")
    versions.refresh()
    assert versions.current.version == 1


def test_one_version_is_never_replaced(
    tmp_path: pathlib.Path, genres: pathlib.Path
) -> None:
    shutil.copytree(genres, tmp_path / "films" / "1")
    versions = Versions(tmp_path / "films" / "1", Servable)
    shutil.copytree(genres, tmp_path / "films" / "2")
    versions.refresh()
    assert (versions.name, versions.current.version) == ("films", 1)


# --- Starting


def error_of(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    with pytest.raises(SystemExit) as exit_:
        command.main([*map(str, arguments)])
    assert exit_.value.code == 1
    return capsys.readouterr().err


def test_a_port_in_use_is_named(
    genres: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        error = error_of(capsys, genres, f"--port={port}")
        assert re.match(f"error: --port must be a free port .*{port}", error)
        error = error_of(capsys, genres, "--port=0", f"--grpc_port={port}")
        assert re.match(f"error: --grpc_port must be a free port .*{port}", error)


@pytest.mark.parametrize("flag", ["max_body_bytes", "max_elements"])
@pytest.mark.parametrize("limit", ["0", "-1", "many", "1e6", str(2**31)])
def test_a_wrong_limit_is_named(
    flag: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main([f"--{flag}={limit}"])
    assert f"argument --{flag}: invalid" in capsys.readouterr().err


def test_a_missing_model_is_named(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(capsys, tmp_path, "--port=0")
    assert error.startswith("error: path must be an export or a folder of exports")
    assert str(tmp_path) in error


@pytest.mark.parametrize("flag", ["titles", "users"])
def test_a_file_without_the_columns_is_named(
    genres: pathlib.Path,
    files: pathlib.Path,
    flag: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = {"titles": files / "ratings.csv", "users": files / "movies.csv"}[flag]
    error = error_of(capsys, genres, "--port=0", f"--{flag}={path}")
    assert re.match(f"error: {path} must have a column {flag[:-1]}, but", error)


def test_an_export_that_cannot_recommend_is_refused(
    tmp_path: pathlib.Path, make_genres: MakeGenres
) -> None:
    with pytest.raises(ValueError, match="must have the signature recommend"):
        Servable(make_genres(tmp_path, candidates=None))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(
        SystemExit, match=r"error: .*uvicorn.* pip install 'tfrs-barlow\[serve\]'\."
    ):
        runpy.run_path(command.__file__)


@pytest.mark.slow
def test_without_arguments_it_serves_a_small_model(tmp_path: pathlib.Path) -> None:
    demo_server = Server(cwd=tmp_path)
    answer = demo_server.recommendations("1", "2")
    assert len(answer["items"]) == 10
    assert len(answer["users"]) == 5
    demo_server.stop()
    assert (tmp_path / "runs" / "serving_demo" / "films" / "1").is_dir()
