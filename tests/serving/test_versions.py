"""A version appears at once and whole, under the next number, or not at all."""

import os
import pathlib
import signal
import threading

import pytest
import tensorflow as tf

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
    odd = ("20-backup", "latest", "٣٠", "1e3", "-30", "030", "30.5", "+30", "9" * 30)
    for name in ("2", "10", *odd):
        (tmp_path / name).mkdir()
    assert versions.publish(tmp_path, write_model).name == "11"


def test_a_failed_write_leaves_nothing(tmp_path: pathlib.Path) -> None:
    def write_half(draft: pathlib.Path) -> None:
        write_model(draft)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        versions.publish(tmp_path, write_half)
    assert names(tmp_path) == set()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_write_leaves_no_version(tmp_path: pathlib.Path) -> None:
    child = os.fork()  # A new process would first import TensorFlow.
    if child == 0:
        versions.publish(tmp_path, write_half_and_die)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".")
    assert versions.publish(tmp_path, write_model).name == "1"
    assert names(tmp_path) == {"1"}


def write_half_and_die(draft: pathlib.Path) -> None:
    draft.mkdir()
    (draft / "saved_model.pb").write_text("gra")
    os.kill(os.getpid(), signal.SIGKILL)


def test_drafts_in_use_and_links_are_not_deleted(tmp_path: pathlib.Path) -> None:
    for draft in ("elsewhere", "models/.draft-2"):
        (tmp_path / draft).mkdir(parents=True)
    (tmp_path / "elsewhere" / "lock").write_text("mine")
    (tmp_path / "models" / ".draft-1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "models" / ".draft-2" / "lock").symlink_to(
        tmp_path / "elsewhere" / "lock"
    )

    def write_slowly(draft: pathlib.Path) -> None:
        write_model(draft)
        assert versions.publish(draft.parents[1], write_model).name == "1"

    assert versions.publish(tmp_path / "models", write_slowly).name == "2"
    assert names(tmp_path / "models") == {".draft-1", ".draft-2", "1", "2"}
    assert (tmp_path / "elsewhere" / "lock").read_text() == "mine"


@pytest.mark.parametrize("name", ["1e3", "٣", "-1", "01", "1.5", "0", "9" * 5000])
def test_an_odd_name_is_no_version(name: str) -> None:
    assert versions.number_of(name) == 0


def test_a_folder_without_a_free_number_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / ("9" * 18)).mkdir()
    with pytest.raises(ValueError, match="path must leave a number free"):
        versions.publish(tmp_path, write_model)
    assert names(tmp_path) == {"9" * 18}


def test_a_full_disk_is_an_oserror(tmp_path: pathlib.Path) -> None:
    def write(draft: pathlib.Path) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        versions.publish(tmp_path, write)
    assert names(tmp_path) == set()


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
