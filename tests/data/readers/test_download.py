"""Downloads, from a server of our own: there is no other in these tests."""

import hashlib
import http.server
import io
import pathlib
import threading
import zipfile
from collections.abc import Callable, Iterator

import pytest

from tfrs_barlow.data.readers import download
from tfrs_barlow.data.readers.download import download_movielens
from tfrs_barlow.data.readers.movielens import load_movielens

_FILES = {
    "ml-20m/ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.5,964982703\n",
    "ml-20m/movies.csv": "movieId,title,genres\n10,Alien (1979),Horror|Sci-Fi\n",
    "ml-20m/README.txt": "You may use it for research.\n",
}


class _Server:
    """Serves `files` by URL path, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut_after: int | None = None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                content = server.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: server.cut_after])

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.home = f"http://127.0.0.1:{self.http.server_port}/movielens"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    server = _Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(download, "_HOME", server.home)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def publish(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], bytes]:
    """Puts an archive with the given files on the server, as MovieLens-20M."""

    def publish(files: dict[str, str]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        content = buffer.getvalue()
        server.files["/movielens/ml-20m.zip"] = content
        monkeypatch.setitem(
            download._SHA256, "ml-20m", hashlib.sha256(content).hexdigest()
        )
        return content

    return publish


def _names(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


_COMPLETE = ["ml-20m", *sorted(_FILES)]


def test_downloads_and_unpacks(
    tmp_path: pathlib.Path, server: _Server, publish: Callable
) -> None:
    publish(_FILES)
    folder = download_movielens("ml-20m", tmp_path / "cache")
    assert folder == tmp_path / "cache" / "ml-20m"
    assert _names(tmp_path / "cache") == _COMPLETE
    for name, content in _FILES.items():
        assert (tmp_path / "cache" / name).read_text() == content


def test_a_second_call_downloads_nothing(
    tmp_path: pathlib.Path, server: _Server, publish: Callable
) -> None:
    publish(_FILES)
    first = download_movielens("ml-20m", tmp_path)
    second = download_movielens("ml-20m", tmp_path)
    assert first == second
    assert server.requests == ["/movielens/ml-20m.zip"]


def test_completes_a_folder_that_lacks_a_file(
    tmp_path: pathlib.Path, publish: Callable
) -> None:
    publish(_FILES)
    folder = download_movielens("ml-20m", tmp_path)
    (folder / "movies.csv").unlink()
    (folder / "notes.txt").write_text("mine")
    download_movielens("ml-20m", tmp_path)
    assert _names(tmp_path) == sorted([*_COMPLETE, "ml-20m/notes.txt"])


def test_a_download_can_be_loaded(tmp_path: pathlib.Path, publish: Callable) -> None:
    publish(_FILES)
    log = load_movielens("ml-20m", cache_dir=tmp_path)
    assert log.interactions["item_id"].tolist() == [10]
    assert log.items["categories"].tolist() == [("Horror", "Sci-Fi")]


def test_default_cache_is_in_the_home_folder(
    tmp_path: pathlib.Path, publish: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    publish(_FILES)
    folder = download_movielens("ml-20m")
    assert folder == tmp_path / ".cache" / "tfrs_barlow" / "ml-20m"


def test_tells_the_license_once(
    tmp_path: pathlib.Path, publish: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(_FILES)
    download_movielens("ml-20m", tmp_path)
    notice = capsys.readouterr().out
    assert "GroupLens" in notice
    assert "redistribution" in notice
    assert "/ml-20m-README.html" in notice
    download_movielens("ml-20m", tmp_path)
    assert capsys.readouterr().out == ""


def test_ignores_what_else_is_in_the_archive(
    tmp_path: pathlib.Path, publish: Callable
) -> None:
    publish(
        {
            "../escaped.txt": "boo",
            "ml-20m/../../escaped.txt": "boo",
            "/escaped.txt": "boo",
            "ml-20m/tags.csv": "not needed",
            **_FILES,
        }
    )
    download_movielens("ml-20m", tmp_path / "cache")
    assert _names(tmp_path) == ["cache", *(f"cache/{name}" for name in _COMPLETE)]


def _assert_fails_without_traces(tmp_path: pathlib.Path, message: str) -> None:
    with pytest.raises(OSError, match=message) as error:
        download_movielens("ml-20m", tmp_path)
    assert "pass its folder as data_dir" in str(error.value)
    assert _names(tmp_path) == []


def test_refuses_an_archive_that_lacks_a_file(
    tmp_path: pathlib.Path, publish: Callable
) -> None:
    publish({k: v for k, v in _FILES.items() if "movies" not in k})
    _assert_fails_without_traces(tmp_path, r"Could not .*ml-20m/movies\.csv")


def test_refuses_an_archive_that_is_none(
    tmp_path: pathlib.Path, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"<html>Please log in</html>"
    server.files["/movielens/ml-20m.zip"] = content
    monkeypatch.setitem(download._SHA256, "ml-20m", hashlib.sha256(content).hexdigest())
    _assert_fails_without_traces(tmp_path, "Could not .*: File is not a zip")


def test_refuses_content_with_another_checksum(
    tmp_path: pathlib.Path, server: _Server, publish: Callable
) -> None:
    content = publish(_FILES)
    server.files["/movielens/ml-20m.zip"] = content + b"!"
    _assert_fails_without_traces(tmp_path, r"Could not .*http.*hash .* does not match")


def test_a_download_that_breaks_off_leaves_nothing(
    tmp_path: pathlib.Path, server: _Server, publish: Callable
) -> None:
    publish(_FILES)
    server.cut_after = 100
    _assert_fails_without_traces(tmp_path, "Could not download http")
    server.cut_after = None
    download_movielens("ml-20m", tmp_path)
    assert _names(tmp_path) == _COMPLETE


def test_shows_progress(
    tmp_path: pathlib.Path, publish: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(_FILES)
    download_movielens("ml-20m", tmp_path)
    assert "100%" in capsys.readouterr().err


def test_downloads_at_once_do_not_disturb_each_other(
    tmp_path: pathlib.Path, server: _Server, publish: Callable
) -> None:
    publish(_FILES)
    threads = [
        threading.Thread(target=download_movielens, args=("ml-20m", tmp_path))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _names(tmp_path) == _COMPLETE


def test_says_what_was_tried(tmp_path: pathlib.Path, server: _Server) -> None:
    _assert_fails_without_traces(
        tmp_path, f"Could not download {server.home}/ml-20m.zip: .*404"
    )


def test_says_that_there_is_no_network(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Port 9 ("discard") has no listener on any machine of today.
    monkeypatch.setattr(download, "_HOME", "http://127.0.0.1:9/movielens")
    _assert_fails_without_traces(tmp_path, "127.0.0.1:9.*Connection refused")


def test_says_that_a_latest_release_may_have_been_replaced(
    tmp_path: pathlib.Path, server: _Server
) -> None:
    server.files["/movielens/ml-latest-small.zip"] = b"a newer release"
    with pytest.raises(OSError, match="replaces ml-latest-small without notice"):
        download_movielens("ml-latest-small", tmp_path)


def test_refuses_an_unknown_dataset(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"dataset must be one of .* '\.\./ml-1m'"):
        download_movielens("../ml-1m", tmp_path)  # type: ignore[arg-type]
    assert _names(tmp_path) == []


def test_every_dataset_has_a_sha256() -> None:
    assert sorted(download._SHA256) == [
        "ml-1m",
        "ml-20m",
        "ml-25m",
        "ml-32m",
        "ml-latest-small",
    ]
    assert {len(checksum) for checksum in download._SHA256.values()} == {64}
