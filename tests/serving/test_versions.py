"""A version appears at once and whole, under the next number, or not at all."""

import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from tfrs_barlow.serving import versions


def write_model(draft: pathlib.Path) -> None:
    draft.mkdir()
    (draft / "saved_model.pb").write_text("graph")


def names(folder: pathlib.Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_versions_are_numbered_from_one(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "models" / "movies"
    first = versions.publish(folder, write_model)
    second = versions.publish(folder, write_model)
    assert (first, second) == (folder / "1", folder / "2")
    assert (second / "saved_model.pb").read_text() == "graph"
    assert names(folder) == {"1", "2"}


def test_the_next_version_is_above_the_highest_there(tmp_path: pathlib.Path) -> None:
    for name in ("2", "10", "20-backup", ".draft-99", "latest", "٣٠"):
        (tmp_path / name).mkdir()
    assert versions.publish(tmp_path, write_model).name == "11"


def test_a_failed_write_leaves_nothing(tmp_path: pathlib.Path) -> None:
    def write_half(draft: pathlib.Path) -> None:
        write_model(draft)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        versions.publish(tmp_path, write_half)
    assert names(tmp_path) == set()


def test_a_killed_write_leaves_no_version(tmp_path: pathlib.Path) -> None:
    # The module needs the standard library alone, so the process starts at once.
    script = f"""
import os, pathlib, runpy, signal
def write_half(draft):
    draft.mkdir()
    (draft / "saved_model.pb").write_text("gra")
    os.kill(os.getpid(), signal.SIGKILL)
publish = runpy.run_path({versions.__file__!r})["publish"]
publish(pathlib.Path({str(tmp_path)!r}), write_half)
"""
    killed = subprocess.run([sys.executable, "-c", script])
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".")
    assert versions.publish(tmp_path, write_model).name == "1"


def test_writers_at_the_same_time_get_a_version_each(tmp_path: pathlib.Path) -> None:
    together = threading.Barrier(8)

    def write(draft: pathlib.Path) -> None:
        write_model(draft)
        together.wait()

    threads = [
        threading.Thread(target=versions.publish, args=(tmp_path, write))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == {str(number) for number in range(1, 9)}


def test_an_error_that_is_no_race_is_raised(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        versions.publish(tmp_path, lambda draft: None)


def test_a_path_that_cannot_be_a_local_folder_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    file = tmp_path / "model"
    file.touch()
    with pytest.raises(NotADirectoryError, match="path must be a folder"):
        versions.local_folder(file)
    for path in ("gs://bucket/model", ""):
        with pytest.raises(ValueError, match=f"path must be a local folder.*'{path}'"):
            versions.local_folder(path)
    for other in (None, 3, b"models"):
        with pytest.raises(TypeError, match="path must be a string or a path"):
            versions.local_folder(other)
